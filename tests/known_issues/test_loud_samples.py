"""Samples of amplitude 1e30 overflowed the first norm: NaN features, without a word."""

import pytest
import torch

from fithubert_upstream.audio.silence import trim_silence
from fithubert_upstream.export.traceable import TraceableFitHubert
from fithubert_upstream.models.feature_extractor import LOUDEST, limit_peaks
from fithubert_upstream.models.fithubert import FitHubert

from ..helpers.tiny import SMALL


@pytest.fixture
def model():
    return FitHubert(SMALL).eval()


@pytest.mark.parametrize("amplitude", [1e9, 1e20, 1e30, 3e38])
def test_features_do_not_depend_on_the_scale(model, amplitude):
    wav = torch.rand(1, 8000) - 0.5
    with torch.no_grad():
        loud = model(wav * amplitude)[0][-1]
        torch.testing.assert_close(loud, model(wav * 1000)[0][-1], atol=1e-3, rtol=0)


def test_a_loud_neighbour_changes_nothing(model):
    wavs = torch.randn(2, 8000)
    with torch.no_grad():
        alone = model(wavs[1:])[0][-1]
        wavs[0] *= 1e30
        together = model(wavs)[0][-1]
    assert bool(together.isfinite().all())
    torch.testing.assert_close(together[1:], alone, atol=1e-4, rtol=0)


def test_the_form_for_onnx(model):
    wav, lengths = torch.randn(2, 8000) * 1e30, torch.tensor([8000, 5000])
    with torch.no_grad():
        features = TraceableFitHubert(model)(wav, lengths)[0]
        torch.testing.assert_close(features, model(wav, lengths)[0][-1], atol=1e-4, rtol=0)


def test_usual_samples_keep_their_bits():
    wavs = torch.randn(2, 100)
    wavs[1] *= LOUDEST / wavs[1].abs().max()
    assert torch.equal(limit_peaks(wavs), wavs)
    assert torch.equal(limit_peaks(torch.zeros(1, 5)), torch.zeros(1, 5))


def test_silence_around_something_loud_is_trimmed():
    speech = torch.randn(3200)
    padded = torch.cat([torch.zeros(8000), speech, torch.zeros(8000)])
    assert len(trim_silence(padded * 1e25, 30)) == len(trim_silence(padded, 30)) == 3200 + 1600

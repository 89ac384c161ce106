import numpy as np
import pytest
import torch

from fithubert_upstream.audio.silence import trim_silence


def test_silence_at_both_ends_is_cut_off():
    sound, hiss = torch.randn(3200), 0.01 * torch.randn(20000)  # 40 dB below
    wav = torch.cat([hiss[:8000], sound, torch.zeros(4800), sound, hiss[8000:]])
    found = trim_silence(wav, 25.0)
    torch.testing.assert_close(found, wav[8000 - 800 : 8000 + 11200 + 800])  # what is between two sounds stays
    assert trim_silence(wav, 60.0).equal(wav) and trim_silence(wav, 0.0).equal(wav)


def test_against_a_loop():
    wav = torch.from_numpy(np.random.default_rng(0).normal(0, np.repeat(np.geomspace(1e-3, 1, 50), 160))).float()
    levels = [10 * np.log10(np.mean(wav[i : i + 160].numpy() ** 2)) for i in range(0, len(wav), 160)]
    loud = [i for i, level in enumerate(levels) if level >= max(levels) - 20]
    assert trim_silence(wav, 20.0).equal(wav[(min(loud) - 5) * 160 : (max(loud) + 6) * 160])


@pytest.mark.parametrize("samples", [1, 200, 320, 1000])
def test_short_and_silent_waveforms_stay(samples):
    assert len(trim_silence(torch.randn(samples), 25.0)) > 0
    assert len(trim_silence(torch.zeros(samples), 25.0)) == samples

import pytest
import torch

from fithubert_upstream.errors import FitHubertError
from fithubert_upstream.models import long_audio
from fithubert_upstream.models.fithubert import FitHubert
from fithubert_upstream.models.long_audio import transform_windows
from fithubert_upstream.upstream.hubconf import fithubert_mini, hubert_mini

from ..helpers.tiny import SMALL


@torch.no_grad()
@pytest.mark.parametrize("rate", [1, 2, 3])
def test_windows_that_see_everything_give_the_same(monkeypatch, rate):
    model = FitHubert(type(SMALL).from_dict(SMALL.to_dict() | {"time_reduction": rate})).eval()
    monkeypatch.setattr(long_audio, "CONTEXT", 10**6)
    for samples in (700 + 320 * rate, 48_000, 48_320, 55_555):
        waveforms = torch.randn(2, samples)
        expected, lengths = model.encode(waveforms)
        found, reduced = transform_windows(model, model.extract(waveforms)[0], 1.0)
        assert len(found) == len(expected) and torch.equal(reduced, lengths)
        for a, b in zip(found, expected, strict=True):
            torch.testing.assert_close(a, b, atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_a_window_is_what_its_surroundings_say(monkeypatch):
    """Each window against the model on a cut-out of the frames, one at a time."""
    model = FitHubert(SMALL).eval()
    monkeypatch.setattr(long_audio, "CONTEXT", 20)
    waveforms = torch.randn(1, 50_000)  # 156 frames
    x, _, _ = model.extract(waveforms)
    found, _ = transform_windows(model, model.extract(waveforms)[0], 1.0)  # 50 frames
    assert found[-1].size(1) == 78
    for start in (0, 50, 100, 150):
        begin, end = max(0, start - 20), start + 70
        alone = model.transform(x[:, begin:end])[0][-1][:, (start - begin) // 2 :][:, :25]
        torch.testing.assert_close(found[-1][:, start // 2 : start // 2 + 25], alone)


@torch.no_grad()
@pytest.mark.parametrize("entry", [fithubert_mini, hubert_mini])
def test_upstream_with_chunks(entry, real_speech):
    whole, chunked = entry(), entry(chunk_seconds=4)
    wavs = [real_speech(20), real_speech(3)]
    expected, found = whole(wavs), chunked(wavs)
    assert {key: type(value) for key, value in found.items()} == {k: type(v) for k, v in expected.items()}
    a, b = expected["last_hidden_state"], found["last_hidden_state"]
    assert a.shape == b.shape
    assert torch.equal(a[1], b[1])  # short
    similarity = torch.cosine_similarity(a[0], b[0], dim=-1)
    assert similarity.mean() > 0.97 and not torch.equal(a[0], b[0])


def test_chunks_in_training_are_encoded_one_by_one():
    upstream = hubert_mini(chunk_seconds=1)
    wavs = [torch.randn(30_000), torch.randn(5_000)]
    with torch.no_grad():
        expected = upstream(wavs)["last_hidden_state"]
    torch.testing.assert_close(upstream(wavs)["last_hidden_state"].detach(), expected, atol=1e-4, rtol=1e-4)


def test_too_small_windows():
    with pytest.raises(FitHubertError, match="chunk_seconds of at least 1, found 0.5"):
        model = FitHubert(SMALL)
        transform_windows(model, model.extract(torch.randn(1, 50_000))[0], 0.5)

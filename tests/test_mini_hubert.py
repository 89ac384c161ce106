import numpy as np
import pytest
import soundfile
import torch

from fithubert_upstream.errors import FitHubertError
from fithubert_upstream.mini_hubert import WINDOW, _count_frames, _mfcc, _random_spans, pretrain_mini_hubert
from fithubert_upstream.torchaudio_compat import mend_torchaudio_import

TINY = {
    "batch_size": 4,
    "crop_seconds": 1.0,
    "clusters": 8,
    "learning_rate": 3e-3,
    "conv_dim": (8, 8, 8, 8, 16, 16, 32),
    "hidden_size": 32,
    "layers": 2,
    "heads": 2,
    "progress": False,
}


@pytest.fixture(scope="module")
def recordings(tmp_path_factory):
    """Six recordings of steady tones that change every 0.2 s, 1.2 to 1.7 s long."""
    folder = tmp_path_factory.mktemp("tones")
    generator = np.random.default_rng(0)
    for i in range(6):
        pitch = np.repeat(generator.choice([200, 500, 1200, 3000], 10), 3200)[: 19200 + 1600 * i]
        tone = 0.3 * np.sin(2 * np.pi * np.cumsum(pitch) / 16000) + 0.01 * generator.standard_normal(len(pitch))
        soundfile.write(folder / f"{i}.flac", tone, 16000)
    return sorted(folder.iterdir())


def test_learns_and_loads(recordings, tmp_path):
    losses = pretrain_mini_hubert(recordings, tmp_path / "model", steps=60, **TINY)
    assert len(losses) == 60 and np.isfinite(losses).all()
    assert np.mean(losses[-10:]) < np.mean(losses[:10]) - 0.3
    assert [path.name for path in tmp_path.iterdir()] == ["model"]

    mend_torchaudio_import()
    from transformers import HubertModel, Wav2Vec2FeatureExtractor

    model = HubertModel.from_pretrained(tmp_path / "model").eval()
    extractor = Wav2Vec2FeatureExtractor.from_pretrained(tmp_path / "model")
    assert not model.training
    for samples in (WINDOW, 16000, 16079, 16080, 20000):
        # As s3prl's hf_hubert calls them.
        wave = np.random.default_rng(0).standard_normal(samples).astype(np.float32)
        batch = extractor([wave], return_tensors="pt", return_attention_mask=True, sampling_rate=16000)
        np.testing.assert_array_equal(batch["input_values"][0], wave)  # not normalised
        with torch.no_grad():
            states = model(**batch, output_hidden_states=True).hidden_states
        assert len(states) == 1 + TINY["layers"]
        assert all(state.shape == (1, _count_frames(samples), 32) for state in states)
        assert len(_mfcc(wave)) == _count_frames(samples)  # the targets have the same frames


def test_same_seed_same_losses(recordings, tmp_path):
    runs = [
        pretrain_mini_hubert(recordings, tmp_path / str(i), steps=3, seed=seed, **TINY)
        for i, seed in enumerate((0, 0, 1))
    ]
    np.testing.assert_allclose(runs[0], runs[1], rtol=1e-5)
    assert not np.allclose(runs[0], runs[2], rtol=1e-5)


def test_about_half_of_the_frames_are_masked_in_spans():
    mask = _random_spans((50, 200), torch.Generator().manual_seed(0))
    assert 0.4 < mask.float().mean() < 0.6  # 1 - (1 - 0.065) ** 10 = 0.49
    starts = mask[:, 1:] & ~mask[:, :-1]
    runs = mask[:, 1:].sum() / starts.sum()
    assert runs > 10
    for frames in (1, 5, 24):  # however short, something is masked
        assert _random_spans((1, frames), torch.Generator().manual_seed(0)).any()


def write(path, samples, rate=16000):
    soundfile.write(path, samples, rate)
    return path


def test_unusable_recordings_are_named(recordings, tmp_path):
    noise = np.random.default_rng(0).uniform(-0.5, 0.5, 16000)
    unusable = [
        write(tmp_path / "short.wav", noise[:7000]),
        write(tmp_path / "silent.wav", 0 * noise),
        write(tmp_path / "stereo.wav", np.stack([noise, noise], 1)),
        write(tmp_path / "telephone.wav", noise, rate=8000),
        tmp_path / "missing.wav",
    ]
    for path in unusable:
        with pytest.raises(FitHubertError, match=path.name):
            pretrain_mini_hubert([*recordings, path], tmp_path / "model", steps=1, **TINY)
    with pytest.raises(FitHubertError, match="empty list"):
        pretrain_mini_hubert([], tmp_path / "model", steps=1, **TINY)
    with pytest.raises(FitHubertError, match="remove it"):
        pretrain_mini_hubert(recordings, tmp_path, steps=1, **TINY)
    assert not (tmp_path / "model").exists()

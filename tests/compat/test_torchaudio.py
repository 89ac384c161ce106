"""The repairs of torchaudio, each on its own; import order is tested in fresh processes."""

import importlib
import subprocess
import sys
import types

import numpy as np
import pytest
import soundfile
import torch

from fithubert_upstream.compat import torchaudio as torchaudio_compat

torchaudio_compat.apply()
import torchaudio  # noqa: E402


def run_fresh(code: str) -> str:
    """Run code in a new interpreter and return what it printed."""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


@pytest.mark.slow
def test_torchaudio_imports_when_its_extension_refuses():
    """Whatever the machine's own extension does: here loading it raises, and so does its CUDA check."""
    for failure in ("OSError('no libc10_cuda.so')", "RuntimeError('different CUDA versions')"):
        out = run_fresh(
            "import torch\n"
            f"def refuse(path): raise {failure}\n"
            "torch.ops.load_library = refuse\n"
            "from fithubert_upstream.compat import torchaudio as torchaudio_compat\n"
            "torchaudio_compat.mend_torchaudio_import()\n"
            "import torchaudio, torchaudio.compliance.kaldi as kaldi\n"
            "wave = torch.randn(1, 16000)\n"
            "print(tuple(kaldi.fbank(wave, num_mel_bins=80).shape),\n"
            "      tuple(torchaudio.functional.compute_deltas(wave).shape),\n"
            "      tuple(torchaudio.transforms.MelSpectrogram()(wave).shape))\n"
        )
        assert out.strip() == "(98, 80) (1, 16000) (1, 128, 81)"


def test_an_imported_torchaudio_is_left_alone():
    before = sys.modules["torchaudio"]
    torchaudio_compat.mend_torchaudio_import()
    assert sys.modules["torchaudio"] is before


def test_audio_backends_are_named():
    torchaudio.set_audio_backend("sox_io")
    assert torchaudio.get_audio_backend() in ("soundfile", "sox_io")
    assert "soundfile" in torchaudio.list_audio_backends()


@pytest.fixture
def stereo(tmp_path):
    samples = np.linspace(-0.5, 0.5, 2000, dtype=np.float32).reshape(1000, 2)
    path = tmp_path / "stereo.wav"
    soundfile.write(path, samples, 16000, subtype="PCM_16")
    return path, torch.from_numpy(samples)


def test_load(stereo):
    path, samples = stereo
    waveform, rate = torchaudio_compat.load_audio(path)
    assert (rate, waveform.shape, waveform.dtype) == (16000, (2, 1000), torch.float32)
    assert torch.allclose(waveform.t(), samples, atol=1 / 32768)
    part, _ = torchaudio_compat.load_audio(str(path), frame_offset=10, num_frames=5, channels_first=False)
    assert torch.equal(part, waveform.t()[10:15])
    integers, _ = torchaudio_compat.load_audio(path, normalize=False)
    assert integers.dtype == torch.int16
    assert torch.equal(integers / 32768, waveform)
    beyond, _ = torchaudio_compat.load_audio(path, frame_offset=5000)
    assert beyond.shape == (2, 0)


@pytest.mark.parametrize("suffix", ["wav", "flac"])
def test_save_info_and_load_again(tmp_path, suffix):
    wave = torch.rand(2, 100) - 0.5
    path = tmp_path / f"a.{suffix}"
    torchaudio_compat.save_audio(path, wave, 8000, bits_per_sample=16)
    info = torchaudio_compat.audio_info(path)
    assert (info.sample_rate, info.num_frames, info.num_channels, info.bits_per_sample) == (8000, 100, 2, 16)
    assert torch.allclose(torchaudio_compat.load_audio(path)[0], wave, atol=1 / 32768)


def test_torchaudio_io_is_soundfile_without_torchcodec(stereo):
    if importlib.util.find_spec("torchcodec") is not None:
        pytest.skip("torchaudio has its own reader here")
    path, _ = stereo
    assert torchaudio.load(path)[0].shape == (2, 1000)
    assert torchaudio.info(path).num_frames == 1000


def test_sox_effects_are_installed_where_missing(monkeypatch, stereo):
    monkeypatch.delattr(torchaudio, "sox_effects", raising=False)
    monkeypatch.delitem(sys.modules, "torchaudio.sox_effects", raising=False)
    torchaudio_compat.add_sox_effects()
    from torchaudio.sox_effects import apply_effects_file, apply_effects_tensor

    path, samples = stereo
    waveform, rate = apply_effects_file(str(path), [["channels", "1"]])
    assert (rate, waveform.shape) == (16000, (1, 1000))
    assert torch.allclose(waveform[0], samples.mean(1), atol=1 / 32768)
    assert torch.equal(apply_effects_tensor(waveform, rate, [["gain", "0"]])[0], waveform)


def test_sox_effects_of_torchaudio_itself_are_left_alone(monkeypatch):
    own = types.ModuleType("torchaudio.sox_effects")
    monkeypatch.setattr(torchaudio, "sox_effects", own, raising=False)
    torchaudio_compat.add_sox_effects()
    assert torchaudio.sox_effects is own

import numpy as np
import pytest
import soundfile
import soxr
import torch

from fithubert_upstream.audio.waveforms import load_any_waveform, load_waveform
from fithubert_upstream.checkpoints.student import save_fithubert
from fithubert_upstream.errors import FitHubertError
from fithubert_upstream.joint.listen import main
from fithubert_upstream.joint.model import load_joint, save_joint
from fithubert_upstream.models.fithubert import FitHubert

from ..helpers.joint_models import make
from ..helpers.tiny import SMALL


@pytest.fixture
def files(tmp_path):
    """yes.wav as it is, at 44.1 kHz with two channels, and another one."""
    draw = np.random.default_rng(0)
    low = soxr.resample(draw.normal(0, 0.1, 4000), 4000, 16000)  # nothing above 2 kHz: any rate can hold it
    soundfile.write(tmp_path / "yes.wav", low, 16000)
    both = np.stack([1.5 * low, 0.5 * low], axis=1)
    soundfile.write(tmp_path / "stereo.flac", soxr.resample(both, 16000, 44100), 44100)
    soundfile.write(tmp_path / "other.wav", draw.normal(0, 0.1, 9000), 16000)
    return tmp_path


def listen(folder, capsys, names, *flags, **config) -> str:
    save_joint(make(**config), folder / "joint.safetensors")
    main([*(str(folder / name) for name in names), "-m", str(folder / "joint.safetensors"), *flags])
    return capsys.readouterr().out


def test_any_rate_and_channels_become_16_khz_mono(files):
    plain, stereo = load_any_waveform(files / "yes.wav"), load_any_waveform(files / "stereo.flac")
    assert plain.shape == stereo.shape == (16000,) and stereo.dtype == torch.float32
    torch.testing.assert_close(plain[200:-200], stereo[200:-200], atol=2e-3, rtol=0)


def test_keywords(files, capsys):
    lines = listen(files, capsys, ["yes.wav", "other.wav"]).splitlines()
    model = load_joint(files / "joint.safetensors")
    for name, first, second in zip(("yes.wav", "other.wav"), lines[::2], lines[1::2], strict=True):
        answer = model(load_waveform(files / name))
        assert first == str(files / name)
        assert second == f"  keyword: {answer['keyword']} ({100 * answer['confidence']:.0f} % sure)"


@pytest.mark.parametrize(("threshold", "verdict"), [(0.999, "yes"), (1.5, "no")])
def test_speakers(files, capsys, threshold, verdict):
    enroll = ("--enroll", str(files / "yes.wav"))
    text = listen(files, capsys, ["yes.wav"], *enroll, threshold=threshold)
    assert f"yes.wav: {verdict} (cosine 1.000, yes from {threshold:.3f} on)" in text and "keyword: " in text


def test_without_a_threshold_the_cosine_is_all(files, capsys):
    text = listen(files, capsys, ["yes.wav"], "--enroll", str(files / "yes.wav"), classes=None, threshold=None)
    assert ": 1.000 (this model has no threshold)" in text and "keyword" not in text


def test_what_the_model_cannot_do(files, capsys):
    with pytest.raises(FitHubertError, match="knows speakers but no keywords; give --enroll"):
        listen(files, capsys, ["yes.wav"], classes=None)
    with pytest.raises(FitHubertError, match="--enroll: expected a model that knows speakers"):
        listen(files, capsys, ["yes.wav"], "--enroll", str(files / "yes.wav"), embedding_dim=None)
    save_fithubert(FitHubert(SMALL), files / "student.safetensors")
    with pytest.raises(FitHubertError, match="expected a joint model of .* found a student without heads"):
        main([str(files / "yes.wav"), "-m", str(files / "student.safetensors")])
    assert capsys.readouterr().out == ""


def test_what_is_no_recording(files, capsys):
    (files / "text.wav").write_text("no audio")
    soundfile.write(files / "empty.wav", np.zeros(0), 16000)
    soundfile.write(files / "nan.wav", np.full(800, np.nan, np.float32), 16000, subtype="FLOAT")
    for name, found in (("text", "an audio file"), ("empty", "empty file"), ("nan", "NaN"), ("none", "an audio file")):
        with pytest.raises(FitHubertError) as caught:
            listen(files, capsys, [f"{name}.wav"])
        assert f"{name}.wav: " in str(caught.value) and found in str(caught.value)
        assert "\n" not in str(caught.value)

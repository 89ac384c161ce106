"""The embedded pair: small, offline, and really teacher and student."""

import subprocess
import sys

import numpy as np
import pytest
import soundfile
import torch

from fithubert_upstream import assets
from fithubert_upstream.checkpoints.load import load_fithubert
from fithubert_upstream.corpora.synthetic.espeak import all_voices
from fithubert_upstream.corpora.synthetic.recordings import say
from fithubert_upstream.distillation.config import DistillationConfig
from fithubert_upstream.errors import FitHubertError
from fithubert_upstream.joint.listen import main as listen
from fithubert_upstream.joint.model import load_joint
from fithubert_upstream.settings.files import find_config
from fithubert_upstream.upstream import hubconf

from .conftest import REPO

NO_NETWORK = "import socket; socket.socket.connect = lambda *args: 1 / 0"


def test_small():
    assert sum(assets.find(name).stat().st_size for name in assets.NAMES) <= 18e6
    student, teacher = (sum(p.numel() for p in load_fithubert(assets.find(n)).parameters()) for n in assets.NAMES)
    assert teacher <= 6e6 and student <= 0.45 * teacher


def test_the_joint_model_is_the_student_and_two_heads(tmp_path):
    assert assets.find("joint_mini").stat().st_size <= 5e6
    model, student = load_joint(), load_fithubert("fithubert_mini")
    heads = {"head_layers": None}
    assert model.config.student.to_dict() | heads == student.config.to_dict() | heads
    assert model.config.tasks == ("ks", "sv") and len(model.config.classes) == 12 and model.config.threshold > 0
    assert model(torch.randn(16000) * 0.1)["keyword"] in model.config.classes


def test_listen_needs_no_file_of_ones_own(tmp_path, capsys):
    """eSpeak is not what it learned from most; of two words it knows one at least."""
    draw, voice = np.random.default_rng(0), all_voices()[1]
    for word in ("yes", "stop"):
        soundfile.write(tmp_path / f"{word}.wav", np.pad(say(word, voice, draw), (4000, 4000)), 16000)
    listen([str(tmp_path / "yes.wav"), str(tmp_path / "stop.wav"), "--enroll", str(tmp_path / "yes.wav")])
    text = capsys.readouterr().out
    assert "same speaker as in" in text and "yes (cosine 1.000" in text
    assert "keyword: yes" in text or "keyword: stop" in text


def test_a_muted_microphone_is_silence():
    model = load_joint()
    noise = torch.randn(16000, generator=torch.Generator().manual_seed(0))
    assert [model(waveform)["keyword"] for waveform in (torch.zeros(16000), 1e-4 * noise)] == ["_silence_"] * 2


def test_student_is_of_its_recipe():
    config = DistillationConfig.from_yaml(REPO / "examples" / "mini" / "fithubert.yaml").student
    student = load_fithubert("fithubert_mini").config
    assert student.to_dict() | {"head_layers": None} == config.to_dict() | {"head_layers": None}
    assert student.head_layers == (student.num_layers,)


def test_the_packaged_config_is_for_the_embedded_teacher():
    config = DistillationConfig.from_yaml(find_config("fithubert_mini.yaml"))
    assert (config.teacher.source, config.teacher.model) == ("fithubert", "hubert_mini")


def test_both_say_the_same():
    """Their last heads predict one layer of Whisper: alike, frame by frame, on a sentence that neither has heard."""
    sentence = "nobody expected the old violin to sound so bright"
    wav = torch.from_numpy(say(sentence, all_voices()[3], np.random.default_rng(0)))
    with torch.no_grad():
        student, teacher = (load_fithubert(assets.find(name))(wav[None])[0][-1][0] for name in assets.NAMES)  # (L, D)
    assert student.shape == teacher.shape
    alike = torch.cosine_similarity(student, teacher, dim=1)
    moved = torch.cosine_similarity(student, teacher.roll(25, 0), dim=1)
    assert alike.mean() > 0.7 and alike.mean() > moved.mean() + 0.2


def test_features():
    wavs = [torch.randn(16000, generator=torch.Generator().manual_seed(0)), torch.zeros(1)]
    with torch.no_grad():
        student, teacher = hubconf.fithubert_mini()(wavs), hubconf.hubert_mini()(wavs)
    assert student["last_hidden_state"].shape == teacher["last_hidden_state"].shape == (2, 49, 512)
    assert len(student["hidden_states"]) == 12 and len(teacher["hidden_states"]) == 6


@pytest.mark.slow
@pytest.mark.parametrize("name", assets.NAMES)
def test_torch_hub_without_a_network(tmp_path, name):
    code = f"""
{NO_NETWORK}
import torch
upstream = torch.hub.load({str(REPO)!r}, {name!r}, source="local").eval()
assert upstream([torch.randn(16000)])["last_hidden_state"].isfinite().all()
"""
    subprocess.run([sys.executable, "-c", code], check=True, cwd=tmp_path)


def test_unknown_name():
    with pytest.raises(FitHubertError, match="fithubert_mini, hubert_mini"):
        assets.find("hubert_base")

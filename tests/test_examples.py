"""examples/mini, from nothing to a student, at a tiny size."""

import os
import re
import subprocess
import sys

import pytest
import soundfile

from fithubert_upstream.checkpoint import load_fithubert
from fithubert_upstream.config import DistillationConfig, find_config
from fithubert_upstream.train import main as distill

from .conftest import REPO

MINI = REPO / "examples" / "mini"


@pytest.fixture(scope="module")
def output(tmp_path_factory):
    return tmp_path_factory.mktemp("mini")


def run(script, *words):
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    command = [sys.executable, str(MINI / script), *map(str, words)]
    subprocess.run(command, check=True, capture_output=True, text=True, env=environment)


@pytest.mark.slow
def test_recipe(output, monkeypatch):
    speech, hubert = output / "speech", output / "hubert"
    run("make_speech.py", speech, "--hours", "0.02", "--jobs", "1")
    clean, heard = (sorted(path.name for path in (speech / f).rglob("*.flac")) for f in ("train", "train-heard"))
    assert len(clean) > 5 and clean == heard
    speakers = [{path.name for path in (speech / split).iterdir()} for split in ("train", "dev")]
    assert len(speakers[0]) == 2 and not speakers[0] & speakers[1]

    run("pretrain_hubert.py", speech, hubert, "--steps", "2", "1")
    teacher = hubert / "hubert_mini.safetensors"
    made = {path: path.stat().st_mtime_ns for path in hubert.rglob("*.pt")}
    config = load_fithubert(teacher).config
    assert config.time_reduction == 1 and config.head_layers == ()
    run("pretrain_hubert.py", speech, hubert, "--steps", "2", "1")
    assert made == {path: path.stat().st_mtime_ns for path in hubert.rglob("*.pt")}  # done is done

    monkeypatch.setenv("SPEECH", str(speech))
    words = [f"model.teacher.model={teacher}", "trainer.steps=1", "data.batch_seconds=4"]
    flags = ["-g", "fithubert_mini.yaml", "-c", str(MINI / "distill.yaml"), "-p", str(output / "fithubert")]
    student = load_fithubert(distill([*flags, *words]))
    assert student.config == DistillationConfig.from_yaml(find_config("fithubert_mini.yaml")).student


@pytest.mark.slow  # of what test_recipe makes
def test_heard_is_another_recording_of_the_same(output):
    clean = sorted((output / "speech" / "dev").rglob("*.flac"))
    heard = sorted((output / "speech" / "dev-heard").rglob("*.flac"))
    pairs = [(soundfile.read(a)[0], soundfile.read(b)[0]) for a, b in zip(clean, heard, strict=True)]
    assert all(len(a) == len(b) for a, b in pairs)
    changed = [abs(a - b).max() > 1e-3 for a, b in pairs]
    assert any(changed) and not all(changed)


def test_run_sh_names_what_is_there():
    script = (MINI / "run.sh").read_text()
    for name in re.findall(r"\$here/([\w.]+)", script):
        assert (MINI / name).is_file(), name

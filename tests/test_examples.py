"""examples/mini, from nothing to a student, at a tiny size."""

import itertools
import os
import re
import runpy
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import soundfile
import torch

from fithubert_upstream import assets
from fithubert_upstream.checkpoints.load import load_fithubert
from fithubert_upstream.distillation.config import DistillationConfig
from fithubert_upstream.distillation.train import main as distill
from fithubert_upstream.models.speaker_encoder import SpeakerEncoder

from .conftest import REPO
from .helpers.tiny import build_whisper

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
    pretrained = hubert / "hubert_mini.safetensors"
    made = {path: path.stat().st_mtime_ns for path in hubert.rglob("*.pt")}
    config = load_fithubert(pretrained).config
    assert config.time_reduction == 1 and config.head_layers == ()
    run("pretrain_hubert.py", speech, hubert, "--steps", "2", "1")
    assert made == {path: path.stat().st_mtime_ns for path in hubert.rglob("*.pt")}  # done is done

    run("gather_speech.py", output / "real", speech / "train", speech / "dev")
    monkeypatch.setenv("SPEECH", str(output / "real"))
    monkeypatch.setenv("TARGETS", str(output / "targets"))
    monkeypatch.setenv("WHISPER", str(output / "whisper"))
    monkeypatch.setenv("SPEAKER", str(output / "speaker.pt"))
    build_whisper(width=512, layers=6).save_pretrained(output / "whisper")
    torch.save({"model_state": SpeakerEncoder().state_dict()}, output / "speaker.pt")
    short = ["trainer.steps=1", "data.batch_seconds=4"]
    for name, words in {"hubert": [f"model.init={pretrained}"], "fithubert": []}.items():
        flags = ["-g", str(MINI / f"{name}.yaml"), "-c", str(MINI / "distill.yaml"), "-p", str(output / f"{name}-run")]
        student = load_fithubert(distill([*flags, *short, *words]))
        assert student.config == DistillationConfig.from_yaml(MINI / f"{name}.yaml").student
    embedded = load_fithubert(assets.find("hubert_mini")).config
    assert replace(load_fithubert(pretrained).config, head_layers=(6,), head_dim=512) == embedded


def test_gathered_speakers_are_in_one_split_only(tmp_path):
    for corpus, speakers in {"one": 20, "two": 16}.items():
        for speaker in range(speakers):
            path = tmp_path / corpus / f"{speaker:02d}" / "chapter" / "a.wav"
            path.parent.mkdir(parents=True)
            soundfile.write(path, 0.1 * np.random.default_rng(speaker).standard_normal(800), 8000)
    (tmp_path / "one" / "00" / "broken.wav").write_bytes(b"RIFF")
    run("gather_speech.py", tmp_path / "out", tmp_path / "one", tmp_path / "two")
    folders = {split: tmp_path / "out" / split for split in ("train", "dev")}
    found = {
        split: {path.relative_to(folder).as_posix() for path in folder.rglob("*.flac")}
        for split, folder in folders.items()
    }
    assert found["dev"] == {"one/00/chapter/a.flac", "one/17/chapter/a.flac", "two/14/chapter/a.flac"}
    assert len(found["train"]) == 33 and not found["train"] & found["dev"]
    assert soundfile.info(folders["dev"] / "one" / "00" / "chapter" / "a.flac").samplerate == 16000


@pytest.mark.slow  # of what test_recipe makes
def test_heard_is_another_recording_of_the_same(output):
    clean = sorted((output / "speech" / "dev").rglob("*.flac"))
    heard = sorted((output / "speech" / "dev-heard").rglob("*.flac"))
    pairs = [(soundfile.read(a)[0], soundfile.read(b)[0]) for a, b in zip(clean, heard, strict=True)]
    assert all(len(a) == len(b) for a, b in pairs)
    changed = [abs(a - b).max() > 1e-3 for a, b in pairs]
    assert any(changed) and not all(changed)


def test_run_sh_wants_real_speech():
    done = subprocess.run(["bash", str(MINI / "run.sh"), "folder"], capture_output=True, text=True)
    assert done.returncode == 2 and "openslr.org/31" in done.stderr


def test_joint_sh_wants_words_and_voices():
    done = subprocess.run(["bash", str(MINI / "joint.sh"), "folder"], capture_output=True, text=True)
    assert done.returncode == 2 and "STUDENT WORDS TEST VOXCELEB1 VOICES" in done.stderr


def test_scripts_name_what_is_there():
    for script in ("run.sh", "joint.sh"):
        for name in re.findall(r"\$here/([\w.]+)", (MINI / script).read_text()):
            assert (MINI / name).is_file(), name


def test_alignment_is_the_best_of_all_paths():
    align = runpy.run_path(str(MINI / "mine_words.py"))["align"]
    draw = np.random.default_rng(0)
    for _ in range(100):
        frames, symbols = int(draw.integers(2, 7)), 4
        phones = draw.integers(1, symbols, draw.integers(1, 4)).tolist()
        scores = np.log(draw.dirichlet(np.ones(symbols), frames))
        paths = itertools.product(range(symbols), repeat=frames)
        fitting = [path for path in paths if [key for key, _ in itertools.groupby(path) if key] == phones]
        found = align(scores, phones)
        if not fitting:
            assert found is None
            continue
        best = max(sum(scores[i, key] for i, key in enumerate(path)) for path in fitting)
        mine = sum(scores[i, phones[key] if key >= 0 else 0] for i, key in enumerate(found))
        assert mine == pytest.approx(best)


def test_words_are_cut_where_they_are_said():
    mine = runpy.run_path(str(MINI / "mine_words.py"))
    word = mine["Word"]("yes", start=48, stop=74, score=0.0)  # 0.96 to 1.48 s
    waveform = np.zeros(48000, np.float32)
    waveform[16000:22400] = 1.0
    clip = mine["cut"](waveform, word)
    assert len(clip) == 16000 and clip.sum() == pytest.approx(6400, rel=0.05)
    heard = np.flatnonzero(clip > 0.5)
    assert abs((heard[0] + heard[-1]) / 2 - 8000) < 0.03 * 16000

"""Tiny corpora of the tasks, whole and damaged."""

import shutil
from pathlib import Path

import pytest

from fithubert_upstream.checkpoints.student import save_fithubert
from fithubert_upstream.models.fithubert import FitHubert

from ..helpers import small_corpora
from ..helpers.four_tasks import VARIABLES
from ..helpers.tiny import SMALL


@pytest.fixture(scope="session")
def corpora(tmp_path_factory):
    """The corpora, by environment variable, and a tiny student."""
    root = tmp_path_factory.mktemp("data")
    save_fithubert(FitHubert(SMALL), root / "student.safetensors")
    return {
        "LIBRISPEECH": small_corpora.librispeech(root / "LibriSpeech"),
        "SPEECH_COMMANDS": small_corpora.speech_commands(root / "speech_commands"),
        "VOXCELEB1": small_corpora.voxceleb1(root / "VoxCeleb1"),
        "FLUENT_COMMANDS": small_corpora.fluent_commands(root / "fluent_commands"),
        "IEMOCAP": small_corpora.iemocap(root / "IEMOCAP"),
        "AUDIO_SNIPS": small_corpora.snips(root / "SNIPS"),
        "LIBRIMIX": small_corpora.librimix(root / "LibriMix"),
        "QUESST14": small_corpora.quesst14(root / "quesst14"),
        "student": root / "student.safetensors",
    }


@pytest.fixture
def ready(corpora, tmp_path, monkeypatch):
    """A folder to work in, and the variables that the configs name."""
    monkeypatch.chdir(tmp_path)
    for name in sorted(set(VARIABLES.values())):
        monkeypatch.setenv(name, str(corpora[name]))
    return corpora


@pytest.fixture
def damaged(ready, tmp_path, monkeypatch):
    """Puts a copy of a task's corpus in its place."""

    def copy(key: str) -> Path:
        variable = VARIABLES[key]
        folder = shutil.copytree(ready[variable], tmp_path / "damaged")
        monkeypatch.setenv(variable, str(folder))
        return folder

    return copy

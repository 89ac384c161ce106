"""`export-hf` ran the folder's code to check it, and Python left `__pycache__` beside it, which was uploaded, too."""

import sys

from fithubert_upstream.checkpoints.student import save_fithubert
from fithubert_upstream.cli import main as cli
from fithubert_upstream.models.fithubert import FitHubert

from ..helpers.tiny import SMALL


def test_no_bytecode_is_left(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "dont_write_bytecode", False)
    save_fithubert(FitHubert(SMALL), tmp_path / "student.safetensors")
    assert cli(["export-hf", str(tmp_path / "student.safetensors"), "-o", str(tmp_path / "out")]) == 0
    assert (tmp_path / "out" / "modeling_fithubert.py").is_file()
    assert not list((tmp_path / "out").rglob("__pycache__"))

"""Which code, on what machine, made a result."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from fithubert_upstream.runs import provenance


@pytest.mark.skipif(shutil.which("git") is None, reason="needs git")
def test_commit(tmp_path, monkeypatch):
    module = tmp_path / "fithubert_upstream/runs/provenance.py"
    module.parent.mkdir(parents=True)
    module.write_text("")
    monkeypatch.setattr(provenance, "__file__", str(module))
    assert provenance.commit() is None  # an installed package

    def git(*words):
        return subprocess.run(
            ["git", "-C", str(tmp_path), "-c", "user.name=x", "-c", "user.email=x@x", *words],
            check=True,
            capture_output=True,
            text=True,
        ).stdout.strip()

    git("init")
    assert provenance.commit() is None  # without a commit
    git("add", ".")
    git("commit", "-m", "first")
    assert provenance.commit() == git("rev-parse", "HEAD")
    git("tag", "v1")
    module.write_text("changed")
    assert provenance.commit() == git("rev-parse", "HEAD") + "+"


def test_hardware(monkeypatch):
    assert re.fullmatch(r".+, \d+ cores", provenance.hardware())
    monkeypatch.setattr(Path, "read_text", lambda *args, **kwargs: "BogoMIPS: 50\n")
    monkeypatch.setattr(provenance.platform, "processor", lambda: "")
    monkeypatch.setattr(provenance.platform, "machine", lambda: "aarch64")
    assert provenance.hardware().startswith("aarch64, ")

"""`python -m fithubert_upstream` did not start, and a mistyped job was met with a list of all."""

import subprocess
import sys

import pytest

from fithubert_upstream.cli import main, usage
from fithubert_upstream.runs.versions import VERSION

from ..conftest import REPO


def test_the_package_as_a_module():
    command = [sys.executable, "-m", "fithubert_upstream", "--help"]
    assert subprocess.run(command, capture_output=True, text=True, cwd=REPO).stdout == usage() + "\n"


@pytest.mark.parametrize("flag", ["--version", "-V"])
def test_version(flag, capsys):
    assert main([flag]) == 0
    assert capsys.readouterr().out == f"fithubert {VERSION}\n"


@pytest.mark.parametrize(("typed", "meant"), [("distil", "distill"), ("superb-report", "superb"), ("Demo", "demo")])
def test_the_nearest_job_is_named(typed, meant, capsys):
    assert main([typed]) == 2
    said = f"fithubert: unknown command '{typed}'; did you mean {meant}?\n"
    assert capsys.readouterr().err == said

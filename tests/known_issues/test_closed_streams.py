"""`fithubert --help | head` ended in a traceback, and so did a job whose terminal had gone."""

import io
import os
import subprocess
import sys

import pytest
from tqdm import tqdm

from fithubert_upstream import cli
from fithubert_upstream.runs.streams import Forgiving, robust_streams

from ..conftest import REPO

pytestmark = pytest.mark.skipif(os.name != "posix", reason="pipes and /dev/full")
SHELL = {"capture_output": True, "text": True, "cwd": REPO, "timeout": 60}


def shell(line: str) -> subprocess.CompletedProcess:
    command = f"{sys.executable} -m fithubert_upstream"
    return subprocess.run(["bash", "-c", line.format(command)], **SHELL)


@pytest.mark.slow
def test_a_reader_that_has_gone():
    for job in ("--help", "convert --help", "downstream --help"):
        done = shell(f"{{}} {job} 2> >(cat >&2) | true; echo ${{{{PIPESTATUS[0]}}}}")
        assert done.stderr == "" and done.stdout.strip() in ("0", "141"), job


def test_standard_output_that_is_closed_or_full():
    assert shell("{} --help >&-").returncode == 0
    assert shell("{} --help >&- 2>&-").returncode == 0
    if os.path.exists("/dev/full"):
        done = shell("{} --help > /dev/full")
        assert done.returncode == 2
        assert done.stderr == "fithubert: cannot write to standard output, or to a file: No space left on device\n"


class Broken(io.StringIO):
    """A pipe without a reader."""

    def write(self, text: str) -> int:
        raise BrokenPipeError(32, "Broken pipe")

    def flush(self) -> None:
        raise BrokenPipeError(32, "Broken pipe")


@pytest.mark.parametrize("job", sorted(cli.JOBS))
def test_every_job_ends_quietly_when_nobody_reads(job, monkeypatch, capsys):
    monkeypatch.setattr(cli, "load", lambda name: lambda argv: print("something"))
    monkeypatch.setattr(cli, "abandon_stdout", lambda: None)
    monkeypatch.setattr(sys, "stdout", Broken())
    assert cli.main([job]) == 141
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("gone", [Broken, lambda: open(os.devnull, "w").close() or None])
def test_a_bar_outlives_its_terminal(gone, monkeypatch):
    monkeypatch.setattr(sys, "stderr", gone())
    with robust_streams():
        assert sum(tqdm(range(3), mininterval=0)) == 3
        print("said to nobody", file=sys.stderr)


def test_a_closed_file_is_forgiven_too():
    stream = io.StringIO()
    stream.close()
    forgiving = Forgiving(stream)
    assert forgiving.write("text") == 4 and not forgiving.isatty()
    forgiving.flush()


def test_names_that_are_no_text_are_printed(capfdbinary, monkeypatch):
    monkeypatch.setattr(cli, "load", lambda name: lambda argv: print(os.fsdecode(b"caf\xe9.wav")))
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(os.fdopen(os.dup(1), "wb"), encoding="utf-8"))
    assert cli.main(["check"]) == 0
    assert capfdbinary.readouterr().out == b"caf\\udce9.wav\n"

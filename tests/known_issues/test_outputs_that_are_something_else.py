"""`-o FOLDER`, `-p FILE`, `-o FILE/x`, too long a name: `IsADirectoryError`, `FileExistsError` and others, after the
work."""

import os

import pytest

from fithubert_upstream.cli import main as cli
from fithubert_upstream.errors import FitHubertError
from fithubert_upstream.files import write_text
from fithubert_upstream.runs.outputs import check_output_file, check_output_folder

from ..helpers.folders import contents

# Each with {} for its output; nothing else that they name is there, so that the output must be looked at first.
FILES = [
    "convert no.ckpt -o {}",
    "export no.ckpt -o {}",
    "export-joint no.ckpt -o {}",
]
FOLDERS = [
    "distill -g no.yaml -c no.yaml -p {}",
    "pretrain -g no.yaml -c no.yaml -p {}",
    "downstream -m train -u fbank -d ctc -c pr.yaml -p {}",
    "superb -u fbank --tasks pr --librispeech no -o {}",
    "superb -u fbank --tasks pr --librispeech no -o free --feature-cache {}",
    "joint-report -u fbank -c no.yaml -o {}",
    "joint-report -u fbank -c no.yaml -o free --feature-cache {}",
    "downstream -m train -u fbank -d ctc -c pr.yaml -p free --feature-cache {}",
    "demo --librispeech no -o {}",
    "synth {} --minutes 1",
    "prepare librispeech corpus -o {}",
    "benchmark inference --device cuda -o {}",
    "benchmark train --device cuda -o {}",
]


@pytest.fixture(autouse=True)
def place(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("folder", "corpus"):
        (tmp_path / name).mkdir()
    (tmp_path / "file").write_text("mine")
    return tmp_path


@pytest.mark.parametrize("line", FILES)
@pytest.mark.parametrize("output", ["folder", "file/x", "new/", "x" * 300, "new/" + "x" * 300, "a\0b", "", os.devnull])
def test_files(place, capsys, line, output):
    refused(place, capsys, line, output)


@pytest.mark.parametrize("line", FOLDERS)
@pytest.mark.parametrize("output", ["file", "file/x", "x" * 300, "a\0b", ""])
def test_folders(place, capsys, line, output):
    refused(place, capsys, line, output)


@pytest.mark.parametrize("line", ["distill -g no.yaml -c no.yaml -n {}", "pretrain -g no.yaml -c no.yaml -n {}"])
def test_names(place, capsys, line):
    for name in ("x" * 300, ""):
        refused(place, capsys, line, name)


def refused(place, capsys, line, output):
    before = contents(place)
    words = [word.format(output) for word in line.split()]
    assert cli(words) == 2
    error = capsys.readouterr().err.strip().splitlines()
    assert len(error) == 1 and error[0].startswith(f"fithubert {words[0]}: "), error
    assert "that can be written" in error[0] or "expected a name" in error[0] or "expected -n NAME" in error[0], error
    assert contents(place) == before


@pytest.mark.parametrize("check", [check_output_file, check_output_folder])
def test_a_folder_that_cannot_be_written(place, monkeypatch, check):
    def refuse(*args, **kwargs):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("tempfile.TemporaryFile", refuse)
    with pytest.raises(FitHubertError, match="-o folder/new: .*Permission denied"):
        check("folder/new", *(["source"] if check is check_output_file else []))


def test_what_may_be_written(place):
    for name in ("file", "new", "new/below/it", "folder/a"):
        check_output_file(name, "corpus")
    for name in ("folder", "folder/", "new", "new/below/it", "."):
        check_output_folder(name)
    assert sorted(path.name for path in place.iterdir()) == ["corpus", "file", "folder"]


@pytest.mark.parametrize("job", ["convert", "export", "export-joint"])
def test_the_file_that_is_read(place, capsys, job):
    refused(place, capsys, f"{job} file -o {{}}", "folder/../file")


@pytest.mark.parametrize("output", ["folder", "file/x", "x" * 300, "a\0b", os.devnull])
def test_the_writer_itself(place, output):
    before = contents(place)
    with pytest.raises(FitHubertError):
        write_text(output, "text")
    assert contents(place) == before and not os.path.isfile(os.devnull)

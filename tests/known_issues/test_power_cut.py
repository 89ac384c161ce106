"""After a power cut a checkpoint was empty or the older one: it was renamed before its content was on the disk, and
the folder that holds the new name was never flushed."""

import errno
import os

import pytest
import torch

from fithubert_upstream import files
from fithubert_upstream.compat.runs import atomic_torch_save
from fithubert_upstream.files import atomic_path, write_json, write_text


@pytest.fixture
def calls(monkeypatch):
    """What is flushed, by name, and what is renamed, in their order."""
    calls, names = [], {}
    opened, replaced, fsync = os.open, os.replace, os.fsync

    def note_open(path, *args, **kwargs):
        names[handle := opened(path, *args, **kwargs)] = os.fspath(path)
        return handle

    def note_replace(source, target):
        calls.append(("rename", os.fspath(target)))
        replaced(source, target)

    def note_fsync(handle):
        calls.append(("flush", names[handle]))
        fsync(handle)

    monkeypatch.setattr(os, "open", note_open)
    monkeypatch.setattr(os, "replace", note_replace)
    monkeypatch.setattr(os, "fsync", note_fsync)
    return calls


def test_content_then_name_then_folder(tmp_path, calls):
    with atomic_path(tmp_path / "a.txt") as temporary:
        temporary.write_text("all")
    (first, name), *rest = calls
    assert first == "flush" and os.path.dirname(name) == str(tmp_path) and name.endswith(".tmp")
    assert rest == [("rename", str(tmp_path / "a.txt")), ("flush", str(tmp_path))]


def test_new_folders_are_flushed_too(tmp_path, calls):
    write_text(tmp_path / "new" / "below" / "a.txt", "all")
    flushed = [name for what, name in calls if what == "flush"]
    assert {str(tmp_path), str(tmp_path / "new"), str(tmp_path / "new" / "below")} <= set(flushed)


def test_s3prls_checkpoints_too(tmp_path, calls):
    with atomic_torch_save():
        torch.save({"step": 1}, str(tmp_path / "states-1.ckpt"))
    assert [what for what, _ in calls] == ["flush", "rename", "flush"]


def test_what_is_only_remembered_is_not_waited_for(tmp_path, calls):
    with atomic_path(tmp_path / "a.txt", durable=False) as temporary:
        temporary.write_text("all")
    assert calls == [("rename", str(tmp_path / "a.txt"))]


def test_what_a_killed_writer_left_goes(tmp_path):
    for name in (".last.ckpt.0123abcd.tmp", ".mine.tmp", "last.ckpt"):
        (tmp_path / name).write_text("half")
    files.remove_temporaries(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == [".mine.tmp", "last.ckpt"]


@pytest.mark.parametrize("number", [errno.EINVAL, errno.ENOTSUP, errno.EPERM])
def test_a_system_that_cannot_flush(tmp_path, monkeypatch, number):
    def refuse(handle):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "fsync", refuse)
    write_json(tmp_path / "a.json", {"a": 1})
    assert (tmp_path / "a.json").read_text(encoding="utf-8") == '{\n  "a": 1\n}\n'


def test_a_system_that_opens_no_folder(tmp_path, monkeypatch):
    opened = os.open

    def refuse(path, *args, **kwargs):
        if os.path.isdir(path):
            raise PermissionError(errno.EACCES, "Permission denied", path)
        return opened(path, *args, **kwargs)

    monkeypatch.setattr(files.os, "open", refuse)
    write_text(tmp_path / "a.txt", "all")
    assert [path.name for path in tmp_path.iterdir()] == ["a.txt"]


def test_permissions_are_those_of_any_file(tmp_path):
    from safetensors.torch import save_file

    (tmp_path / "usual").write_text("")
    with atomic_path(tmp_path / "weights") as temporary:
        save_file({"a": torch.zeros(1)}, temporary)  # gives its files to their owner alone
    assert (tmp_path / "weights").stat().st_mode == (tmp_path / "usual").stat().st_mode

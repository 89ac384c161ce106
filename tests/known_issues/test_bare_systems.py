"""Systems that lack what others have: a home and a name for the user, `resource`, a cache that can be written."""

import errno
import importlib
import math
import os
import pathlib
import pwd
import sys

import pytest
import torch

from fithubert_upstream import assets, files
from fithubert_upstream.checkpoints import download
from fithubert_upstream.checkpoints.download import fetch_checkpoint
from fithubert_upstream.cli import main as cli
from fithubert_upstream.distillation import log as train_log
from fithubert_upstream.errors import FitHubertError
from fithubert_upstream.files import cache_folder, ensure_home


@pytest.fixture
def bare(monkeypatch):
    """No HOME, no entry for the user, no variables that say where anything lies."""

    def unknown(uid):
        raise KeyError(f"getpwuid(): uid not found: {uid}")

    for name in ("HOME", "FITHUBERT_CACHE", "TORCH_HOME", "XDG_CACHE_HOME", "LOGNAME", "USER", "LNAME", "USERNAME"):
        monkeypatch.setenv(name, "")  # so that what is set here goes again
        monkeypatch.delenv(name)
    monkeypatch.setattr(pwd, "getpwuid", unknown)


def test_no_home(bare):
    """`RuntimeError: Could not determine home directory`, of lhotse's import too."""
    import getpass

    assert cache_folder().is_dir() and cache_folder() == cache_folder()
    ensure_home()
    assert pathlib.Path.home().is_dir() and getpass.getuser()
    assert os.path.isdir(os.path.dirname(cache_folder().parent)) and torch.hub.get_dir().startswith(os.environ["HOME"])


def test_a_home_that_is_not_there(bare, monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path / "nonexistent"))
    ensure_home()
    assert pathlib.Path.home().is_dir() and not (tmp_path / "nonexistent").exists()


def test_a_home_that_is_there_stays(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    ensure_home()
    assert os.environ["HOME"] == str(tmp_path)
    monkeypatch.delenv("FITHUBERT_CACHE")
    assert cache_folder() == tmp_path / ".cache" / "fithubert"


def test_a_home_that_cannot_be_written(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("FITHUBERT_CACHE")
    monkeypatch.setattr(files.os, "access", lambda path, mode: False)
    assert tmp_path not in cache_folder().parents and cache_folder().is_dir()
    (tmp_path / ".cache" / "fithubert").mkdir(parents=True)  # and what is there is read
    assert cache_folder() == tmp_path / ".cache" / "fithubert"


def test_no_resource(monkeypatch):
    """`ModuleNotFoundError: No module named 'resource'` on Windows, before anything was done."""
    with monkeypatch.context() as patch:
        for name in ("resource", "fcntl", "pwd", "grp", "termios"):
            patch.setitem(sys.modules, name, None)
        patch.delattr(os, "sched_getaffinity", raising=False)
        importlib.reload(train_log)
        patch.setattr(train_log.Path, "is_file", lambda path: False)  # no /proc
        assert math.isnan(train_log.peak_memory(torch.device("cpu")))
        ensure_home()
    importlib.reload(train_log)


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """torch.hub's cache with the embedded student in it; refuses to be written when its `.refuses` is set."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    fetch_checkpoint(url())
    for lock in tmp_path.rglob("*.lock"):
        lock.unlink()

    def guarded(function, writes):
        def call(path, *args, **kwargs):
            if str(path).startswith(str(tmp_path)) and writes(path, *args):
                raise OSError(cache.number, os.strerror(cache.number), str(path))
            return function(path, *args, **kwargs)

        return call

    class cache:
        number = errno.EACCES
        folder = tmp_path

        @staticmethod
        def refuse():
            flags = os.O_WRONLY | os.O_RDWR | os.O_CREAT
            monkeypatch.setattr(os, "open", guarded(os.open, lambda path, given, *rest: given & flags))
            monkeypatch.setattr(os, "mkdir", guarded(os.mkdir, lambda path, *rest: not os.path.isdir(path)))

    return cache


def url() -> str:
    return f"file://{assets.find('fithubert_mini')}"


def test_a_read_only_cache_is_read(cache):
    """`PermissionError` for the lock."""
    cache.refuse()
    assert fetch_checkpoint(url()).is_file()


@pytest.mark.parametrize("number", [errno.EACCES, errno.EROFS, errno.ENOSPC])
def test_what_a_read_only_or_full_cache_lacks(cache, number):
    cache.number = number
    cache.refuse()
    with pytest.raises(FitHubertError, match=f"checkpoints: expected a folder .*{os.strerror(number)}; set TORCH_HOME"):
        fetch_checkpoint(url(), refresh=True)


def test_a_cache_below_a_file(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "file"))
    with pytest.raises(FitHubertError, match="set TORCH_HOME to another"):
        fetch_checkpoint(url())


@pytest.mark.parametrize("error", [NotImplementedError("no flock"), OSError(errno.ENOLCK, "No locks available")])
def test_a_file_system_without_locks(tmp_path, monkeypatch, error):
    def refuse(lock):
        raise error

    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr(download.FileLock, "acquire", refuse)
    assert fetch_checkpoint(url()).is_file()


def test_a_full_disk_is_not_taken_for_a_bad_download(tmp_path, monkeypatch):
    def full(*args, **kwargs):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr(download.torch.hub, "download_url_to_file", full)
    with pytest.raises(FitHubertError, match="expected a folder for downloads .*No space left"):
        fetch_checkpoint(url())


def test_a_full_disk_that_nobody_named(monkeypatch, capsys):
    def full(argv):
        raise OSError(errno.ENOSPC, "No space left on device", "args_1.yaml")

    monkeypatch.setattr(importlib.import_module("fithubert_upstream.cli"), "load", lambda name: full)
    assert cli(["check"]) == 2
    assert capsys.readouterr().err == "fithubert: cannot write to args_1.yaml: No space left on device\n"

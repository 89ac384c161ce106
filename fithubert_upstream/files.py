"""Files that are either whole or not there, also after a power cut or on a full disk."""

import atexit
import contextlib
import errno
import functools
import json
import os
import re
import secrets
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from .errors import FitHubertError

# What a system says when there is no room (any more), or the disk is broken.
NO_ROOM = {getattr(errno, name) for name in ("ENOSPC", "EDQUOT", "EFBIG", "EROFS", "EIO") if hasattr(errno, name)}
# What a file system says that cannot do this at all, or not for folders.
_NO_SYNC = {getattr(errno, name) for name in ("EINVAL", "ENOTSUP", "ENOSYS", "EBADF", "EACCES", "EPERM")}
# How torch's writer of zip files (`iostream` is its stream to the disk) and numpy say it, who know no reason.
_NOT_WRITTEN = ("PytorchStreamWriter failed", "unexpected pos", "iostream error", "requested and")
_LONGEST = 40  # letters of a name that its temporary name repeats; file systems allow 255 bytes


@contextmanager
def atomic_path(path: str | Path, durable: bool = True) -> Iterator[Path]:
    """Give a temporary name beside `path` to write to; renamed to `path` at the end, removed on an error.

    The content is flushed to disk before the rename, and the rename before the block ends. With `durable=False`, for
    caches, nothing is flushed.

    Raises
    ------
    FitHubertError
        `path` cannot be written: disk full, no permission, or not a regular file. It is left unchanged.
    """
    path = Path(path)
    temporary = _create_beside(path)
    try:
        mode = temporary.stat().st_mode
        yield temporary
        with contextlib.suppress(OSError):  # safetensors puts a private file there; FAT knows no modes
            temporary.chmod(mode)
        if durable:
            _sync(temporary, os.O_RDWR)
        os.replace(temporary, path)
        if durable:
            _sync(path.parent, os.O_RDONLY)
    except Exception as error:
        reason = _why_unwritable(error, path, temporary)
        if reason is None:
            raise
        raise FitHubertError(f"{path}: cannot be written ({reason}); make room or choose another place") from error
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)


@contextmanager
def atomic_folder(path: str | Path) -> Iterator[Path]:
    """Give a temporary folder beside `path` to write files to; renamed to `path` at the end, removed on an error.

    The files are flushed to disk before the rename.

    Raises
    ------
    FitHubertError
        `path` is there and not an empty folder, or cannot be written: disk full, no permission.
    """
    path = Path(os.path.abspath(path))
    temporary = path.with_name(f".{path.name[:_LONGEST]}.{secrets.token_hex(4)}.tmp")
    try:
        if path.exists() and not (path.is_dir() and not any(path.iterdir())):
            what = "files in it" if path.is_dir() else "a file"
            raise FitHubertError(f"{path}: expected a folder that is new or empty, found {what}; choose another name")
        _make_folder(temporary)
        yield temporary
        mode = temporary.stat().st_mode & 0o666
        for place in (*temporary.rglob("*"), temporary):
            if place.is_file():
                with contextlib.suppress(OSError):  # safetensors makes private files
                    place.chmod(mode)
            _sync(place, os.O_RDONLY if place.is_dir() else os.O_RDWR)
        if path.exists():
            path.rmdir()
        os.replace(temporary, path)
        _sync(path.parent, os.O_RDONLY)
    except Exception as error:
        reason = None if isinstance(error, FitHubertError) else _why_unwritable(error, path, temporary)
        if reason is None:
            raise
        raise FitHubertError(f"{path}: cannot be written ({reason}); make room or choose another place") from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def remove_temporaries(folder: str | Path) -> None:
    """Remove what writers that were killed left in a folder that belongs to this run."""
    for path in Path(folder).glob(".*.tmp"):
        if re.fullmatch(r"\..*\.[0-9a-f]{8}\.tmp", path.name):
            path.unlink(missing_ok=True)


@contextmanager
def named(path: str | Path) -> Iterator[None]:
    """Let a full disk be told as one line that names `path`, whatever writes to it in the block."""
    try:
        yield
    except OSError as error:
        if error.errno not in NO_ROOM:
            raise
        raise FitHubertError(f"{path}: cannot be written ({error.strerror}); make room there") from error


def flush_to_disk(paths: Iterable[str | Path]) -> None:
    """Wait until files that were written, and their names, are on the disk. Raises OSError."""
    paths = [Path(path) for path in paths]
    for path in paths:
        _sync(path, os.O_RDWR)
    for folder in dict.fromkeys(path.parent for path in paths):
        _sync(folder, os.O_RDONLY)


def write_text(path: str | Path, text: str) -> None:
    """Write a text file, whole or not at all, in UTF-8."""
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: str | Path, content: Any, indent: int | None = 2) -> None:
    """Write a JSON file, whole or not at all."""
    write_text(path, json.dumps(content, indent=indent) + "\n")


def stamp(path: str | Path) -> tuple[int, int, int]:
    """Size, time of change and time of the entry's change (ns) of a file: with another content it has another stamp.

    The last is set by no copy that keeps times, such as `cp -p`, `rsync -t` and `tar`; Windows has none.
    """
    status = os.stat(path)
    return status.st_size, status.st_mtime_ns, status.st_ctime_ns


def cache_folder() -> Path:
    """Where what can be computed again is remembered: $FITHUBERT_CACHE, else ~/.cache/fithubert. It need not exist.

    Where there is no home folder, or none that can be written, it is a temporary folder of this process.
    """
    given = os.environ.get("FITHUBERT_CACHE")
    try:
        folder = Path(given or "~/.cache/fithubert").expanduser()
    except RuntimeError:
        return _temporary_folder()
    there = next(place for place in (folder, *folder.parents) if place.exists())
    can_be_made = there == folder or os.access(there, os.W_OK)  # one that cannot be written is read
    return folder if given or can_be_made else _temporary_folder()


def ensure_home() -> None:
    """Let a temporary folder be the home where there is none: a container's user without HOME, a service's account.

    torch.hub, huggingface_hub, transformers, numba, matplotlib and lhotse ask for a home or a user's name, some of them
    as they are imported.
    """
    if not os.path.isdir(os.path.expanduser("~")):
        os.environ["HOME"] = str(_temporary_folder())
    if not any(os.environ.get(name) for name in ("LOGNAME", "USER", "LNAME", "USERNAME")):
        try:
            import pwd

            pwd.getpwuid(os.getuid())
        except (ImportError, KeyError):
            os.environ["USER"] = "user"


def _create_beside(path: Path) -> Path:
    """A new empty file in the folder of `path`, which is made. Raises FitHubertError where that cannot be."""
    temporary = path.with_name(f".{path.name[:_LONGEST]}.{secrets.token_hex(4)}.tmp")
    try:
        if path.exists() and not path.is_file():
            raise FitHubertError(
                f"{path}: expected to write a file, found {'a folder' if path.is_dir() else 'no ordinary file'} there; "
                "choose another name"
            )
        _make_folder(path.parent)
        temporary.touch(exist_ok=False)
    except (OSError, ValueError) as error:
        if isinstance(error, FitHubertError):
            raise
        reason = getattr(error, "strerror", None) or error
        raise FitHubertError(f"{path}: cannot be written ({reason}); choose another place") from error
    return temporary


def _make_folder(folder: Path) -> None:
    """Make a folder and its parents, and see their names on the disk."""
    new = [place for place in (folder, *folder.parents) if not place.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    for place in new:
        _sync(place.parent, os.O_RDONLY)


def _sync(path: Path, flags: int) -> None:
    """Wait until a file, or what a folder says of its files, is on the disk, where the system can."""
    try:
        handle = os.open(path, flags)  # Windows opens no folder
    except PermissionError:
        return
    try:
        os.fsync(handle)
    except OSError as error:
        if error.errno not in _NO_SYNC:
            raise
    finally:
        os.close(handle)


def _why_unwritable(error: BaseException | None, path: Path, temporary: Path) -> str | None:
    """What kept a file from being written, in the system's words; None for an error of another kind."""
    found = None
    while isinstance(error, (OSError, RuntimeError)) or type(error).__name__ == "SafetensorError":
        text = str(error)
        if isinstance(error, OSError) and error.errno is not None:
            names = {os.fsdecode(name) for name in (error.filename, error.filename2) if isinstance(name, (str, bytes))}
            inside = any(name.startswith(f"{temporary}{os.sep}") for name in names)  # of a folder
            if inside or names & {str(path), str(temporary)} or (not names and error.errno in NO_ROOM):
                return error.strerror
        elif "(os error " in text:  # safetensors
            return text.rpartition("error: ")[2].partition(" (os error ")[0]
        elif any(words in text for words in _NOT_WRITTEN):
            found = "no room on the disk"  # unless the system's own words follow
        error = error.__context__
    return found


@functools.cache
def _temporary_folder() -> Path:
    folder = tempfile.mkdtemp(prefix="fithubert-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return Path(folder)

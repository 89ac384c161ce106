"""Whether a job can write its results where they are to go: asked before the work, not after."""

import contextlib
import os
import stat
import tempfile
from collections.abc import Callable
from pathlib import Path

from ..errors import FitHubertError


def check_output_file(path: str | Path, source: str | Path, flag: str = "-o") -> None:
    """Raise FitHubertError unless a file can be written there, another than the source; nothing is left behind."""
    text = os.fspath(path)
    if text.endswith(os.sep) or (os.altsep and text.endswith(os.altsep)):
        raise _unfit(flag, text, "a file", f"a name that ends with {text[-1]}")
    _check(flag, text, "a file", Path(text).parent, stat.S_ISREG)
    if os.path.exists(text) and os.path.exists(source) and os.path.samefile(text, source):
        raise _unfit(flag, text, "a file", "the file that is read")


def check_output_folder(path: str | Path, flag: str = "-o") -> None:
    """Raise FitHubertError unless files can be written in that folder, which need not exist; nothing is left behind."""
    text = os.fspath(path)
    _check(flag, text, "a folder", Path(text), stat.S_ISDIR)


def check_feature_cache(folder: str | Path | None) -> None:
    """The same of `--feature-cache`, where it is given; one that is there and cannot be written is read."""
    if folder is not None and not (os.path.exists(folder) and os.path.isdir(folder)):
        check_output_folder(folder, "--feature-cache")


def _check(flag: str, text: str, kind: str, folder: Path, is_kind: Callable[[int], bool]) -> None:
    if not text.strip():
        raise _unfit(flag, text, kind, "an empty name")
    try:
        if os.path.lexists(text) and not is_kind(os.stat(text).st_mode):
            raise _unfit(flag, text, kind, _kind_of(text))
        there = next(place for place in (folder, *folder.parents) if os.path.lexists(place))
        for part in Path(text).parts:  # of what is not there yet a system does not say that it is too long
            with contextlib.suppress(FileNotFoundError):
                os.lstat(there / part)
        with tempfile.TemporaryFile(dir=there):
            pass
    except ValueError as error:  # a NUL
        if isinstance(error, FitHubertError):
            raise
        raise _unfit(flag, text, kind, f"a name that cannot be one ({error})") from error
    except OSError as error:
        raise _unfit(flag, text, kind, error.strerror or str(error)) from error


def _kind_of(text: str) -> str:
    return "a folder" if os.path.isdir(text) else "a file" if os.path.isfile(text) else "no ordinary file"


def _unfit(flag: str, text: str, kind: str, found: str) -> FitHubertError:
    return FitHubertError(f"{flag} {text}: expected {kind} that can be written, found: {found}; choose another")

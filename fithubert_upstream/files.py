"""Files that are either whole or not there."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def atomic_path(path: str | Path) -> Iterator[Path]:
    """Give a temporary name beside `path` to write to; renamed to `path` at the end, removed on an error."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".tmp")
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        temporary.chmod(0o666 & ~_umask())  # mkstemp's files are private, a checkpoint need not be
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def cache_folder() -> Path:
    """Where what can be computed again is remembered: $FITHUBERT_CACHE, else ~/.cache/fithubert. It need not exist."""
    return Path(os.environ.get("FITHUBERT_CACHE") or "~/.cache/fithubert").expanduser()


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask

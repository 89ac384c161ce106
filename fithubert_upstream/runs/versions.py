"""Which versions run here: the package's own, and those of what it stands on."""

import platform
import sys
from importlib import metadata

# The one place; setup.py reads it too. A source tree on PYTHONPATH has no metadata to ask.
VERSION = "0.2.0"


def versions() -> dict[str, str]:
    """Name -> version of all that a result depends on."""
    return {
        "python": platform.python_version(),
        "fithubert-upstream": VERSION,
        "s3prl": s3prl_version(),
        **{name: version(name) for name in ("torch", "torchaudio")},
    }


def s3prl_version() -> str:
    """s3prl's version; "espnet-s3prl 2026.5.14" is ESPnet's fork, which brings the same modules.

    With both installed, the files are those of the one that came last, and both are named.
    """
    fork = _installed("espnet-s3prl")
    if fork is None:
        return version("s3prl")
    original = _installed("s3prl")
    return f"espnet-s3prl {fork}" if original is None else f"{original} and espnet-s3prl {fork}"


def version(distribution: str) -> str:
    """The version of a distribution; one without metadata, such as a clone on PYTHONPATH, says itself, or "unknown"."""
    return _installed(distribution) or getattr(sys.modules.get(distribution), "__version__", "unknown")


def _installed(distribution: str) -> str | None:
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return None

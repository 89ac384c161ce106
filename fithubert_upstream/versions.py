"""Which versions run here: the package's own, and those of what it stands on."""

import platform
import sys
from importlib import metadata

# The one place; setup.py reads it too. A source tree on PYTHONPATH has no metadata to ask.
VERSION = "0.1.0"

# s3prl, and ESPnet's fork for newer releases of torchaudio, which brings the same modules; either will do.
S3PRL_DISTRIBUTIONS = ("s3prl", "espnet-s3prl")


def versions() -> dict[str, str]:
    """Name -> version of all that a result depends on, s3prl under the name of the distribution that brought it."""
    s3prl = [name for name in S3PRL_DISTRIBUTIONS if _installed(name)] or ["s3prl"]  # both: one lies over the other
    return {
        "python": platform.python_version(),
        "fithubert-upstream": VERSION,
        **{name: version(name) for name in (*s3prl, "torch", "torchaudio")},
    }


def version(distribution: str) -> str:
    """The version of a distribution; one without metadata, such as a clone on PYTHONPATH, says itself, or "unknown"."""
    return _installed(distribution) or getattr(sys.modules.get(distribution), "__version__", "unknown")


def _installed(distribution: str) -> str | None:
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return None

"""Which versions run here: the package's own, and those of what it stands on."""

import os
import platform
import subprocess
import sys
from importlib import metadata
from pathlib import Path

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


def commit() -> str | None:
    """The git commit that this package is run from, with "+" where files differ from it; None of an installed one."""
    root = Path(__file__).parents[2]
    if not (root / ".git").exists():  # a checkout may lie in another's folder
        return None
    words = ["git", "-C", str(root), "describe", "--always", "--abbrev=40", "--exclude=*", "--dirty=+"]
    try:
        return subprocess.run(words, capture_output=True, text=True, timeout=20, check=True).stdout.strip() or None
    except (OSError, subprocess.SubprocessError):  # no git, or a checkout of another user
        return None


def hardware() -> str:
    """The machine's name for its processor, with the number of cores that this process may use."""
    name = platform.processor() or platform.machine()
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        name = next(line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):  # not Linux, or an ARM
        pass
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return f"{name}, {cores} cores"


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

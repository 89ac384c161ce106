"""Which code, on what machine, makes a result."""

import platform
import subprocess
from pathlib import Path

import torch

from .workers import available_cores


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


def processor() -> str:
    """The machine's name for its processor."""
    name = platform.processor() or platform.machine()
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        name = next(line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):  # not Linux, or an ARM
        pass
    return name


def hardware() -> str:
    """The processor, with the number of cores that this process may use."""
    return f"{processor()}, {available_cores()} cores"


def device_name() -> str:
    """The GPU where there is one, else `hardware`."""
    return torch.cuda.get_device_name() if torch.cuda.is_available() else hardware()

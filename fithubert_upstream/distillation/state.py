"""The file a training run is taken up from, and the random generators in it."""

import contextlib
import os
import shutil
from pathlib import Path
from typing import Any

import torch

from ..checkpoints.torch_files import newest_whole, read_own
from ..errors import FitHubertError
from ..files import atomic_path


def write_state(state: dict[str, Any], path: Path, keep: int = 1) -> None:
    """Write `path`, whole or not at all; its `keep - 1` newest predecessors stay beside it, as step-N.ckpt."""
    if keep > 1 and path.is_file():
        with contextlib.suppress(FitHubertError):  # a damaged one is not kept
            step = _read(path)["step"]
            if step != state["step"]:
                _copy(path, path.with_name(f"step-{step}.ckpt"))  # `path` itself is there all the while
    with atomic_path(path) as temporary:
        torch.save(state, temporary)
    for older in _older_states(path)[: 1 - keep or None]:
        older.unlink()


def _copy(path: Path, copy: Path) -> None:
    """Give a file a second name, or copy it where the file system has no hard links."""
    copy.unlink(missing_ok=True)
    try:
        os.link(path, copy)
    except (OSError, NotImplementedError, AttributeError):
        with atomic_path(copy) as temporary:
            shutil.copyfile(path, temporary)


def has_state(path: Path) -> bool:
    """Whether a run can be taken up: from `path`, or one of its predecessors beside it."""
    return path.is_file() or bool(_older_states(path))


def read_state(path: Path) -> dict[str, Any]:
    """What `write_state` wrote to `path`; where that is damaged, its newest predecessor, and a line that says so.

    Raises
    ------
    FitHubertError
        None of them can be read.
    """
    there = [path] if path.is_file() else []
    return newest_whole([*_older_states(path), *there], _read)[1]


def _read(path: Path) -> dict[str, Any]:
    advice = "remove it to start over, or choose another name with -n"
    return read_own(path, "fithubert distill", ("step",), advice)


def _older_states(path: Path) -> list[Path]:
    """The step-N.ckpt beside `path`, rising."""
    numbers = {older: older.stem.removeprefix("step-") for older in path.parent.glob("step-*.ckpt")}
    return sorted((older for older, n in numbers.items() if n.isdecimal()), key=lambda older: int(numbers[older]))


def get_random_state(device: torch.device) -> dict[str, torch.Tensor]:
    """The generators that dropout draws from in this process."""
    state = {"cpu": torch.get_rng_state()}
    if device.type == "cuda":
        state["cuda"] = torch.cuda.get_rng_state(device)
    return state


def set_random_state(state: dict[str, torch.Tensor], device: torch.device) -> None:
    torch.set_rng_state(state["cpu"])
    if device.type == "cuda" and "cuda" in state:
        torch.cuda.set_rng_state(state["cuda"], device)

"""The file a training run is taken up from, and the random generators in it."""

import os
import pickle
import shutil
from pathlib import Path
from typing import Any

import torch

from .errors import FitHubertError
from .files import atomic_path


def write_state(state: dict[str, Any], path: Path, keep: int = 1) -> None:
    """Write `path`, whole or not at all; its `keep - 1` newest predecessors stay beside it, as step-N.ckpt."""
    if keep > 1 and path.is_file():
        step = torch.load(path, map_location="cpu", weights_only=True, mmap=True)["step"]
        if step != state["step"]:
            _copy(path, path.with_name(f"step-{step}.ckpt"))  # `path` itself is there all the while
    with atomic_path(path) as temporary:
        torch.save(state, temporary)
    olders = [older for older in path.parent.glob("step-*.ckpt") if older.stem[5:].isdecimal()]
    for older in sorted(olders, key=lambda older: int(older.stem[5:]), reverse=True)[keep - 1 :]:
        older.unlink()


def _copy(path: Path, copy: Path) -> None:
    """Give a file a second name, or copy it where the file system has no hard links."""
    copy.unlink(missing_ok=True)
    try:
        os.link(path, copy)
    except (OSError, NotImplementedError, AttributeError):
        with atomic_path(copy) as temporary:
            shutil.copyfile(path, temporary)


def read_state(path: Path) -> dict[str, Any]:
    """What `write_state` wrote. Raises FitHubertError for any other file."""
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
        state["step"]
    except (OSError, RuntimeError, EOFError, KeyError, TypeError, ValueError, pickle.UnpicklingError) as error:
        what = str(error).partition("\n")[0]
        raise FitHubertError(f"{path}: expected a checkpoint of `fithubert distill`, found: {what}") from error
    return state


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

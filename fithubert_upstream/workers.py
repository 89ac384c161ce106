"""Processes that begin with what they are sent, and not with the script that starts them. Imports no torch.

Where processes start afresh (spawn on macOS and Windows, forkserver from Python 3.14), Python lets each import the
user's script first: without `if __name__ == "__main__":` that trains once more. Ours need nothing of the script.
"""

import multiprocessing
import sys
import types
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def _without_script() -> Iterator[None]:
    """Processes that start in the block import no script, as in a notebook, where there is none."""
    script = sys.modules["__main__"]
    sys.modules["__main__"] = types.ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = script


class Spawned(multiprocessing.get_context("spawn").Process):
    """A process of a pool."""

    def start(self) -> None:
        with _without_script():
            super().start()


class SpawnContext(type(multiprocessing.get_context("spawn"))):
    """What a pool takes as its context. (A fork would copy the locks of whatever threads the caller has.)"""

    Process = Spawned


class Worker(multiprocessing.Process):
    """A worker of a data loader, started by whichever method is the default."""

    def start(self) -> None:
        if multiprocessing.get_start_method() == "fork":  # it has the script already, and keeps it
            super().start()
            return
        with _without_script():
            super().start()


@contextmanager
def loader_workers(kind: type[Worker]) -> Iterator[None]:
    """Let data loaders whose iteration begins in the block start workers of this class."""
    from torch import multiprocessing as loaders

    before = loaders.Process
    loaders.Process = kind
    try:
        yield
    finally:
        loaders.Process = before

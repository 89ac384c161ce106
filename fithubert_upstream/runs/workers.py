"""Processes that begin with what they are sent, and not with the script that starts them. Imports no torch.

Where processes start afresh (spawn on macOS and Windows, forkserver from Python 3.14), Python lets each import the
user's script first: without `if __name__ == "__main__":` that trains once more. Ours need nothing of the script.
"""

import multiprocessing
import os
import signal
import sys
import types
from collections.abc import Callable, Iterator
from contextlib import contextmanager


def available_cores() -> int:
    """Cores that this process may use: of a job of Slurm those that it was given."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


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

    @staticmethod
    def prepare() -> None:
        """What one that starts afresh does before it reads its dataset."""
        leave_interrupts()  # as a fork does, which inherits the handler of a training that stops in good order

    def __reduce_ex__(self, protocol: int) -> tuple:
        make, arguments, *state = super().__reduce_ex__(protocol)
        return _prepared, (self.prepare, make, arguments), *state  # pickle makes an object, then reads its state


def _prepared(prepare: Callable[[], None], make: Callable, arguments: tuple) -> Worker:
    prepare()
    return make(*arguments)


def leave_interrupts() -> None:
    """Ctrl-C is the parent's: a traceback from each process would bury its message."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


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

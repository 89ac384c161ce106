"""Workers of data loaders for s3prl's datasets: a process that starts afresh has to repair s3prl first."""

from collections.abc import Callable
from contextlib import AbstractContextManager

from . import s3prl_compat
from .workers import Worker, loader_workers


class RepairedWorker(Worker):
    """It applies the repairs before it reads its dataset and collate function, whose modules import s3prl."""

    def __reduce_ex__(self, protocol: int) -> tuple:
        make, arguments, *state = super().__reduce_ex__(protocol)
        return _make_repaired, (make, arguments), *state  # pickle makes an object, then reads its state


def _make_repaired(make: Callable, arguments: tuple) -> RepairedWorker:
    s3prl_compat.apply()
    return make(*arguments)


def repaired_workers() -> AbstractContextManager[None]:
    """Let data loaders that start their workers in the block get these."""
    return loader_workers(RepairedWorker)

"""Workers of data loaders for s3prl's datasets: a process that starts afresh has to repair s3prl first."""

from contextlib import AbstractContextManager

from ..runs.workers import Worker, loader_workers
from . import s3prl as s3prl_compat


class RepairedWorker(Worker):
    @staticmethod
    def prepare() -> None:
        Worker.prepare()
        s3prl_compat.apply()  # the modules of s3prl's datasets and collate functions cannot be imported without


def repaired_workers() -> AbstractContextManager[None]:
    """Let data loaders that start their workers in the block get these."""
    return loader_workers(RepairedWorker)

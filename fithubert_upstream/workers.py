"""Workers of s3prl's data loaders, however they are started.

Under fork (Linux, before Python 3.14) a worker inherits everything. Under spawn and forkserver (macOS, Windows, Python
3.14) it is a new process, which lacks our repairs of s3prl and the modules that we provide, and gets what it works
with as a pickle. Here the repairs come first, then the pickle.
"""

import contextlib
import pickle
from collections.abc import Callable, Iterator
from multiprocessing.process import BaseProcess
from multiprocessing.reduction import ForkingPickler
from typing import Any

import torch.multiprocessing as multiprocessing

from .s3prl_compat import apply, replaced
from .s3prl_modules import provide_modules


@contextlib.contextmanager
def mended_workers() -> Iterator[None]:
    """In the block, processes that PyTorch's data loaders start have s3prl repaired."""
    with replaced(multiprocessing, "Process", mended_process):
        yield


def mended_process(target: Callable[..., None], args: tuple = (), **kwargs: Any) -> BaseProcess:
    """`multiprocessing.Process` in the current start method, for a target that needs s3prl."""
    context = multiprocessing.get_context()
    if context.get_start_method() == "fork":
        return context.Process(target=target, args=args, **kwargs)
    return context.Process(target=_run, args=(Work(target, args),), **kwargs)


class Work:
    """A function and its arguments, which a new process unpickles once s3prl is repaired there."""

    def __init__(self, target: Callable[..., None], args: tuple):
        self.target, self.args = target, args

    def __reduce__(self) -> tuple:
        # ForkingPickler: among the arguments are queues, which can be pickled only while a process starts
        return _mend_and_load, (bytes(ForkingPickler.dumps((self.target, self.args))),)


def _mend_and_load(content: bytes) -> Work:
    apply()
    provide_modules()
    return Work(*pickle.loads(content))


def _run(work: Work) -> None:
    work.target(*work.args)

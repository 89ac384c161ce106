"""s3prl's query by example with the same result each time, and the result: it writes scores and leaves them unscored.

The names are at the top of the module, so that other processes find them however they are started.
"""

import contextlib
import functools
import math
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from ...compat.runs import replaced
from ...compat.s3prl import apply
from ...corpora.layouts.quesst14 import DOCUMENTS, QUERIES, read_list, read_truth
from ...errors import FitHubertError
from ...runs.workers import SpawnContext, available_cores, leave_interrupts
from ..query_by_example.checks import import_dtw
from ..query_by_example.mtwv import mtwv, read_scores

apply()  # without it they do not import

from s3prl.downstream.quesst14_dtw.dataset import QUESST14Dataset  # noqa: E402

SCORES = "benchmark.stdlist.xml"
MOST_PROCESSES = 61  # that a pool can have on Windows


@contextlib.contextmanager
def query_by_example() -> Iterator[None]:
    """Let s3prl's `quesst14_dtw` log its MTWV, in the block; its scores do not depend on the number of processes.

    Raises FitHubertError where the extra `superb` is not installed.
    """
    import_dtw()
    from s3prl.downstream.quesst14_dtw import expert

    with (
        replaced(expert, "QUESST14Dataset", Recordings),
        replaced(expert, "ProcessPoolExecutor", matchers),
        replaced(expert, "as_completed", in_order),
        scored(expert.DownstreamExpert),
    ):
        yield


class Recordings(QUESST14Dataset):
    """The queries of a split and all documents, those that `fithubert check` counts.

    Parameters
    ----------
    split : str
        "dev" or, as s3prl's expert calls the test, "eval".
    """

    def __init__(self, split: str, **kwargs: Any):
        self.dataset_root = Path(kwargs["dataset_root"])
        queries = read_list(self.dataset_root, QUERIES["dev" if split == "dev" else "test"])
        documents = read_list(self.dataset_root, DOCUMENTS)
        self.n_queries, self.n_docs = len(queries), len(documents)
        self.data = queries + documents


def in_order(futures: Iterable[Any]) -> Iterable[Any]:
    """Stands for `as_completed`: in order of completion, sums of scores would differ in their last digits."""
    return futures


class Inline:
    """A pool of no process: each call is made when its result is asked for."""

    def __enter__(self) -> "Inline":
        return self

    def __exit__(self, *error: object) -> None:
        pass

    @staticmethod
    def submit(function: Callable, *args: Any) -> SimpleNamespace:
        return SimpleNamespace(result=functools.partial(function, *args))


def matchers(max_workers: int | None = None) -> Inline | ProcessPoolExecutor:
    """A pool of so many processes, by default one for each core; with 1, none is started.

    They start afresh: a fork would copy the locks of torch's threads.
    """
    count = min(max_workers or available_cores(), MOST_PROCESSES)
    return Inline() if count == 1 else ProcessPoolExecutor(count, SpawnContext(), prepare)


def prepare() -> None:
    """What a process does before it matches; this module, which it imports to find the function, repairs s3prl."""
    leave_interrupts()
    import_dtw()


@contextlib.contextmanager
def scored(expert: type) -> Iterator[None]:
    """Let s3prl's expert log `quesst14_dtw/<split>-mtwv` once its scores are written, in the block."""

    def log_records(self, mode: str, records: dict, logger: Any, global_step: int = 0, **kwargs: Any) -> None:
        for name, feature in zip(records["audio_names"], records["features"], strict=True):
            if not feature.isfinite().all():
                raise FitHubertError(
                    f"{name}: expected finite features, found NaN or infinity; use another layer or upstream"
                )
        try:
            as_in_s3prl(self, mode, records=records, **kwargs)
        except BrokenProcessPool as error:
            raise FitHubertError(
                f"a process that aligns queries and documents has died ({error}); give fewer with "
                "-o config.downstream_expert.max_workers=1"
            ) from error
        except ValueError as error:
            if "NaN" not in str(error):
                raise
            raise FitHubertError(
                f"expected distances that are numbers, found NaN ({error}); give another dist_method with "
                "-o config.downstream_expert.dtwrc.dist_method=euclidean"
            ) from error
        truth = read_truth(self.datarc["dataset_root"], mode)
        best = mtwv(read_scores(Path(self.expdir, SCORES)), truth)
        found = "with nothing found" if math.isinf(best.threshold) else f"with scores from {best.threshold:.4f} up"
        print(f"{mode} mtwv: {best.value} ({found})")
        logger.add_scalar(f"quesst14_dtw/{mode}-mtwv", best.value, global_step=global_step)

    as_in_s3prl = expert.log_records
    with replaced(expert, "log_records", log_records):
        yield

"""ABX errors by fastabx, as ZeroSpeech 2021 takes them: is X of phone A nearer to another A than to a B?"""

import sys
from collections.abc import Sequence

from torch import Tensor

from ..corpora.items import Item
from ..errors import FitHubertError, from_extra

MODES = ("within", "across")  # A, B and X are one speaker's; or X is another's
GROUP, ACROSS = 10, 5  # items of a phone in a context, and speakers of X, of which more are drawn from


def check_fastabx() -> None:
    """Raise FitHubertError where fastabx is not installed, or cannot be."""
    if sys.version_info < (3, 12):
        version = ".".join(map(str, sys.version_info[:2]))
        raise FitHubertError(f"fithubert abx: expected Python 3.12 or newer, which fastabx needs, found {version}")
    with from_extra("abx", "fithubert abx"):
        import fastabx  # noqa: F401


def abx_error(items: Sequence[Item], frames: Tensor, ends: Sequence[int], mode: str, seed: int = 0) -> float:
    """The ABX error of triphones in their contexts, in percent; chance is 50.

    Distances are angles between frames, averaged along the best path (dynamic time warping). Errors are averaged over
    contexts, then speakers, then pairs of phones.

    Parameters
    ----------
    items
        What is what.
    frames
        (N, D), those of the items one after another.
    ends
        Where the frames of each item end.
    mode
        One of `MODES`.
    seed
        Draws from groups with more than `GROUP` items, and from more than `ACROSS` other speakers.

    Raises
    ------
    FitHubertError
        No two phones were said in one context, often enough.
    """
    import polars
    from fastabx import Dataset, EmptyTaskError, InMemoryAccessor, Score, Subsampler, Task

    class InOrder(Subsampler):
        """Draws from cells in the order of their labels: polars joins them in any, by its threads."""

        def __call__(self, cells, *, with_across):
            labels = [name for name in cells.collect_schema().names() if not name.startswith("index")]
            return super().__call__(cells.sort(labels), with_across=with_across)

    starts = [0, *ends[:-1]]
    columns = ("phone", "before", "after", "speaker")
    labels = polars.DataFrame({name: [getattr(item, name) for item in items] for name in columns})
    spans = dict(enumerate(zip(starts, ends, strict=True)))
    dataset = Dataset(labels, InMemoryAccessor(spans, frames, frames.device))
    by, across = (["before", "after", "speaker"], None) if mode == "within" else (["before", "after"], ["speaker"])
    try:
        task = Task(dataset, on="phone", by=by, across=across, subsampler=InOrder(GROUP, ACROSS, seed))
    except EmptyTaskError:
        who = "by one speaker" if mode == "within" else "by two speakers"
        raise FitHubertError(f"expected two phones {who} in one context, found none; give more speech") from None
    score = Score(task, "angular", progress=False)
    return 100 * score.collapse(levels=[("before", "after"), "speaker"])

"""Whether the features of an upstream on a corpus fit into the cache that the runs of a table share."""

import shutil
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...audio.scan import header_milliseconds, scan
from ...corpora.state import corpus_audio
from ...errors import FitHubertError
from ...runs.outputs import check_feature_cache

GB = 10**9


@dataclass(frozen=True)
class FeatureCache:
    """Where features of frozen upstreams are kept. They change no number.

    Parameters
    ----------
    folder : str, optional
        None: a folder of the table's, removed once the table is finished.
    gigabytes : float
        What it may hold, and at most half of what is free on its disk; 0: nothing is kept.

    Raises
    ------
    FitHubertError
        The folder cannot be written, or the size is below 0.
    """

    folder: str | None = None
    gigabytes: float = 50

    def __post_init__(self) -> None:
        check_feature_cache(self.folder)
        if not 0 <= self.gigabytes < float("inf"):
            raise FitHubertError(f"--feature-cache-gb: expected 0 or more, found {self.gigabytes}")
        if self.folder is not None and not self.gigabytes:
            raise FitHubertError(
                f"--feature-cache-gb 0: expected no --feature-cache, found {self.folder}; leave one out"
            )

    def place(self, output: Path) -> Path:
        return output / ".features" if self.folder is None else Path(self.folder)

    def limit(self, output: Path) -> float:
        """Gigabytes that it may hold now, with what is in it."""
        folder = self.place(output)
        there = next(place for place in (folder, *folder.absolute().parents) if place.exists())
        held = sum(path.stat().st_size for path in folder.rglob("*.safetensors"))
        return min(self.gigabytes, (held + shutil.disk_usage(there).free / 2) / GB)

    def clear(self, output: Path) -> None:
        """Remove the table's own folder."""
        if self.folder is None:
            shutil.rmtree(self.place(output), ignore_errors=True)


def corpus_seconds(task: str, config: Mapping[str, Any]) -> float:
    """Seconds of all recordings that a task (s3prl's -d) reads, by their headers. Unreadable ones count as none."""
    lengths = scan(corpus_audio(task, config), header_milliseconds, "Measuring the corpus")
    return sum(length for length in lengths.values() if isinstance(length, int)) / 1000


def too_large(sizes: Iterable[tuple[str, float]], limit: float) -> str | None:
    """What to say of features that do not fit: `sizes` are titles and gigabytes, `limit` is the room there is."""
    large = [f"{title} {size:,.0f} GB" for title, size in sizes if size > limit]
    if not large:
        return None
    return f"features of more than {limit:.1f} GB (--feature-cache-gb) are not cached: {', '.join(large)}"

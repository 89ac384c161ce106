"""A folder of `datasets` comes in, and goes out with a column of features."""

import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import FitHubertError, from_extra
from ..files import atomic_folder, named
from .journal import BAD, write_table
from .mapper import FeatureMapper
from .selection import Selection

BATCH = 32  # rows


def is_dataset(folder: str | Path) -> bool:
    """Whether `datasets` saved a dataset there."""
    return all(Path(folder, name).is_file() for name in ("state.json", "dataset_info.json"))


def extract_dataset(
    folder: str | Path,
    upstream: str,
    out: str | Path,
    selection: Selection,
    device: str | None = None,
    workers: int | None = None,
) -> None:
    """Write a dataset with the column `features` beside its own, whole or not at all.

    Where audio cannot be decoded, `features` is null, and OUT/bad.tsv names the row.

    Raises
    ------
    FitHubertError
        `datasets` is missing; the dataset has no column of audio, or has one named features; `out` is not empty, or
        cannot be written; rows could not be read: then the dataset is written.
    """
    with from_extra("datasets", "a folder of datasets"):
        import datasets
    out = Path(out)
    given = datasets.load_from_disk(str(folder))
    column = _audio_column(given, folder)
    if "features" in given.column_names:
        raise FitHubertError(f"{folder}: expected no column features, found one; rename it")
    mapper = FeatureMapper(upstream, *selection, audio=column, device=device, workers=workers)
    shape = mapper.encode([{"array": np.zeros(16000, dtype=np.float32), "sampling_rate": 16000}])[0].shape
    kind: Any = datasets.Value("float32")
    for axis in reversed(range(len(shape))):
        kind = datasets.List(kind, length=shape[axis] if axis == len(shape) - 1 else -1)
    bad: list[tuple[int, str, str]] = []

    def add(rows: dict[str, list], numbers: list[int]) -> dict[str, list]:
        results = mapper.attempt(rows[column])
        for number, value, result in zip(numbers, rows[column], results, strict=True):
            if isinstance(result, Exception):
                path = value.get("path") if isinstance(value, dict) else value if isinstance(value, str) else None
                bad.append((number, path or "-", " ".join(str(result).split())[:300]))
        return {"features": [None if isinstance(result, Exception) else result for result in results]}

    with atomic_folder(out) as temporary, tempfile.TemporaryDirectory(dir=temporary.parent, prefix=".") as cache:
        with named(out):
            plain = given
            if isinstance(given.features[column], datasets.Audio):
                plain = given.cast_column(column, datasets.Audio(decode=False))
            done = plain.map(
                add,
                with_indices=True,
                batched=True,
                batch_size=BATCH,
                writer_batch_size=BATCH,
                features=datasets.Features({**plain.features, "features": kind}),
                cache_file_name=str(Path(cache, "map.arrow")),
                desc="extract",
            )
            done.cast_column(column, given.features[column]).save_to_disk(str(temporary))
        if bad:
            write_table(temporary / BAD, ("row", "path", "reason"), bad)
    print(f"{out}: {len(given):,} rows with features")
    if bad:
        raise FitHubertError(
            f"{len(bad):,} of {len(given):,} rows could not be read ({out / BAD}); the others are done"
        )


def _audio_column(given: Any, folder: str | Path) -> str:
    import datasets

    if not isinstance(given, datasets.Dataset):
        raise FitHubertError(f"{folder}: expected a dataset, found several splits; give the folder of one")
    typed = [name for name, feature in given.features.items() if isinstance(feature, datasets.Audio)]
    for name in [*typed, "audio", "path", "file"]:
        if name in given.column_names:
            return name
    raise FitHubertError(f"{folder}: expected a column of audio, found {', '.join(given.column_names)}; name it audio")

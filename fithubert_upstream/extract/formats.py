"""How features are written: a file for each recording, or shards of many. Imports no torch.

A writer says of which recordings the features are on the disk; what it holds back is lost with the process, and taken
again.
"""

import hashlib
import importlib
import json
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from ..audio.walk import printable
from ..errors import from_extra
from ..files import atomic_path, flush_to_disk, write_json
from .journal import Entry, Journal

SHARD_BYTES = 256 << 20  # of features
FLUSH_FILES = 64  # files whose way to the disk is waited for together


class Writer(Protocol):
    """Takes features, and notes those that are on the disk."""

    def add(self, entry: Entry, features: np.ndarray) -> None:
        """Write features now or later. Raises FitHubertError where the disk is full."""

    def flush(self) -> None:
        """Write and note what is held back."""


class NpyWriter:
    """NAME.npy for each recording, in folders as those of the recordings."""

    def __init__(self, journal: Journal):
        self.out, self.note = journal.out, journal.note
        self.held: list[Entry] = []

    def add(self, entry: Entry, features: np.ndarray) -> None:
        path = self.out / f"{entry.name}.npy"
        with atomic_path(path, durable=False) as temporary, temporary.open("wb") as file:
            np.save(file, np.ascontiguousarray(features))
        self.held.append(entry._replace(file=f"{entry.name}.npy"))
        if len(self.held) >= FLUSH_FILES:
            self.flush()

    def flush(self) -> None:
        if self.held:
            flush_to_disk(self.out / entry.file for entry in self.held)
            self.note(self.held)
            self.held = []


class ShardWriter:
    """Files of about `SHARD_BYTES`, numbered; a subclass says how one is written."""

    suffix: str

    def __init__(self, journal: Journal):
        self.out, self.note = journal.out, journal.note
        self.prefix = "features-" if journal.shard == (0, 1) else "features-{}-of-{}-".format(*journal.shard)
        # A file that is there and not in the journal is overwritten: its writer was killed before it could note it.
        names = {entry.file.removeprefix(self.prefix).partition(".")[0] for entry in journal.done.values()}
        self.number = max((int(name) for name in names if name.isdecimal()), default=-1) + 1
        self.held: list[tuple[Entry, np.ndarray]] = []
        self.bytes = 0

    def add(self, entry: Entry, features: np.ndarray) -> None:
        self.held.append((entry, features))
        self.bytes += features.nbytes
        if self.bytes >= SHARD_BYTES:
            self.flush()

    def flush(self) -> None:
        if not self.held:
            return
        file = f"{self.prefix}{self.number:05}{self.suffix}"
        with atomic_path(self.out / file) as temporary:
            self.write(temporary)
        self.note([entry._replace(file=file) for entry, _ in self.held])
        self.held, self.bytes = [], 0
        self.number += 1

    def write(self, path: Path) -> None:
        raise NotImplementedError


class SafetensorsWriter(ShardWriter):
    """A tensor for each recording, under its name."""

    suffix = ".safetensors"

    def __init__(self, journal: Journal):
        importlib.import_module("safetensors.numpy")  # an install without torch may lack it: told before the work
        super().__init__(journal)

    def write(self, path: Path) -> None:
        from safetensors.numpy import save_file

        save_file({entry.name: np.ascontiguousarray(features) for entry, features in self.held}, path)


class ParquetWriter(ShardWriter):
    """A row for each recording: name, path, frames, seconds, features."""

    suffix = ".parquet"

    def __init__(self, journal: Journal):
        with from_extra("datasets", "--format parquet"):
            importlib.import_module("pyarrow.parquet")
        super().__init__(journal)

    def write(self, path: Path) -> None:
        import pyarrow.parquet

        # features are neither repeated nor made smaller by what parquet has for that
        pyarrow.parquet.write_table(
            table(self.held), path, use_dictionary=False, compression="none", write_statistics=False
        )


class ArrowWriter(ShardWriter):
    """The same rows in the files of a folder that `datasets.load_from_disk` reads, once `finish_dataset` was called."""

    suffix = ".arrow"

    def __init__(self, journal: Journal):
        with from_extra("datasets", "--format hf"):
            importlib.import_module("datasets")
        super().__init__(journal)

    def write(self, path: Path) -> None:
        import pyarrow

        rows = table(self.held)
        with pyarrow.OSFile(str(path), "wb") as file, pyarrow.ipc.new_stream(file, rows.schema) as stream:
            stream.write_table(rows, max_chunksize=16)


FORMATS: dict[str, type] = {
    "npy": NpyWriter,
    "safetensors": SafetensorsWriter,
    "parquet": ParquetWriter,
    "hf": ArrowWriter,
}


def table(rows: list[tuple[Entry, np.ndarray]]) -> Any:
    """A pyarrow table; features are lists of lists of D numbers, D fixed."""
    import pyarrow

    entries = [entry for entry, _ in rows]
    return pyarrow.table(
        {
            "name": pyarrow.array([printable(entry.name) for entry in entries]),
            "path": pyarrow.array([printable(entry.path) for entry in entries]),
            "frames": pyarrow.array([entry.frames for entry in entries], pyarrow.int32()),
            "seconds": pyarrow.array([entry.seconds for entry in entries], pyarrow.float64()),
            "features": nested([features for _, features in rows]),
        }
    )


def nested(arrays: list[np.ndarray]) -> Any:
    """Arrays that differ in the axes before the last -> a pyarrow array of nested lists of them."""
    import pyarrow

    width, axes = arrays[0].shape[-1], arrays[0].ndim
    flat = np.concatenate([array.reshape(-1) for array in arrays])
    values = pyarrow.FixedSizeListArray.from_arrays(pyarrow.array(flat), width)
    for axis in range(axes - 2, -1, -1):
        # (N, L, D) is N lists of L lists: of each list that axis makes, how many it holds
        counts = np.concatenate([np.full(int(np.prod(a.shape[:axis], dtype=int)), a.shape[axis]) for a in arrays])
        offsets = np.concatenate([[0], np.cumsum(counts)]).astype(np.int32)
        values = pyarrow.ListArray.from_arrays(pyarrow.array(offsets), values)
    return values


def finish_dataset(out: Path, entries: Iterable[Entry]) -> None:
    """Write what `datasets.load_from_disk` reads beside the .arrow files; nothing where there is none."""
    entries = list(entries)
    files = sorted({entry.file for entry in entries})
    if not files:
        return
    import datasets
    import pyarrow

    with pyarrow.memory_map(str(out / files[0])) as source:
        empty = pyarrow.ipc.open_stream(source).schema.empty_table()
    with tempfile.TemporaryDirectory() as folder:
        silent = datasets.are_progress_bars_disabled()
        datasets.disable_progress_bars()
        fingerprint = hashlib.blake2b(repr(entries).encode("utf-8", "replace"), digest_size=8).hexdigest()
        datasets.Dataset(empty, fingerprint=fingerprint).save_to_disk(folder, num_shards=1)
        if not silent:
            datasets.enable_progress_bars()
        state, info = (json.loads(Path(folder, name).read_text()) for name in ("state.json", "dataset_info.json"))
    write_json(out / "dataset_info.json", info)
    write_json(out / "state.json", state | {"_data_files": [{"filename": file} for file in files]})


def open_writer(kind: str, journal: Journal) -> Writer:
    """A writer by its name. Raises FitHubertError where a package is missing."""
    return FORMATS[kind](journal)

"""Utterances to train on: folders of audio here, lhotse's cuts files and Shar folders beside (`cuts`, `shar`).

A corpus is held as arrays, so that hundreds of thousands of utterances cost megabytes, and worker processes share them.
"""

import hashlib
import json
import logging
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Protocol

import numpy as np
from torch import Tensor
from tqdm import tqdm

from ..audio.decode import header
from ..audio.walk import find_audio, is_other_audio, other_audio_problems, walk
from ..audio.waveforms import load_any_waveform
from ..errors import FitHubertError
from ..files import atomic_path, cache_folder, stamp

logger = logging.getLogger(__name__)

Index = dict[str, np.ndarray]
INDEX_VERSION = 2  # raised whenever an index is made in another way
THREADS = 16  # that read headers: it is mostly waiting for the disk
CHUNK = 64  # files that a thread takes at a time


class Source(Protocol):
    """Utterances from one place, counted from 0."""

    seconds: np.ndarray  # (N,) float32
    shards: np.ndarray  # (N,) int32, the part of the source that each lies in; parts are best read one after another
    unreadable: dict[str, str]  # file -> one line that says what is wrong with it; not among the N

    def name(self, index: int) -> str: ...

    def load(self, index: int) -> Tensor: ...  # (T,) float32 samples at 16 kHz; raises for what cannot be used


class Corpus:
    """The utterances of several sources that last `min_seconds` to `max_seconds`."""

    def __init__(self, sources: Sequence[Source], min_seconds: float, max_seconds: float):
        seconds = np.concatenate([source.seconds for source in sources])
        numbers = np.cumsum([0, *(source.shards.max(initial=0) + 1 for source in sources)])
        shards = np.concatenate([source.shards + first for source, first in zip(sources, numbers, strict=False)])
        self.sources = list(sources)
        self.starts = np.cumsum([0, *(len(source.seconds) for source in sources)])
        self.kept = np.flatnonzero((min_seconds <= seconds) & (seconds <= max_seconds)).astype(np.int32)
        self.seconds = seconds[self.kept]
        self.shards = shards[self.kept].astype(np.int32)
        self.unreadable = {name: why for source in sources for name, why in source.unreadable.items()}
        self.found = len(seconds) + len(self.unreadable)

    def __len__(self) -> int:
        return len(self.kept)

    def name(self, index: int) -> str:
        source, place = self._place(index)
        return source.name(place)

    def digest(self) -> str:
        """Stands for which utterances there are: their lengths and, in folders, their files' names below it."""
        digest = hashlib.sha256(self.seconds.tobytes() + self.kept.tobytes())
        for source in self.sources:
            digest.update(getattr(source, "paths", np.zeros(0)).tobytes())
        return digest.hexdigest()[:32]

    def load(self, index: int) -> Tensor:
        """(T,) float32 samples at 16 kHz, channels averaged. Raises for what cannot be decoded, or is silent."""
        source, place = self._place(index)
        return source.load(place)

    def _place(self, index: int) -> tuple[Source, int]:
        number = int(self.kept[index])
        source = int(np.searchsorted(self.starts, number, side="right")) - 1
        return self.sources[source], number - int(self.starts[source])


class AudioFolder:
    """All audio below a folder (an absolute path), at any rate and with any channels.

    Lengths are those in the headers, and are remembered between runs.
    """

    def __init__(self, folder: Path):
        files = find_audio(folder.parent, [folder.name])
        seconds = remembered(files, lambda: index_headers(files, f"scan {folder.name}"))["seconds"]
        others = [file for _, inside in walk(folder) for file in inside if is_other_audio(file)]
        self.unreadable = dict(zip(map(str, others), other_audio_problems(others), strict=True))
        for place in np.flatnonzero(np.isnan(seconds)).tolist():  # tried again each time: it may have been the network
            try:
                seconds[place] = header_seconds(files[place])
            except FitHubertError as error:
                self.unreadable[str(files[place])] = str(error)
        readable = np.flatnonzero(~np.isnan(seconds))
        self.folder = folder
        self.seconds = seconds[readable]
        self.shards = np.zeros(len(readable), np.int32)
        # Fixed-width bytes: a list of str would be copied into each worker by counting references.
        start = len(os.path.join(os.fsencode(folder), b""))
        self.paths = np.array([os.fsencode(file)[start:] for file in files], np.bytes_)[readable]

    def name(self, index: int) -> str:
        return str(self.folder / os.fsdecode(self.paths[index]))

    def load(self, index: int) -> Tensor:
        return not_silent(load_any_waveform(self.name(index)))


def not_silent(samples: Tensor) -> Tensor:
    """The samples as they are. Raises FitHubertError when all are zero."""
    if not samples.any():
        raise FitHubertError("silent: all samples are zero")
    return samples


def header_seconds(path: Path) -> float:
    """How long a file is, as its header says. Raises FitHubertError when it has none or holds no sample."""
    samples, rate, _ = header(path)
    return samples / rate


def index_headers(files: Sequence[Path], name: str) -> Index:
    """`header_seconds` of each file, NaN where there are none."""

    def measure(start: int) -> None:
        for place in range(start, min(start + CHUNK, len(files))):
            try:
                seconds[place] = header_seconds(files[place])
            except FitHubertError:
                seconds[place] = float("nan")

    seconds = np.empty(len(files), np.float32)
    with ThreadPoolExecutor(THREADS) as pool, tqdm(total=len(files), desc=name, unit="file", leave=False) as bar:
        for _ in pool.map(measure, range(0, len(files), CHUNK)):
            bar.update(CHUNK)
    return {"seconds": seconds}


def remembered(files: Sequence[Path], make: Callable[[], Index]) -> Index:
    """The arrays that `make` gives for some files, from `cache_folder()` as long as the files are the same."""
    path = cache_file(files, ".npz")
    try:
        with np.load(path) as arrays:
            return dict(arrays)
    except (OSError, ValueError, EOFError, KeyError):  # none yet, or interrupted
        pass
    index = make()
    try:
        with atomic_path(path) as temporary, temporary.open("wb") as file:
            np.savez(file, **index)
    except FitHubertError as error:
        logger.warning("lengths are not remembered: %s, set FITHUBERT_CACHE", error)
    return index


def cache_file(files: Sequence[Path], suffix: str) -> Path:
    """A name in the cache that stands for these files (absolute paths) as they are now."""
    stamps = [(str(file), *stamp(file)) for file in files]
    key = hashlib.sha256(json.dumps([INDEX_VERSION, stamps]).encode()).hexdigest()
    return cache_folder() / "cuts" / f"{key[:32]}{suffix}"

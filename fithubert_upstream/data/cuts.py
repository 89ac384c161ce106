"""Utterances as lhotse cuts, from folders of audio, cuts files and Shar folders.

A corpus is held as arrays; the lhotse cut of an utterance is made when it is read, so that hundreds of
thousands of them cost megabytes, and worker processes share them.
"""

import gzip
import hashlib
import json
import logging
import os
import shutil
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Protocol

import numpy as np
import soxr
import torch
from torch import Tensor
from tqdm import tqdm

from ..audio import SAMPLE_RATE
from ..audio.decode import header
from ..audio.walk import find_audio, is_other_audio, other_audio_problems, walk
from ..audio.waveforms import load_any_waveform
from ..errors import FitHubertError, from_extra
from ..files import atomic_path, cache_folder, stamp
from .lhotse_audio import own_decoder, recording

with from_extra("distill", "distillation"):
    from lhotse import MonoCut, MultiCut
    from lhotse.cut import Cut, MixedCut
    from lhotse.serialization import deserialize_item

logger = logging.getLogger(__name__)

Index = dict[str, np.ndarray]
INDEX_VERSION = 2  # raised whenever an index is made in another way
THREADS = 16  # that read headers: it is mostly waiting for the disk
LONGEST = (1 << 31) - 2  # samples; more were read from a header without a length
CHUNK = 64  # files that a thread takes at a time


class Source(Protocol):
    """Utterances from one place, counted from 0."""

    seconds: np.ndarray  # (N,) float32
    shards: np.ndarray  # (N,) int32, the part of the source that each lies in; parts are best read one after another
    unreadable: dict[str, str]  # file -> one line that says what is wrong with it; not among the N

    def name(self, index: int) -> str: ...

    def cut(self, index: int) -> Cut: ...

    def load(self, index: int) -> Tensor: ...  # (T,) float32 samples at 16 kHz; raises for what cannot be used


class Cuts(Sequence):
    """The utterances of several sources that last `min_seconds` to `max_seconds`; `lhotse.CutSet(cuts)` works."""

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

    def __getitem__(self, index: int) -> Cut:
        source, place = self._place(index)
        return source.cut(place)

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

    def cut(self, index: int) -> Cut:
        return recording(self.name(index)).to_cut()

    def load(self, index: int) -> Tensor:
        return _not_silent(load_any_waveform(self.name(index)))


class CutsFile:
    """A lhotse cuts manifest, `.jsonl` or `.jsonl.gz`, of which only one line at a time is in memory."""

    def __init__(self, path: Path):
        self.path = unpacked(path) if path.suffix == ".gz" else path
        index = remembered([self.path], lambda: index_lines(self.path))
        self.seconds, self.offsets = index["seconds"], index["offsets"]
        self.shards = np.zeros(len(self.seconds), np.int32)
        self.unreadable: dict[str, str] = {}

    def name(self, index: int) -> str:
        return f"{self.path}: {self._line(index)['id']}"

    def cut(self, index: int) -> Cut:
        return deserialize_item(self._line(index))

    def load(self, index: int) -> Tensor:
        return load_cut(self.cut(index))

    def _line(self, index: int) -> dict:
        with open(self.path, "rb") as file:
            file.seek(self.offsets[index])
            return json.loads(file.readline())


def load_cut(cut: Cut) -> Tensor:
    """(T,) float32 samples of a cut: 16 kHz, its channels averaged, its mixes mixed.

    Raises
    ------
    FitHubertError
        As `decode.read_audio`; or all its samples are zero, or its manifest would run a command to read it.
    Exception
        Whatever lhotse raises for what is shorter than the manifest says.
    """
    parts = [track.cut for track in cut.tracks] if isinstance(cut, MixedCut) else [cut]
    recordings = [part.recording for part in parts if isinstance(part, MonoCut | MultiCut) and part.has_recording]
    if not recordings:
        raise FitHubertError("expected a cut with a recording, found none")
    if any(source.type == "command" for recording in recordings for source in recording.sources):
        raise FitHubertError("expected recordings in files, found a shell command, which is not run")
    with own_decoder():
        samples = cut.load_audio()
    samples = samples.mean(axis=0)  # (C, T) -> (T,)
    if cut.sampling_rate != SAMPLE_RATE:
        samples = soxr.resample(samples, cut.sampling_rate, SAMPLE_RATE)
    if not np.isfinite(samples).all():
        raise FitHubertError("found NaN or infinite samples")
    return _not_silent(torch.from_numpy(samples))


def _not_silent(samples: Tensor) -> Tensor:
    if not samples.any():
        raise FitHubertError("silent: all samples are zero")
    return samples


def cut_seconds(lines: Iterable[bytes], where: str | Path) -> list[float]:
    """Seconds of each cut of a manifest's lines. Raises FitHubertError for what is no cut."""
    seconds = []
    try:
        for line in lines:
            data = json.loads(line)
            if not data["type"].endswith("Cut"):
                raise ValueError(f"a {data['type']}")
            # Only a MixedCut has no duration of its own.
            duration = data["duration"] if "duration" in data else deserialize_item(data).duration
            rate = (data.get("recording") or {}).get("sampling_rate", SAMPLE_RATE)
            if not 0 < duration * rate <= LONGEST:
                raise ValueError(f"a duration of {duration} s; write the manifest again")
            seconds.append(duration)
    except (ValueError, KeyError, TypeError, AttributeError, OSError, EOFError) as error:
        raise FitHubertError(f"{where}: expected a lhotse cut in line {len(seconds) + 1}, found: {error!r}") from error
    return seconds


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


def index_lines(path: Path) -> Index:
    """Where each cut of a `.jsonl` starts, in bytes, and how long it lasts."""
    offsets = []

    def lines():
        position = 0
        with open(path, "rb") as file:
            for line in tqdm(file, desc=f"scan {path.name}", unit="cut", leave=False):
                if line.strip():
                    offsets.append(position)
                    yield line
                position += len(line)

    seconds = cut_seconds(lines(), path)
    return {"seconds": np.array(seconds, np.float32), "offsets": np.array(offsets, np.int64)}


def remembered(files: Sequence[Path], make: Callable[[], Index]) -> Index:
    """The arrays that `make` gives for some files, from `cache_folder()` as long as the files are the same."""
    path = _cache_file(files, ".npz")
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


def unpacked(path: Path) -> Path:
    """A packed manifest's plain form in `cache_folder()`: lines of a packed one cannot be found by their place."""
    plain = _cache_file([path], ".jsonl")
    if not plain.is_file():
        try:
            with gzip.open(path) as packed, atomic_path(plain) as temporary, temporary.open("wb") as file:
                shutil.copyfileobj(packed, file)
        except (OSError, EOFError, FitHubertError) as error:
            raise FitHubertError(
                f"{path}: expected to unpack it into {plain.parent} (FITHUBERT_CACHE says where), found: {error}"
            ) from error
    return plain


def _cache_file(files: Sequence[Path], suffix: str) -> Path:
    """A name in the cache that stands for these files (absolute paths) as they are now."""
    stamps = [(str(file), *stamp(file)) for file in files]
    key = hashlib.sha256(json.dumps([INDEX_VERSION, stamps]).encode()).hexdigest()
    return cache_folder() / "cuts" / f"{key[:32]}{suffix}"

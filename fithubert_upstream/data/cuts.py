"""lhotse cuts files as a source of utterances, and the samples of a cut."""

import gzip
import json
import shutil
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import soxr
import torch
from torch import Tensor
from tqdm import tqdm

from ..audio import SAMPLE_RATE
from ..errors import FitHubertError, from_extra
from ..files import atomic_path
from .lhotse_audio import own_decoder
from .sources import Index, cache_file, not_silent, remembered

with from_extra("distill", "a lhotse cuts file"):
    from lhotse import MonoCut, MultiCut
    from lhotse.cut import Cut, MixedCut
    from lhotse.serialization import deserialize_item

LONGEST = (1 << 31) - 2  # samples; more were read from a header without a length


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
    return not_silent(torch.from_numpy(samples))


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


def unpacked(path: Path) -> Path:
    """A packed manifest's plain form in `cache_folder()`: lines of a packed one cannot be found by their place."""
    plain = cache_file([path], ".jsonl")
    if not plain.is_file():
        try:
            with gzip.open(path) as packed, atomic_path(plain) as temporary, temporary.open("wb") as file:
                shutil.copyfileobj(packed, file)
        except (OSError, EOFError, FitHubertError) as error:
            raise FitHubertError(
                f"{path}: expected to unpack it into {plain.parent} (FITHUBERT_CACHE says where), found: {error}"
            ) from error
    return plain

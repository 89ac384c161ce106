"""lhotse Shar folders: very large sets, a few tar files of recordings with a manifest beside each.

lhotse reads Shar as one stream, in which a place can only be found again by reading up to it, once in each
worker of each rank. The members of a tar have fixed places, so here an utterance is read from its own; the
batch plan keeps to a few shards at a time, and the reading stays close to sequential.
"""

import json
import tarfile
from pathlib import Path, PurePosixPath

import numpy as np
from torch import Tensor
from tqdm import tqdm

from ..errors import FitHubertError, from_extra
from .batches import WINDOW
from .cuts import cut_seconds, load_cut
from .sources import Index, remembered

with from_extra("distill", "a lhotse Shar folder"):
    from lhotse.cut import Cut
    from lhotse.serialization import deserialize_item, open_best
    from lhotse.shar.utils import fill_shar_placeholder

Member = tuple[str, int, int]  # name, first byte, bytes


class SharFolder:
    """Cuts whose recordings lie in the tar files of one folder, as lhotse's `SharWriter` leaves them."""

    def __init__(self, folder: Path):
        self.manifests = sorted(folder.glob("cuts.*.jsonl*"))
        self.tars = sorted(folder.glob("recording.*.tar"))
        if [path.name.split(".")[1] for path in self.manifests] != [path.name.split(".")[1] for path in self.tars]:
            raise FitHubertError(
                f"{folder}: expected a recording.*.tar for each cuts.*.jsonl, found {len(self.tars)} for "
                f"{len(self.manifests)}"
            )
        index = remembered(self.manifests, self._index)
        self.seconds, self.shards = index["seconds"], index["shards"]
        self.first = np.searchsorted(self.shards, np.arange(len(self.tars)))  # utterance of each shard
        self.unreadable: dict[str, str] = {}
        self.keep = max(2, 2 * WINDOW * len(self.tars) // max(1, len(self.seconds)))  # two windows of shards
        self.open: dict[int, tuple[list[bytes], list[Member]]] = {}

    def name(self, index: int) -> str:
        shard, place = self._place(index)
        return f"{self.tars[shard]}: utterance {place}"

    def cut(self, index: int) -> Cut:
        shard, place = self._place(index)
        lines, members = self._shard(shard)
        cut = deserialize_item(json.loads(lines[place]))
        # A recording is two members: its audio, then its manifest.
        (name, *audio), (_, *manifest) = members[2 * place : 2 * place + 2]
        if str(PurePosixPath(name).with_suffix("")) != cut.id:
            raise FitHubertError(f"{self.tars[shard]}: expected the recording of {cut.id}, found {name}")
        if not manifest[1]:
            raise FitHubertError(f"{self.tars[shard]}: expected a recording of {cut.id}, found none")
        with open(self.tars[shard], "rb") as file:
            recording = deserialize_item(json.loads(_read(file, *manifest)))
            fill_shar_placeholder(recording, _read(file, *audio), name)
        cut.recording = recording
        return cut

    def load(self, index: int) -> Tensor:
        return load_cut(self.cut(index))

    def _index(self) -> Index:
        seconds, shards = [], []
        for number, path in enumerate(tqdm(self.manifests, desc="scan Shar", unit="shard", leave=False)):
            with open_best(path, "rb") as file:
                seconds += cut_seconds(file, path)
            shards += [number] * (len(seconds) - len(shards))
        return {"seconds": np.array(seconds, np.float32), "shards": np.array(shards, np.int32)}

    def _place(self, index: int) -> tuple[int, int]:
        shard = int(self.shards[index])
        return shard, index - int(self.first[shard])

    def _shard(self, number: int) -> tuple[list[bytes], list[Member]]:
        """The manifest's lines and the tar's members of a shard; those of the last few shards are kept."""
        if number not in self.open:
            if len(self.open) >= self.keep:
                del self.open[next(iter(self.open))]
            with open_best(self.manifests[number], "rb") as file:
                lines = file.readlines()
            with tarfile.open(self.tars[number], "r:") as tar:
                members = [(member.name, member.offset_data, member.size) for member in tar]
            self.open[number] = lines, members
        return self.open[number]


def _read(file, offset: int, size: int) -> bytes:
    file.seek(offset)
    return file.read(size)

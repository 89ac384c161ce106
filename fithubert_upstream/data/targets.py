"""A teacher's layers of every utterance, computed once and kept on disk: `data.targets` of a recipe.

A folder holds `part-00000.safetensors` and so on, each whole or not there, of `UTTERANCES` utterances one after the
other: `targets` (frames, N, D) float16 and `ends` (utterances,), where each one's frames end. The header says which
teacher, layers and utterances they are, so that targets of others are never taken.
"""

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor
from tqdm import tqdm

from ..errors import FitHubertError
from ..files import atomic_path, remove_temporaries
from ..models.lengths import FIRST_FRAME, FRAME_RATE
from ..teachers.teachers import Teacher
from .sources import Corpus

UTTERANCES = 64  # in a file: 240 MB for 13 s each and six layers of 512
_IDENTITY, _NAMES = "fithubert_targets", "of"  # in the header: what is compared, and what is told


class Targets:
    """The layers that `layers` names (counted from 1) of the utterances of `corpus`, in a folder.

    The files may hold more layers than that. Raises FitHubertError when the folder holds targets of another teacher,
    other utterances, or without one of the layers.
    """

    def __init__(self, folder: Path, corpus: Corpus, teacher: Teacher, layers: Sequence[int]):
        self.folder, self.corpus = folder, corpus
        self.layers = list(layers)
        self.identity = {"teacher": identify(teacher), "layers": self.layers, "utterances": corpus.digest()}
        self.pooled = teacher.pooled
        self._names = {"teacher": teacher.name, "layers": self.layers, "utterances": f"list of {len(corpus)}"}
        # part -> ends, its `targets` on the disk, and which of their layers are wanted (None: all)
        self._open: dict[int, tuple[list[int], Any, list[int] | None]] = {}

    def __getstate__(self) -> dict:
        """Worker processes open the files themselves."""
        return self.__dict__ | {"_open": {}}

    def __len__(self) -> int:
        """Files that make up the whole."""
        return -(-len(self.corpus) // UTTERANCES)

    def compute(self, teacher: Teacher, rank: int = 0, world_size: int = 1) -> None:
        """Write the files that are missing; each of `world_size` processes every so many of them.

        An utterance that cannot be read gets no frames, and is named when it is asked for.

        Raises
        ------
        FitHubertError
            No room on the disk, or a layer that float16 cannot hold.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        if rank == 0:
            remove_temporaries(self.folder)
        mine = range(rank, len(self), world_size)
        missing = [part for part in mine if not self._is_there(part)]
        hours = self.corpus.seconds.sum(dtype="float64") / 3600
        count = sum(len(self._utterances(part)) for part in missing)
        with tqdm(
            total=count, unit="utterance", desc=f"targets of {hours:.1f} h", disable=rank > 0 or not missing
        ) as bar:
            for part in missing:
                self._write(part, teacher, bar)

    def load(self, index: int, start: int, samples: int) -> Tensor:
        """(L, N, D) float16 of a stretch of an utterance that begins on a frame; `start` and `samples` at 16 kHz."""
        ends, targets, chosen = self._part(index // UTTERANCES)
        place = index % UTTERANCES
        first = ends[place - 1] if place else 0
        # a pooled teacher has one frame of a whole utterance, whatever stretch of it is asked for
        frames = 1 if self.pooled else max(1, (samples - FIRST_FRAME) // FRAME_RATE + 1)
        begin = first if self.pooled else first + start // FRAME_RATE
        if begin + frames > ends[place]:
            raise FitHubertError(
                f"{self._path(index // UTTERANCES)}: expected targets of {self.corpus.name(index)} up to frame "
                f"{begin + frames - first}, found {ends[place] - first}; it was another recording: remove that file"
            )
        found = targets[begin : begin + frames]  # (L, N, D)
        return found if chosen is None else found[:, chosen]

    def _write(self, part: int, teacher: Teacher, bar: tqdm) -> None:
        device = next(teacher.parameters()).device
        layers, ends = [], [0]
        for index in self._utterances(part):
            bar.update()
            try:
                waveform = self.corpus.load(index)
            except Exception:  # training meets it again and says what is wrong
                ends.append(ends[-1])
                continue
            found = teacher(waveform[None].to(device), depth=self.layers[-1])
            kept = torch.stack([found[layer - 1][0] for layer in self.layers], 1).half()  # (L, N, D)
            if not bool(kept.isfinite().all()):
                raise FitHubertError(f"{self.corpus.name(index)}: expected layers within float16, found larger")
            layers.append(kept.cpu())
            ends.append(ends[-1] + len(kept))
        tensors = {
            "targets": torch.cat(layers) if layers else torch.zeros(0, len(self.layers), teacher.width).half(),
            "ends": torch.tensor(ends[1:]),
        }
        with atomic_path(self._path(part)) as temporary:
            save_file(tensors, temporary, {_IDENTITY: json.dumps(self.identity), _NAMES: json.dumps(self._names)})

    def _utterances(self, part: int) -> range:
        return range(part * UTTERANCES, min((part + 1) * UTTERANCES, len(self.corpus)))

    def _path(self, part: int) -> Path:
        return self.folder / f"part-{part:05d}.safetensors"

    def _is_there(self, part: int) -> bool:
        if not self._path(part).is_file():
            return False
        self._part(part)
        return True

    def _part(self, part: int) -> tuple[list[int], Any, list[int] | None]:
        """Ends, targets and chosen layers of a file, which stays open."""
        if part not in self._open:
            path = self._path(part)
            try:
                file = safe_open(path, "pt")
                header = file.metadata() or {}
                found, names = json.loads(header[_IDENTITY]), json.loads(header[_NAMES])
                ends, targets = file.get_tensor("ends").tolist(), file.get_slice("targets")
            except (OSError, SafetensorError, KeyError, ValueError) as error:
                raise FitHubertError(
                    f"{path}: expected a teacher's targets, found a damaged file or another ({error}); remove it"
                ) from error
            self._compare(path, found, names)
            kept = found["layers"]
            chosen = None if kept == self.layers else [kept.index(layer) for layer in self.layers]
            self._open[part] = ends, targets, chosen
        return self._open[part]

    def _compare(self, path: Path, found: dict, names: dict) -> None:
        for key, wanted in self.identity.items():
            there = found.get(key)
            if there != wanted and not (key == "layers" and set(wanted) <= set(there or ())):
                raise FitHubertError(
                    f"{path}: expected targets of {key} {self._names[key]}, found those of another, {names.get(key)}; "
                    "name another folder as data.targets, or remove this one"
                )


def identify(teacher: Teacher) -> str:
    """What tells a teacher from all others: its kind and weights."""
    digest = hashlib.sha256(type(teacher).__name__.encode())
    for name, tensor in sorted(teacher.state_dict().items()):
        digest.update(f"{name} {tuple(tensor.shape)}".encode())
        digest.update(tensor.cpu().contiguous().view(-1).view(torch.uint8).numpy())
    return digest.hexdigest()[:32]

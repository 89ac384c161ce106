"""Recordings in batches of like length, the same whenever and however often a run is broken off."""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch.utils.data import DataLoader
from tqdm import tqdm

from ..errors import FitHubertError, expect
from ..runs.workers import Worker, loader_workers
from .batches import ATTEMPTS, Batch, Batches, BatchPlan, BatchSampler
from .sources import AudioFolder, Corpus, Source

FEW_BAD = 3  # fewer bad files never stop a run


@dataclass(frozen=True)
class DataConfig:
    """What to train on and in what batches: `data:` of a train config, `pretrain_expert.datarc` of a runner's.

    A source in `train` or `valid` is a folder of audio (of any depth, rate and number of channels), a lhotse cuts
    file (`.jsonl`, `.jsonl.gz`) or a lhotse Shar folder. Batches hold `batch_size` utterances or fill
    `batch_seconds`, see `BatchPlan`. `crop: shortest` cuts each batch at random places to its shortest utterance,
    and to `crop_seconds` at most, so that nothing is padded; `crop: proportional` does the same, with as many crops of
    an utterance in an epoch as it has `crop_seconds`; `crop: none` keeps whole utterances and pads, as the
    authors did. Utterances outside `min_seconds`..`max_seconds` are left out. The student hears a share `augment` of
    the training utterances through a random room, microphone and noise; the teacher hears none of that. `targets` is
    a folder where the teacher's layers of whole utterances are kept (`targets.Targets`), to be computed only once.
    Unreadable and silent files are named and skipped; when they are more than `max_bad` of all, the run stops.
    """

    train: tuple[str, ...]
    valid: tuple[str, ...] | None = ()
    batch_size: int | None = None
    batch_seconds: float | None = None
    crop: str = "shortest"
    crop_seconds: float = float("inf")
    min_seconds: float = 0.5
    max_seconds: float = 35.0
    num_buckets: int = 30
    num_workers: int = 0
    max_bad: float = 0.01
    augment: float = 0.0
    targets: str | None = None

    def __post_init__(self) -> None:
        for name in ("train", "valid"):
            value = getattr(self, name)
            sources = (value,) if isinstance(value, str) else tuple(value or ())
            expect(all(isinstance(source, str) for source in sources), f"{name}: a list of folders and files", value)
            object.__setattr__(self, name, sources)  # how a frozen dataclass normalises itself
        expect(bool(self.train), "train: at least one folder or cuts file", "none")
        sizes = f"batch_size {self.batch_size}, batch_seconds {self.batch_seconds}"
        expect((self.batch_size is None) != (self.batch_seconds is None), "batch_size or batch_seconds", sizes)
        if self.batch_size is not None:
            expect(self.batch_size >= 1, "a batch_size of at least 1", sizes)
        else:
            expect(0 < self.batch_seconds < float("inf"), "batch_seconds above 0", sizes)
        expect(self.crop in ("shortest", "proportional", "none"), "crop shortest, proportional or none", self.crop)
        expect(
            self.crop != "proportional" or self.crop_seconds < float("inf"),
            "crop_seconds for crop proportional",
            "none",
        )
        expect(0 <= self.min_seconds <= self.max_seconds, "min_seconds from 0 to max_seconds", self.min_seconds)
        expect(self.crop_seconds >= self.min_seconds, "crop_seconds of at least min_seconds", self.crop_seconds)
        expect(self.num_buckets >= 1, "num_buckets of at least 1", self.num_buckets)
        expect(self.num_workers >= 0, "num_workers of at least 0", self.num_workers)
        expect(0 <= self.max_bad <= 1, "max_bad in [0, 1]", self.max_bad)
        expect(0 <= self.augment <= 1, "augment in [0, 1]", self.augment)
        expect(self.targets != "", "targets: a folder", "an empty name")

    @property
    def longest(self) -> float:
        """Seconds to which utterances are cropped."""
        return float("inf") if self.crop == "none" else self.crop_seconds


@dataclass
class BadFiles:
    """Files that could not be used: each is named once, and too many are an error."""

    total: int  # files of the corpus
    max_share: float
    reasons: dict[str, str] = field(default_factory=dict)  # file -> what is wrong

    def __len__(self) -> int:
        return len(self.reasons)

    def note(self, found: Sequence[tuple[str, str]]) -> None:
        """Take in (file, what is wrong). Raises FitHubertError when they become too many."""
        for name, reason in found:
            if name not in self.reasons:
                self.reasons[name] = reason
                tqdm.write(f"[data] skipped {reason}")
        if len(self) >= FEW_BAD and len(self) > self.max_share * self.total:
            self.fail(f"expected at most {self.max_share:.1%} (max_bad) unreadable or silent files")

    def fail(self, expected: str) -> None:
        first = next(iter(self.reasons.values()))
        raise FitHubertError(f"{expected}, found {len(self)} of {self.total} so far; the first: {first}")


class AudioLoader(DataLoader):
    """Gives each `Batch` and keeps count: of global batches in `sampler.consumed`, of `bad` files.

    `consumed` counts the batches handed out, not those that workers have prefetched. A run can therefore stop at any
    batch and resume exactly from `sampler.state_dict()`, even with another number of processes.
    """

    bad: BadFiles
    corpus: str  # `Corpus.digest`

    def compare(self, corpus: str | None) -> None:
        """Say so when a run goes on with other utterances than those of `corpus`, which it has saved.

        A file that was replaced by one of the same name and length is not noticed.
        """
        if corpus not in (None, self.corpus):
            tqdm.write(
                "[data] the corpus has changed since the checkpoint: from here on, batches use the current utterances; "
                "to train on one corpus only, start a new run under another name"
            )

    def __iter__(self) -> Iterator[Batch]:
        with loader_workers(Worker):
            batches = super().__iter__()
        for batch, bad in batches:
            self.bad.note(bad)
            if not len(batch.waveforms):
                self.bad.fail(f"expected something readable in {ATTEMPTS} batches in a row")
            self.sampler.note()
            yield batch


def build_dataloader(
    config: DataConfig, seed: int, *, split: str = "train", rank: int = 0, world_size: int = 1
) -> AudioLoader:
    """Batches for one process of `world_size`.

    `split="train"` is shuffled, and goes on at `loader.sampler.consumed` global batches. `split="valid"` is the same
    batches in the same order each time, each in one process only, so that processes may differ by one batch.

    Raises
    ------
    FitHubertError
        A source is missing or holds nothing that can be used; too many files are bad (also while iterating).
    """
    sources = getattr(config, split)
    expect(bool(sources), f"{split}: at least one folder or cuts file", "none")
    corpus = open_corpus(sources, config)
    bad = BadFiles(corpus.found, config.max_bad)
    bad.note(list(corpus.unreadable.items()))
    if not len(corpus):
        raise FitHubertError(
            f"{', '.join(sources)}: expected utterances of {config.min_seconds} to {config.max_seconds} s, found none "
            f"among {corpus.found} ({'; the first: '.join([f'{len(bad)} unreadable', *bad.reasons.values()][:2])})"
        )
    if rank == 0:
        hours = corpus.seconds.sum(dtype="float64") / 3600
        found = f"{len(corpus)} of {corpus.found} utterances, {hours:.2f} h"
        tqdm.write(f"[data] {split}: {found}, from {', '.join(sources)}")
    plan = BatchPlan(
        corpus.seconds,
        corpus.shards,
        batch_size=config.batch_size,
        batch_seconds=config.batch_seconds,
        num_buckets=config.num_buckets,
        longest=config.longest,
        proportional=config.crop == "proportional" and split == "train",
        shuffle=split == "train",
    )
    loader = AudioLoader(
        Batches(
            corpus,
            plan,
            crop=config.crop != "none",
            longest=config.crop_seconds,
            augment=config.augment if split == "train" else 0.0,
        ),
        batch_size=None,  # an item is a batch already
        sampler=BatchSampler(plan, seed, rank, world_size, endless=split == "train"),
        num_workers=config.num_workers,
        persistent_workers=config.num_workers > 0,
        generator=torch.Generator().manual_seed(seed),  # leaves the global generator, dropout's, alone
        pin_memory=torch.cuda.is_available(),
    )
    loader.bad, loader.corpus = bad, corpus.digest()
    return loader


def endless(loader: AudioLoader, consumed: int) -> Iterator[Batch]:
    """Batches for ever, epoch after epoch, from the one after `consumed` (of all processes together) on."""
    loader.sampler.consumed = consumed
    while True:
        yield from loader


def open_corpus(sources: Sequence[str], config: DataConfig) -> Corpus:
    """The utterances of folders, cuts files and Shar folders, within `min_seconds`..`max_seconds`."""
    opened = [_open_source(Path(os.path.abspath(source))) for source in sources]
    return Corpus(opened, config.min_seconds, config.max_seconds)


def _open_source(path: Path) -> Source:
    if path.name.endswith((".jsonl", ".jsonl.gz")):
        if not path.is_file():
            raise FitHubertError(f"{path}: expected a lhotse cuts file, found no such file")
        from .cuts import CutsFile

        return CutsFile(path)
    if path.is_file():
        raise FitHubertError(f"{path}: expected a folder of audio, a cuts file (.jsonl, .jsonl.gz) or a Shar folder")
    if any(path.glob("cuts.*.jsonl*")):
        from .shar import SharFolder

        return SharFolder(path)
    return AudioFolder(path)

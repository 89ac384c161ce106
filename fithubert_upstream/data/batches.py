"""Which utterances make up which batch, and the batch itself.

Not one of lhotse's samplers: they resume by drawing every earlier batch of the epoch again, and refuse another
number of processes than before. Here global batch number n is a function of the seed and n alone.
"""

from collections.abc import Iterator
from functools import partial
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from torch.utils.data import Dataset, Sampler

from ..audio import SAMPLE_RATE
from ..corpora.synthetic.recordings import random_conditions
from ..models.lengths import FRAME_RATE
from .sources import Corpus
from .targets import Targets

WINDOW = 10_000  # utterances that are mixed with each other: those of a few shards
BATCHES_PER_BUCKET = 4  # at least: in a small corpus, fewer buckets
ATTEMPTS = 10  # batches without anything readable, one after another


class Batch(NamedTuple):
    """B utterances to learn from, T samples and L frames in the longest, zero past each one's end."""

    waveforms: Tensor  # (B, T), what the student hears
    lengths: Tensor  # (B,) samples
    clean: Tensor | None = None  # (B, T), what a teacher hears, where that is something else
    targets: list[Tensor] | None = None  # (B, L, N, D) float16 of each teacher whose layers were kept on disk

    def to(self, device: torch.device | str) -> "Batch":
        """There, but for the lengths, which stay on the CPU."""
        move = partial(torch.Tensor.to, device=device, non_blocking=True)
        return Batch(
            move(self.waveforms),
            self.lengths,
            None if self.clean is None else move(self.clean),
            None if self.targets is None else [move(kept) for kept in self.targets],
        )


Item = tuple[Batch, list[tuple[str, str]]]


class BatchPlan:
    """The endless list of global batches: epoch 0's, epoch 1's, ..., each epoch as many, in an order of its own.

    With `batch_size`, utterances are sorted by length and cut into consecutive groups, the same in all epochs (the
    authors' batching). With `batch_seconds`, they fall into `num_buckets` of like length and equal total; a batch
    comes from one bucket, drawn anew each epoch, and holds as many utterances as fit in `batch_seconds` at the
    length of the bucket's longest, at least one.

    Parameters
    ----------
    seconds : (N,) array, of each utterance
    shards : (N,) array
        A batch holds, and a stretch of batches keeps to, utterances from a few shards (about `WINDOW` utterances).
    longest : float
        Seconds to which utterances are cropped.
    proportional : bool
        An epoch has a longer utterance as many times as `longest` fits into it, rounded up; else each once.
    shuffle : bool
        Else every epoch is the same, in rising length.
    """

    def __init__(
        self,
        seconds: np.ndarray,
        shards: np.ndarray,
        *,
        batch_size: int | None = None,
        batch_seconds: float | None = None,
        num_buckets: int = 30,
        longest: float = float("inf"),
        proportional: bool = False,
        shuffle: bool = True,
    ):
        times = np.ceil(seconds / longest).clip(1).astype(int) if proportional else 1
        utterances = np.repeat(np.arange(len(seconds), dtype=np.int32), times)
        seconds, shards = seconds[utterances], shards[utterances]
        self.shuffle = shuffle
        self.batch_size = batch_size
        self.windows: list[list[tuple[np.ndarray, int]]] = []  # of buckets: (utterances, number of batches)
        num_shards = len(np.unique(shards))
        windows = shards % min(num_shards, max(1, len(seconds) // WINDOW))
        for window in np.unique(windows):
            inside = np.flatnonzero(windows == window).astype(np.int32)
            inside = inside[np.argsort(seconds[inside], kind="stable")]
            if batch_size is not None:
                buckets = [(inside, -(-len(inside) // batch_size))]
            else:
                buckets = _buckets(inside, np.minimum(seconds[inside], longest), batch_seconds, num_buckets)
            self.windows.append([(utterances[bucket], count) for bucket, count in buckets])
        self.num_batches = sum(count for buckets in self.windows for _, count in buckets)
        self._epoch: tuple[tuple[int, int], list[np.ndarray]] | None = None

    def __len__(self) -> int:
        """Batches of an epoch."""
        return self.num_batches

    def batch(self, seed: int, number: int) -> np.ndarray:
        """Utterances of global batch `number`, counted from the first of epoch 0."""
        epoch, place = divmod(number, self.num_batches)
        if self._epoch is None or self._epoch[0] != (seed, epoch):
            self._epoch = (seed, epoch), self.epoch(seed, epoch)
        return self._epoch[1][place]

    def epoch(self, seed: int, epoch: int) -> list[np.ndarray]:
        """All batches of an epoch."""
        draw = np.random.default_rng([seed, epoch]) if self.shuffle else None
        batches: list[np.ndarray] = []
        for window in range(len(self.windows)) if draw is None else draw.permutation(len(self.windows)):
            inside: list[np.ndarray] = []
            for utterances, count in self.windows[window]:
                if self.batch_size is not None:
                    inside += np.split(utterances, range(self.batch_size, len(utterances), self.batch_size))
                else:
                    inside += np.array_split(utterances if draw is None else draw.permutation(utterances), count)
            batches += inside if draw is None else [inside[i] for i in draw.permutation(len(inside))]
        return batches


def _buckets(
    utterances: np.ndarray, seconds: np.ndarray, batch_seconds: float, num_buckets: int
) -> list[tuple[np.ndarray, int]]:
    """Split utterances, given in rising length, into buckets of equal total length."""
    total = np.cumsum(seconds, dtype=np.float64)
    num_buckets = max(1, min(num_buckets, int(total[-1] / batch_seconds / BATCHES_PER_BUCKET)))
    edges = np.searchsorted(total, total[-1] * np.arange(1, num_buckets) / num_buckets)
    buckets = []
    for bucket, lengths in zip(np.split(utterances, edges), np.split(seconds, edges), strict=True):
        if len(bucket):
            size = max(1, int(batch_seconds / lengths[-1]))
            buckets.append((bucket, -(-len(bucket) // size)))
    return buckets


class BatchSampler(Sampler):
    """Global batches from number `consumed` to the end of the epoch; this rank's are every `world_size`-th of them.

    Where an epoch does not divide evenly, all ranks go on a little into the next one, which then starts after
    that: they have equally many batches, and together those that one process would have, in the same order.
    With `endless=False` it is always the whole of epoch 0, no batch twice; ranks may then differ by one batch.
    """

    def __init__(self, plan: BatchPlan, seed: int, rank: int = 0, world_size: int = 1, endless: bool = True):
        self.plan = plan
        self.seed = seed
        self.rank = rank
        self.world_size = world_size
        self.endless = endless
        self.consumed = 0  # global batches handed out since the first step; set it to resume

    def __len__(self) -> int:
        return len(self._numbers(0))

    def __iter__(self) -> Iterator[tuple[int, int]]:
        return ((self.seed, number) for number in self._numbers(self.consumed))

    def note(self) -> None:
        """A batch was handed out."""
        if self.endless:
            self.consumed += self.world_size

    def _numbers(self, start: int) -> range:
        if not self.endless:
            return range(self.rank, len(self.plan), self.world_size)
        left = len(self.plan) - start % len(self.plan)
        end = start + -(-left // self.world_size) * self.world_size
        return range(start + self.rank, end, self.world_size)

    def state_dict(self) -> dict[str, int]:
        return {"consumed": self.consumed, "seed": self.seed}

    def load_state_dict(self, state: dict[str, int]) -> None:
        self.consumed, self.seed = state["consumed"], state["seed"]


class Batches(Dataset):
    """Batches by (seed, global number); its random crops and rooms depend on nothing else.

    With `crop`, each utterance is cut at a random place to the shortest of its batch, and to `longest` seconds at
    most; without, shorter ones are padded with zeros. A share `augment` of them reaches the student through a random
    room, microphone and noise. `targets`, where they are set, come with the waveforms; crops then start on a frame.
    """

    def __init__(self, corpus: Corpus, plan: BatchPlan, crop: bool, longest: float, augment: float = 0.0):
        self.corpus = corpus
        self.plan = plan
        self.crop = crop
        self.longest = longest
        self.augment = augment
        self.targets: list[Targets] | None = None  # of each teacher

    def __len__(self) -> int:
        return len(self.plan)

    def __getitem__(self, seed_and_number: tuple[int, int]) -> Item:
        """The batch, and (file, what is wrong) of those left out.

        A batch of which nothing can be read is replaced by the next, or is empty if that fails `ATTEMPTS` times.
        """
        seed, number = seed_and_number
        bad: list[tuple[str, str]] = []
        for attempt in range(ATTEMPTS):
            loaded = self._load(self.plan.batch(seed, number + attempt), bad)
            if loaded:
                break
        else:
            return Batch(torch.zeros(0, 0), torch.zeros(0, dtype=torch.long)), bad
        draw = np.random.default_rng([seed, *divmod(number, len(self.plan))])
        waveforms = [wav for _, wav in loaded]
        starts = [0] * len(waveforms)
        if self.crop:
            size = int(min(self.longest * SAMPLE_RATE, *(len(wav) for wav in waveforms)))
            step = 1 if self.targets is None else FRAME_RATE
            starts = [int(draw.integers((len(wav) - size) // step + 1)) * step for wav in waveforms]
            waveforms = [wav[start : start + size] for wav, start in zip(waveforms, starts, strict=True)]
        lengths = torch.tensor([len(wav) for wav in waveforms])
        clean = targets = None
        if self.targets is not None:
            pieces = [
                (index, start, len(wav)) for (index, _), start, wav in zip(loaded, starts, waveforms, strict=True)
            ]
            targets = [
                pad_sequence([kept.load(*piece) for piece in pieces], batch_first=True)  # (B, L, N, D)
                for kept in self.targets
            ]
        elif self.augment:
            clean = pad_sequence(waveforms, batch_first=True)
        if self.augment:
            waveforms = [self._hear(wav, draw) for wav in waveforms]
        return Batch(pad_sequence(waveforms, batch_first=True), lengths, clean, targets), bad

    def _hear(self, waveform: Tensor, draw: np.random.Generator) -> Tensor:
        if draw.random() >= self.augment or not waveform.any():
            return waveform
        return torch.from_numpy(random_conditions(draw).apply(waveform.numpy(), draw))

    def _load(self, utterances: np.ndarray, bad: list[tuple[str, str]]) -> list[tuple[int, Tensor]]:
        """(utterance, its waveform) of those that can be used."""
        loaded = []
        for index in utterances.tolist():
            try:
                loaded.append((index, self.corpus.load(index)))
            except Exception as error:  # whatever lhotse raises for a file, the batch leaves it out
                name = self.corpus.name(index)
                reason = " ".join(str(error).partition("[extra info]")[0].split()) or type(error).__name__
                bad.append((name, f"{name}: {reason.removeprefix(f'{name}: ')[:300]}"))
        return loaded

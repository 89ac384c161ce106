"""Batches of a joint run: one of each task in turn for training, single recordings for scoring."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

from ...audio import SAMPLE_RATE
from ...audio.silence import trim_silence
from ...audio.waveforms import load_waveform
from .clips import SILENCE_SECONDS, Clip, Keywords, SpeakerTrials
from .config import JointConfig

# (waveforms, task, labels: indices for training and keywords, paths for recordings of trials)
Batch = tuple[list[np.ndarray], str, list]


@dataclass(frozen=True)
class Part:
    """What one task trains on."""

    clips: list[Clip]
    labels: list[int]
    batch_size: int
    crop_seconds: float
    trim_db: float
    balanced: bool  # draw classes evenly, as s3prl's keyword spotting; else each clip once an epoch

    @property
    def batches(self) -> int:
        """Batches in which every clip has its turn."""
        return -(-len(self.clips) // self.batch_size)

    def draw(self, seed: int, number: int) -> np.ndarray:
        """Indices of the clips of batch `number`, a function of the two numbers."""
        if self.balanced:
            random = np.random.default_rng([seed, number])
            classes = np.asarray(self.labels)
            weights = 1 / np.bincount(classes)[classes]
            return random.choice(len(self.clips), self.batch_size, p=weights / weights.sum())
        places = np.arange(number * self.batch_size, (number + 1) * self.batch_size)
        epochs, places = np.divmod(places, len(self.clips))
        orders = {epoch: np.random.default_rng([seed, epoch]).permutation(len(self.clips)) for epoch in set(epochs)}
        return np.array([orders[epoch][place] for epoch, place in zip(epochs, places, strict=True)])


class TrainBatches(Dataset):
    """Batch n of this process: of task n modulo the number of tasks; the same for the same seed and n."""

    def __init__(self, parts: dict[str, Part], seed: int, rank: int = 0, world_size: int = 1):
        self.parts, self.seed, self.rank, self.world_size = parts, seed, rank, world_size

    @property
    def epoch(self) -> int:
        """Batches of one process in which the task with the most clips has each of them once."""
        return len(self.parts) * -(-max(part.batches for part in self.parts.values()) // self.world_size)

    def __getitem__(self, n: int) -> Batch:
        turn, place = divmod(n, len(self.parts))
        task = list(self.parts)[place]
        part, number = self.parts[task], turn * self.world_size + self.rank
        random = np.random.default_rng([self.seed, number, place])
        chosen = part.draw(self.seed + place, number)
        waveforms = [_crop(read(part.clips[i], part.trim_db), part.crop_seconds, random) for i in chosen]
        return waveforms, task, [part.labels[i] for i in chosen]


class TrainLoader(DataLoader):
    """Training batches from number `start` to the end of its epoch; `before` is called before each is handed out."""

    def __init__(self, batches: TrainBatches, start: int, num_workers: int, before: Callable[[], None]):
        numbers = range(start, (start // batches.epoch + 1) * batches.epoch)
        # a generator of its own: the workers' seeds would be drawn from the one that dropout uses
        options = {"num_workers": num_workers, "generator": torch.Generator()}
        super().__init__(batches, batch_size=None, sampler=numbers, collate_fn=_as_it_is, **options)
        self.before = before

    def __iter__(self) -> Iterator[Batch]:
        for batch in super().__iter__():
            self.before()
            yield batch


class ScoredClips(Dataset):
    """The recordings that a split is scored on, one at a time: features of a padded batch could differ."""

    def __init__(self, keywords: list[tuple[Clip, int]], recordings: list[Clip], trim_db: float):
        self.trim_db = trim_db
        self.items = [(clip, "ks", label) for clip, label in keywords]
        self.items += [(clip, "sv", str(clip.path)) for clip in recordings]

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, i: int) -> Batch:
        clip, task, label = self.items[i]
        return [read(clip, self.trim_db)], task, [label]


def train_parts(config: JointConfig, keywords: Keywords | None, speakers: SpeakerTrials | None) -> dict[str, Part]:
    """The tasks in the order of their updates."""
    parts = {}
    if keywords is not None:
        labels = [keywords.classes.index(clip.label) for clip in keywords.train]
        parts["ks"] = Part(keywords.train, labels, config.ks.batch_size, config.ks.crop_seconds, config.trim_db, True)
    if speakers is not None:
        labels = [speakers.speakers.index(clip.label) for clip in speakers.train]
        parts["sv"] = Part(speakers.train, labels, config.sv.batch_size, config.sv.crop_seconds, config.trim_db, False)
    return {task: parts[task] for task in config.tasks}


def score_loader(
    split: str, config: JointConfig, keywords: Keywords | None, speakers: SpeakerTrials | None
) -> DataLoader:
    """Every clip and every recording of a trial of "dev" or "test" once."""
    clips = [] if keywords is None else [(c, keywords.classes.index(c.label)) for c in getattr(keywords, split)]
    trials = [] if speakers is None else getattr(speakers, split)
    paths = dict.fromkeys(path for trial in trials for path in (trial.enrolment, trial.test))
    scored = ScoredClips(clips, [Clip(path, "") for path in paths], config.trim_db)
    options = {"num_workers": config.num_workers, "generator": torch.Generator()}
    return DataLoader(scored, batch_size=None, collate_fn=_as_it_is, **options)


def _as_it_is(batch: Batch) -> Batch:
    """Without it a loader makes tensors of arrays, which s3prl's runner would copy again."""
    return batch


def read(clip: Clip, trim_db: float = 0.0) -> np.ndarray:
    """(T,) samples."""
    waveform = load_waveform(clip.path)
    if clip.start is None:
        return trim_silence(waveform, trim_db).numpy()
    waveform = waveform.numpy()
    start = round(clip.start * SAMPLE_RATE)
    return waveform[start : start + round(SILENCE_SECONDS * SAMPLE_RATE)]


def _crop(waveform: np.ndarray, seconds: float, random: np.random.Generator) -> np.ndarray:
    size = round(seconds * SAMPLE_RATE)
    if not size or len(waveform) <= size:
        return waveform
    start = int(random.integers(len(waveform) - size + 1))
    return waveform[start : start + size]

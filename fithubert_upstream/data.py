"""Recordings in batches of like length, the same whenever and however often a run is broken off."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile
import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from torch.utils.data import DataLoader, Dataset, Sampler
from tqdm import tqdm

from .audio import find_audio, load_waveform
from .errors import FitHubertError
from .lengths import SAMPLE_RATE


@dataclass(frozen=True)
class DataConfig:
    """The `pretrain_expert.datarc` block of a runner config; the names are s3prl's where it has one.

    `crop: shortest` cuts each batch at random places to its shortest utterance, and to `crop_seconds` at
    most, so that nothing is padded; `crop: none` keeps whole utterances and pads, as the authors did.
    Utterances outside `min_seconds`..`max_seconds` are left out, and counted.
    """

    libri_root: str
    train_batch_size: int
    sets: tuple[str, ...] = ()  # folders below libri_root; none = all of it
    num_workers: int = 0
    crop: str = "shortest"
    crop_seconds: float = float("inf")
    min_seconds: float = 0.5
    max_seconds: float = 35.0

    def __post_init__(self) -> None:
        if self.crop not in ("shortest", "none"):
            raise FitHubertError(f"expected crop shortest or none, found {self.crop}")
        if self.crop_seconds < self.min_seconds:
            raise FitHubertError(f"expected crop_seconds of at least min_seconds, found {self.crop_seconds}")
        if self.train_batch_size < 1:
            raise FitHubertError(f"expected train_batch_size of at least 1, found {self.train_batch_size}")


class Batches(Dataset):
    """Utterances sorted by length, cut into consecutive groups (the authors' batching).

    An item is asked for as (epoch, group), so that its random crop depends on nothing else.
    """

    def __init__(self, utterances: list[tuple[Path, int]], config: DataConfig, seed: int):
        order = sorted(utterances, key=lambda utterance: (utterance[1], str(utterance[0])))
        size = config.train_batch_size
        self.groups = [order[start : start + size] for start in range(0, len(order), size)]
        self.crop = config.crop == "shortest"
        self.longest = config.crop_seconds * SAMPLE_RATE
        self.seed = seed

    def __len__(self) -> int:
        return len(self.groups)

    def __getitem__(self, epoch_and_group: tuple[int, int]) -> tuple[Tensor, Tensor]:
        """(B, T) waveforms and (B,) lengths."""
        epoch, group = epoch_and_group
        draw = np.random.default_rng([self.seed, epoch, group])
        size = int(min(self.longest, *(samples for _, samples in self.groups[group])))
        waveforms = []
        for path, samples in self.groups[group]:
            wav = load_waveform(path)
            if len(wav) != samples:
                raise FitHubertError(f"{path}: expected {samples} samples as its header says, found {len(wav)}")
            if self.crop:
                start = draw.integers(samples - size + 1)
                wav = wav[start : start + size]
            waveforms.append(wav)
        return pad_sequence(waveforms, batch_first=True), torch.tensor([len(wav) for wav in waveforms])


class ResumableSampler(Sampler):
    """All groups in an order drawn anew each epoch; `consumed` batches since the first step are its state."""

    def __init__(self, num_groups: int, seed: int):
        self.num_groups = num_groups
        self.seed = seed
        self.consumed = 0

    def __len__(self) -> int:
        return self.num_groups

    def __iter__(self) -> Iterator[tuple[int, int]]:
        epoch, position = divmod(self.consumed, self.num_groups)
        order = np.random.default_rng([self.seed, epoch]).permutation(self.num_groups).tolist()
        self.consumed = (epoch + 1) * self.num_groups  # where the next epoch starts
        yield from ((epoch, group) for group in order[position:])


def build_dataloader(config: DataConfig, seed: int) -> DataLoader:
    """Batches of (waveforms (B, T), lengths (B,)); set `loader.sampler.consumed` to resume.

    Raises FitHubertError for an empty corpus and for a file that is unreadable or not mono 16 kHz.
    """
    files = find_audio(config.libri_root, list(config.sets))
    with ThreadPoolExecutor(8) as pool:
        samples = list(tqdm(pool.map(_num_samples, files), total=len(files), desc="scan corpus", leave=False))
    low, high = config.min_seconds * SAMPLE_RATE, config.max_seconds * SAMPLE_RATE
    kept = [(path, n) for path, n in zip(files, samples, strict=True) if low <= n <= high]
    if not kept:
        raise FitHubertError(
            f"{config.libri_root}: expected utterances of {config.min_seconds} to {config.max_seconds} s, found none "
            f"among {len(files)} files"
        )
    hours = sum(n for _, n in kept) / SAMPLE_RATE / 3600
    tqdm.write(f"[data] {len(kept)} of {len(files)} utterances, {hours:.2f} h, from {config.libri_root}")
    dataset = Batches(kept, config, seed)
    return DataLoader(
        dataset,
        batch_size=None,  # an item is a batch already
        sampler=ResumableSampler(len(dataset), seed),
        num_workers=config.num_workers,
        persistent_workers=config.num_workers > 0,
        generator=torch.Generator().manual_seed(seed),  # leaves the global generator, dropout's, alone
        pin_memory=torch.cuda.is_available(),
    )


def _num_samples(path: Path) -> int:
    try:
        info = soundfile.info(path)
    except (soundfile.SoundFileError, OSError) as error:
        raise FitHubertError(f"{path}: expected an audio file, found: {error}") from error
    if info.samplerate != SAMPLE_RATE or info.channels != 1:
        raise FitHubertError(
            f"{path}: expected mono at {SAMPLE_RATE} Hz, found {info.channels} channel(s) at {info.samplerate} Hz; "
            "convert the corpus first"
        )
    return info.frames

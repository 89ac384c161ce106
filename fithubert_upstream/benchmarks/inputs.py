"""What the benchmarks work on."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from ..audio import SAMPLE_RATE
from .variants import SEED, Forward

SORTED = 4  # utterances in a batch of those sorted by length


@dataclass(frozen=True)
class Work:
    """What is timed as one thing: batches of (B, T) waveforms on the device and (B,) lengths on the CPU."""

    name: str
    batches: list[tuple[Tensor, Tensor]]

    @property
    def utterances(self) -> int:
        return sum(len(lengths) for _, lengths in self.batches)

    @property
    def seconds(self) -> float:
        """Of audio."""
        return sum(int(lengths.sum()) for _, lengths in self.batches) / SAMPLE_RATE

    @property
    def padded_seconds(self) -> float:
        """Of audio and of the zeros that fill the batches up."""
        return sum(waveforms.numel() for waveforms, _ in self.batches) / SAMPLE_RATE

    def run(self, forward: Forward) -> None:
        for waveforms, lengths in self.batches:
            forward(waveforms, lengths)


def noise(samples: int, seed: int = SEED) -> Tensor:
    """(T,) float32"""
    return torch.from_numpy(np.random.default_rng(seed).normal(0, 0.1, samples).astype(np.float32))


def lengths_alone(seconds: Sequence[float], device: torch.device) -> list[Work]:
    """One utterance of each length."""
    work = []
    for length in seconds:
        waveforms = noise(round(length * SAMPLE_RATE))[None].to(device)
        work.append(Work(f"{length:g} s", [(waveforms, torch.tensor([waveforms.size(1)]))]))
    return work


def mixed_lengths(count: int, between: tuple[float, float], device: torch.device) -> list[Work]:
    """The same utterances three times: as one padded batch, sorted into batches of 4, alone."""
    lengths = np.random.default_rng(SEED).uniform(*between, count) * SAMPLE_RATE
    waveforms = [noise(int(length), seed) for seed, length in enumerate(lengths)]
    rising = sorted(waveforms, key=len)

    def batches(of: Sequence[Tensor], size: int) -> list[tuple[Tensor, Tensor]]:
        groups = [of[i : i + size] for i in range(0, len(of), size)]
        return [(pad_sequence(group, True).to(device), torch.tensor([len(wav) for wav in group])) for group in groups]

    return [
        Work("one padded batch", batches(waveforms, count)),
        Work(f"sorted, batches of {SORTED}", batches(rising, SORTED)),
        Work("one at a time", batches(waveforms, 1)),
    ]

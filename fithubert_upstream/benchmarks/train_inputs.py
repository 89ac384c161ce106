"""Utterances of noise, of LibriSpeech's lengths, for the benchmark of training."""

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import soundfile
import torch
from torch.nn.utils.rnn import pad_sequence
from torch.utils.data import Dataset

from ..audio import SAMPLE_RATE
from ..data.batches import Batch
from ..data.sources import Corpus

LENGTHS = "2 to 17 s, mean 12 s (triangular, mode 17 s)"
CORPUS = 28_539  # utterances (train-clean-100): how near the lengths of a batch's utterances are


def write_noise(folder: Path, groups: int, size: int, seed: int) -> None:
    """Noise in `groups` groups of `size` utterances of like length, as sorting a large corpus would give them.

    The lengths are quantiles of a fixed distribution (`LENGTHS`), so that they are the same in every run; groups are
    evenly spread over it.
    """
    folder.mkdir()
    draw = np.random.default_rng(seed)
    for group in range(groups):
        for place in range(size):
            share = min((group + 0.5) / groups + place / CORPUS, 1.0)
            samples = int((2 + 15 * math.sqrt(share)) * SAMPLE_RATE)
            wav = draw.normal(0, 0.1, samples).clip(-1, 1)
            soundfile.write(folder / f"{group:03}-{place:03}.flac", wav, SAMPLE_RATE)


class Padded(Dataset):
    """Groups of utterances, each padded to its longest: (B, T) waveforms, (B,) lengths."""

    def __init__(self, corpus: Corpus, groups: Sequence[np.ndarray]):
        self.corpus = corpus
        self.groups = groups

    def __len__(self) -> int:
        return len(self.groups)

    def __getitem__(self, index: int) -> Batch:
        waveforms = [self.corpus.load(utterance) for utterance in self.groups[index].tolist()]
        return Batch(pad_sequence(waveforms, batch_first=True), torch.tensor([len(wav) for wav in waveforms]))


def longest_samples(corpus: Corpus) -> int:
    return int(corpus.seconds.max() * SAMPLE_RATE)

"""Recordings as tensors."""

from pathlib import Path

import torch
from torch import Tensor

from .decode import read_audio, read_speech, require_16k_mono


def load_waveform(path: str | Path) -> Tensor:
    """(T,) float32 samples in [-1, 1] of a mono 16 kHz file.

    Raises FitHubertError when it cannot be decoded, is not 16 kHz, not mono, empty, or holds NaN.
    """
    audio = read_audio(path)
    require_16k_mono(path, audio.rate, audio.samples.shape[1])
    return torch.from_numpy(audio.samples[:, 0])


def load_any_waveform(path: str | Path) -> Tensor:
    """(T,) float32 samples of an audio file at any rate: channels averaged, resampled to 16 kHz.

    Raises FitHubertError when it cannot be decoded, is empty, or holds NaN.
    """
    return torch.from_numpy(read_speech(path)[0])

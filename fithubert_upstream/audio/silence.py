"""Silence at the ends of a recording. Imports no torch."""

from typing import TypeVar

import numpy as np

from . import SAMPLE_RATE

Waveform = TypeVar("Waveform")  # a torch.Tensor or an array


def trim_silence(waveform: Waveform, decibels: float) -> Waveform:
    """(T,) -> what lies between the first and the last loud 10 ms, and 50 ms on either side.

    Loud is what is no more than `decibels` below the loudest 10 ms; 0 leaves the waveform as it is.
    """
    size = SAMPLE_RATE // 100
    if not decibels or len(waveform) < 2 * size:
        return waveform
    samples = waveform if isinstance(waveform, np.ndarray) else waveform.detach().cpu().double().numpy()
    blocks = samples[: len(samples) // size * size].reshape(-1, size)
    energy = np.square(blocks, dtype=np.float64).mean(axis=1)  # float32 overflows on what no microphone gives
    (loud,) = np.nonzero(energy >= energy.max() * 10 ** (-decibels / 10))
    return waveform[max(0, int(loud[0]) - 5) * size : (int(loud[-1]) + 6) * size]

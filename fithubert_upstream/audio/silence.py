"""Silence at the ends of a recording."""

from torch import Tensor

from . import SAMPLE_RATE


def trim_silence(waveform: Tensor, decibels: float) -> Tensor:
    """(T,) -> what lies between the first and the last loud 10 ms, and 50 ms on either side.

    Loud is what is no more than `decibels` below the loudest 10 ms; 0 leaves the waveform as it is.
    """
    size = SAMPLE_RATE // 100
    if not decibels or len(waveform) < 2 * size:
        return waveform
    blocks = waveform[: len(waveform) // size * size].view(-1, size)
    energy = blocks.double().square().mean(1)  # float32 overflows on what no microphone gives
    loud = (energy >= energy.max() * 10 ** (-decibels / 10)).nonzero()
    return waveform[max(0, int(loud[0]) - 5) * size : (int(loud[-1]) + 6) * size]

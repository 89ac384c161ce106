"""Recordings of many minutes: the transformer on windows, one after the other."""

import torch
from torch import Tensor

from .errors import FitHubertError
from .lengths import FRAME_RATE, SAMPLE_RATE
from .model import FitHubert

CONTEXT = 4 * SAMPLE_RATE // FRAME_RATE  # frames that a window sees on either side of those that it is there for


def encode_windows(model: FitHubert, waveforms: Tensor, chunk_seconds: float) -> tuple[list[Tensor], Tensor]:
    """`FitHubert.encode` of waveforms of one length, `chunk_seconds` at a time.

    The convolutions, and the statistics of the norm among them, see the whole recording; the positional convolution
    and attention see 4 s on either side of a window, which is what makes a difference to `encode`. Time and memory
    grow with the length, and no longer with its square.

    waveforms : (B, T) float, 16 kHz.

    Raises
    ------
    FitHubertError
        `chunk_seconds` is less than a second.
    """
    if chunk_seconds < 1:
        raise FitHubertError(f"expected chunk_seconds of at least 1, found {chunk_seconds}")
    rate = model.config.time_reduction
    size = round(chunk_seconds * SAMPLE_RATE) // (FRAME_RATE * rate) * rate  # frames, whole reduced ones
    context = CONTEXT // rate * rate
    x, frames, _ = model.extract(waveforms)
    parts = []
    for start in range(0, x.size(1) // rate * rate, size):
        begin = max(0, start - context)
        hidden, _ = model.transform(x[:, begin : start + size + context])
        first = (start - begin) // rate
        parts.append([layer[:, first : first + size // rate] for layer in hidden])
    return [torch.cat(layers, dim=1) for layers in zip(*parts, strict=True)], frames // rate

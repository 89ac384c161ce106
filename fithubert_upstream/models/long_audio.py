"""Recordings of many minutes: the transformer on windows, one after the other."""

import torch
from torch import Tensor

from ..audio import SAMPLE_RATE
from ..errors import FitHubertError
from .fithubert import Encoded, FitHubert
from .lengths import FRAME_RATE

CONTEXT = 4 * SAMPLE_RATE // FRAME_RATE  # frames that a window sees on either side of those that it is there for


def transform_windows(model: FitHubert, x: Tensor, chunk_seconds: float) -> Encoded:
    """`FitHubert.transform` of (B, L, D) frames that `extract` gave for waveforms of one length, a window at a time.

    The convolutions, and the statistics of the norm among them, see the whole recording; the positional convolution
    and attention see 4 s on either side of a window, which is what makes a difference to `encode`. Time then
    grows with the length, and no longer with its square.

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
    reduced = x.size(1) // rate
    layers: list[Tensor] = []
    for start in range(0, reduced * rate, size):
        begin = max(0, start - context)
        hidden = model.transform(x[:, begin : start + size + context]).layers
        if not layers:
            layers = [layer.new_empty(len(x), reduced, layer.size(2)) for layer in hidden]
        here, inside = start // rate, (start - begin) // rate
        for whole, layer in zip(layers, hidden, strict=True):
            count = min(size // rate, reduced - here)
            whole[:, here : here + count] = layer[:, inside : inside + count]
    return Encoded(layers, torch.full((len(x),), reduced))

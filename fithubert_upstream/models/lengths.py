"""How many frames a waveform gives, and which frames of a padded batch are real. Arithmetic only.

Lengths are int64 tensors on the CPU: they steer Python and shapes, and a GPU need not be waited for.
"""

from collections.abc import Sequence
from typing import TypeVar

import torch
from torch import Tensor

FRAME_RATE = 320  # samples a frame: 20 ms, in HuBERT as in every FitHuBERT student
FIRST_FRAME = 400  # samples that a frame of HuBERT's convolutions sees

Length = TypeVar("Length", int, Tensor)
ConvLayers = Sequence[tuple[int, int, int]]  # (channels, kernel, stride)


def conv_frames(samples: Length, conv_layers: ConvLayers) -> Length:
    """Frames that convolutions without padding give for so many samples; 0 where they do not fit."""
    for _, kernel, stride in conv_layers:
        samples = (samples - kernel) // stride + 1
        samples = samples.clamp(min=0) if isinstance(samples, Tensor) else max(samples, 0)
    return samples


def shortest_input(conv_layers: ConvLayers, frames: int = 1) -> int:
    """Fewest samples that give so many frames: `conv_frames` turned around."""
    for _, kernel, stride in reversed(conv_layers):
        frames = (frames - 1) * stride + kernel
    return frames


def valid_mask(lengths: Tensor, size: int, device: torch.device | None = None) -> Tensor:
    """(B,) lengths -> (B, size) booleans on `device`, True where a position belongs to the utterance."""
    return (torch.arange(size, device=lengths.device) < lengths[:, None]).to(device)  # (B, size)

"""Which frames are hidden from the student."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ...errors import expect


@dataclass(frozen=True)
class MaskConfig:
    """Spans of frames (20 ms) that are hidden.

    An utterance of L frames has about `probability` x L / `length` spans, at least one. They are of 0 to 2 x `length`
    frames, drawn evenly, with a frame or more between them (MaskHuBERT); with `overlap` they are of `length` frames
    each, wherever they start (HuBERT), so that fewer frames are hidden: 1 - exp(-probability) of them.
    """

    probability: float = 0.8
    length: int = 10
    overlap: bool = False

    def __post_init__(self) -> None:
        expect(0 < self.probability <= 1, "mask.probability in (0, 1]", self.probability)
        expect(self.length >= 1, "mask.length of at least 1", self.length)


def draw_mask(frames: Tensor, config: MaskConfig, draw: np.random.Generator | None = None) -> Tensor:
    """(B,) frames of each utterance -> (B, L), True where a frame is hidden; none past an utterance's end.

    `draw` None begins with a number of torch's generator, which a run saves and restores.
    """
    if draw is None:
        draw = np.random.default_rng(int(torch.randint(2**31, ())))
    mask = np.zeros((len(frames), int(frames.max())), bool)
    spans = overlapping_spans if config.overlap else separate_spans
    for row, count in zip(mask, frames.tolist(), strict=True):
        for start, size in zip(*spans(count, config, draw), strict=True):
            row[start : start + size] = True
    return torch.from_numpy(mask)


def separate_spans(count: int, config: MaskConfig, draw: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Starts and sizes of spans within `count` frames, in order; those that find no room are left out."""
    sizes = draw.integers(0, 2 * config.length + 1, _number(count, config, draw))
    sizes = sizes[sizes > 0]
    sizes = sizes[np.cumsum(sizes + 1) - 1 <= count]  # with a frame between them
    if not len(sizes):
        sizes = np.array([min(config.length, count)])
    free = count - sizes.sum() - (len(sizes) - 1)
    before = np.sort(draw.integers(0, free + 1, len(sizes)))  # free frames before each span
    return before + np.cumsum(sizes + 1) - (sizes + 1), sizes


def overlapping_spans(count: int, config: MaskConfig, draw: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Starts, each another, and sizes of spans within `count` frames."""
    size = min(config.length, count)
    places = count - size + 1
    starts = draw.choice(places, min(_number(count, config, draw), places), replace=False)
    return starts, np.full(len(starts), size)


def _number(count: int, config: MaskConfig, draw: np.random.Generator) -> int:
    """Spans of an utterance: rounded up or down at random, so that the mean is right."""
    return max(1, int(config.probability * count / config.length + draw.random()))

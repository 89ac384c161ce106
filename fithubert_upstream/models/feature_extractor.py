"""The convolutions on the waveform, as matrix products: more than half of the student's arithmetic.

B batch, T samples, L frames, C and D channels, K taps. Everything is laid out (B, L, D).
"""

from collections.abc import Callable
from functools import cache, partial
from typing import cast

import torch
from torch import Tensor, nn

from .folding import Folding
from .kernels import Taps, frame_conv, frame_conv_in_pairs, gelu, norm_into_kernel, normed_conv
from .lengths import FRAME_RATE, ConvLayers, conv_frames, shortest_input

# Frames of 20 ms that are computed at a time where no gradient is wanted: what lies between the layers, up to 64 KB a
# frame, then stays in a CPU's cache, and memory does not grow with the waveform's length.
BLOCK = 250
# The loudest sample that reaches the first norm: that of 16-bit integers taken for floats. It is far above what the
# norm's eps can be felt at, and below the end of float16.
LOUDEST = 32768.0


class ConvFeatureExtractor(Folding):
    """wav2vec 2.0's convolutions without bias, GELU after each, a norm after the first (fairseq
    `extractor_mode: default`)."""

    def __init__(self, conv_layers: ConvLayers):
        super().__init__()
        self.conv_layers = tuple(conv_layers)
        channels = [1] + [dim for dim, _, _ in conv_layers]
        self.convs = nn.ModuleList(
            nn.Conv1d(channels[i], dim, kernel, stride, bias=False)
            for i, (dim, kernel, stride) in enumerate(conv_layers)
        )
        self.norm = nn.GroupNorm(channels[1], channels[1])
        self.compiled = False  # whether `convolve` runs through torch.compile; a copy keeps it
        for conv in self._convs:
            nn.init.kaiming_normal_(conv.weight)

    @property
    def _convs(self) -> list[nn.Conv1d]:
        return cast("list[nn.Conv1d]", list(self.convs))

    def fold(self) -> list[Taps]:
        """Those of every convolution but the first."""
        return [Taps.of(conv.weight, conv.stride[0]) for conv in self._convs[1:]]

    def forward(self, waveforms: Tensor, lengths: Tensor | None) -> Tensor:
        """(B, T) float -> (B, L, C). No later convolution pads, so a valid frame never sees a padded sample.

        lengths : (B,) samples, None where nothing is padded.
        """
        if lengths is not None:
            lengths = conv_frames(lengths, self.conv_layers[:1])
        waveforms = limit_peaks(waveforms)
        convolve = partial(compiled_convolve() if self.compiled else ConvFeatureExtractor.convolve, self)
        first = self._convs[0]
        mean, kernel = norm_into_kernel(waveforms, first.weight, first.stride[0], self.norm, lengths)
        taps = self.folded()
        frames = conv_frames(waveforms.size(1), self.conv_layers)
        if torch.is_grad_enabled() or frames <= BLOCK:
            return convolve(waveforms, mean, kernel, taps)
        y = waveforms.new_empty(len(waveforms), frames, self.conv_layers[-1][0], dtype=first.weight.dtype)
        for start in range(0, frames, BLOCK):
            end = min(start + BLOCK, frames)
            samples = shortest_input(self.conv_layers, end - start)
            block = waveforms[:, start * FRAME_RATE : start * FRAME_RATE + samples]
            y[:, start:end] = convolve(block, mean, kernel, taps)
        return y

    def convolve(self, waveforms: Tensor, mean: Tensor, kernel: Tensor, taps: list[Taps]) -> Tensor:
        """(B, T) -> (B, L, C): all the convolutions, with what `norm_into_kernel` and `fold` gave."""
        first, *later = self._convs
        x = gelu(normed_conv(waveforms, mean, kernel, first.stride[0], self.norm.bias))
        for conv, weights in zip(later, taps, strict=True):
            if weights.pairs is None or torch.is_grad_enabled() or x.dtype != torch.float32 or len(x) > 1:
                x = gelu(frame_conv(x, weights.split, conv.stride[0]))
            else:
                x = gelu(frame_conv_in_pairs(x, weights.pairs))
        return x


@cache
def compiled_convolve() -> Callable[..., Tensor]:
    """`ConvFeatureExtractor.convolve` through torch.compile, the same for every extractor: nothing is bound to one."""
    return torch.compile(ConvFeatureExtractor.convolve, dynamic=True)


def limit_peaks(waveforms: Tensor) -> Tensor:
    """(B, T) -> (B, T): what is louder than `LOUDEST` is scaled down to it, everything else keeps its bits.

    The first norm makes features independent of the scale, but squares samples, which float32 has an end for.
    """
    peaks = waveforms.float().abs().amax(1, keepdim=True)  # (B, 1)
    return waveforms * (LOUDEST / peaks.clamp(min=LOUDEST)).to(waveforms.dtype)

"""The convolutions on the waveform, as matrix products: more than half of the student's arithmetic.

B batch, T samples, L frames, C and D channels, K taps. Everything is laid out (B, L, D).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache, partial
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .folding import Folding
from .lengths import FRAME_RATE, ConvLayers, conv_frames, shortest_input, valid_mask

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

    def fold(self) -> list["Taps"]:
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

    def convolve(self, waveforms: Tensor, mean: Tensor, kernel: Tensor, taps: list["Taps"]) -> Tensor:
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


@dataclass(frozen=True)
class Taps:
    """A convolution's weights as matrices: `split` for `frame_conv`, `pairs` for `frame_conv_in_pairs` where that is
    the faster one."""

    split: list[Tensor]
    pairs: tuple[Tensor, Tensor, Tensor, Tensor] | None

    @classmethod
    def of(cls, weight: Tensor, stride: int) -> "Taps":
        """weight (D, C, K)"""
        on_cpu = weight.device.type == "cpu" and weight.dtype == torch.float32
        pairs = pair_taps(weight) if on_cpu and stride == 2 and weight.size(2) == 3 else None
        return cls(split_taps(weight, stride), pairs)


def norm_into_kernel(
    waveforms: Tensor, weight: Tensor, stride: int, norm: nn.GroupNorm, lengths: Tensor | None
) -> tuple[Tensor, Tensor]:
    """A convolution of one channel with GroupNorm, one group a channel, as a convolution by other weights.

    HuBERT's and the official code's GroupNorm also averages over the padding, which makes an utterance's
    features depend on what it is batched with; here its statistics see valid frames only. Those of all channels
    follow from those of the K samples under the kernel, and the norm costs no pass over the output.

    waveforms (B, T), weight (C, 1, K), lengths (B,) valid frames -> mean (B, 1, K) of the samples under the kernel and
    kernel (B, K, C) for what is above it; the norm's bias is still to be added. Always float32.
    """
    with torch.autocast(waveforms.device.type, enabled=False):
        x = waveforms.float().unfold(1, weight.size(2), stride)  # (B, L, K)
        count: int | Tensor
        if lengths is None:
            mean = x.mean(1, keepdim=True)  # (B, 1, K)
            valid, count = x - mean, x.size(1)
        else:
            mask = valid_mask(lengths, x.size(1), x.device)[:, :, None]  # (B, L, 1)
            count = lengths[:, None, None].to(x.device)  # (B, 1, 1)
            mean = (x * mask).sum(1, keepdim=True) / count
            valid = (x - mean) * mask
        covariance = products(valid) / count  # (B, K, K)
        kernel = weight[:, 0].float()  # (C, K)
        variance = ((kernel @ covariance) * kernel).sum(2)  # (B, C)
        kernel = kernel * (torch.rsqrt(variance + norm.eps) * norm.weight)[:, :, None]  # (B, C, K)
    return mean, kernel.transpose(1, 2)


def products(x: Tensor, size: int = 256) -> Tensor:
    """x^T x, (B, L, K) -> (B, K, K), as a sum of those of `size` frames each.

    A single float32 sum over ten seconds of speech is off by 1e-5, and with it the variance of its high frequencies,
    far below the low ones, by 1e-4.
    """
    blocks = (x.size(1) + size - 1) // size  # ONNX would round a negative quotient the other way
    x = F.pad(x, (0, 0, 0, blocks * size - x.size(1))).view(x.size(0), blocks, size, x.size(2))
    return (x.transpose(2, 3) @ x).sum(1)


def normed_conv(waveforms: Tensor, mean: Tensor, kernel: Tensor, stride: int, bias: Tensor) -> Tensor:
    """The convolution that `norm_into_kernel` gave: (B, T) -> (B, L, C), in the bias' dtype."""
    x = waveforms.float().unfold(1, kernel.size(1), stride) - mean  # (B, L, K)
    return torch.baddbmm(bias, x.to(bias.dtype), kernel.to(bias.dtype))


def split_taps(weight: Tensor, stride: int) -> list[Tensor]:
    """(D, C, K) -> weights (n C, D) for n taps each, as `frame_conv` takes them: `stride` at a time, then singly."""
    whole = weight.size(2) - weight.size(2) % stride
    ends = [*range(stride, whole + 1, stride), *range(whole + 1, weight.size(2) + 1)]
    parts = torch.tensor_split(weight.permute(2, 1, 0), ends[:-1])  # each (n, C, D)
    return [part.flatten(0, 1).contiguous() for part in parts]


def frame_conv(x: Tensor, taps: Sequence[Tensor], stride: int) -> Tensor:
    """A convolution without padding as matrix products, which keep the layout and are faster than a CPU's Conv1d.

    x (B, L, C), taps of `split_taps` -> (B, (L - K) // stride + 1, D)
    """
    batch, size, dim = x.shape
    frames = (size - sum(len(tap) for tap in taps) // dim) // stride + 1
    y, place = None, 0
    for tap in taps:
        width = len(tap) // dim
        if width == stride:  # frames side by side are one row
            rows = x[:, place : place + frames * stride].reshape(batch * frames, stride * dim)
        else:
            rows = x[:, place::stride][:, :frames].reshape(batch * frames, dim)
        if y is None:
            y = rows @ tap
        elif torch.is_grad_enabled() or tap.dtype != y.dtype:  # autocast knows nothing of products in place
            y = torch.addmm(y, rows, tap)
        else:
            y.addmm_(rows, tap)
        place += width
    assert y is not None  # there is a tap
    return y.view(batch, frames, -1)


def pair_taps(weight: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """(D, C, 3) -> what `frame_conv_in_pairs` takes, each (C, D)."""
    first, middle, last = weight.permute(2, 1, 0)
    return first.contiguous(), middle.contiguous(), -last, first + last


def frame_conv_in_pairs(x: Tensor, taps: tuple[Tensor, Tensor, Tensor, Tensor]) -> Tensor:
    """A convolution of 3 taps with stride 2 by five products for two frames of output instead of six.

    Frame n is e_n f + o_n m + e_(n+1) l, with e the even and o the odd frames of x, and taps f, m, l. Of two frames
    side by side, e_0 f + e_1 l = (e_0 - e_1) f + e_1 (f + l) and e_1 f + e_2 l = e_1 (f + l) - (e_1 - e_2) l
    share a product (Winograd's F(2, 2)).

    x (1, L, C) -> (1, (L - 3) // 2 + 1, D). Not differentiable.
    """
    first, middle, minus_last, both = taps
    x = x.squeeze(0)
    frames = (len(x) - 3) // 2 + 1
    paired = frames - frames % 2
    even, odd = x[0::2][: frames + 1], x[1::2][:frames]
    shared = even[1:paired:2] @ both  # (frames // 2, D)
    y = x.new_empty(frames, middle.size(1))
    y[:paired].unflatten(0, (-1, 2)).copy_(shared[:, None])
    if frames > paired:
        y[-1] = even[-2] @ first - even[-1] @ minus_last
    y.addmm_(odd, middle)
    differences = even[:paired] - even[1 : paired + 1]
    y[0:paired:2].addmm_(differences[0::2], first)
    y[1:paired:2].addmm_(differences[1::2], minus_last)
    return y[None]


def gelu(x: Tensor) -> Tensor:
    """GELU of a tensor that nothing else uses: in place where no gradient needs it."""
    return F.gelu(x) if torch.is_grad_enabled() else torch.ops.aten.gelu_(x)

"""Forms of convolution, dropout and GELU that are here for their speed on a CPU.

B batch, T samples, L frames, C and D channels, K taps. Everything is laid out (B, L, D). Times are of one thread of an
AMD EPYC with AVX-512, torch 2.13, fp32, the paper's student.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .lengths import valid_mask


@dataclass(frozen=True)
class Taps:
    """A convolution's weights as matrices, made once for many calls: `split` for `frame_conv`, `pairs` for
    `frame_conv_in_pairs` where that is the faster one."""

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
    follow from those of the K samples under the kernel, and the norm costs no pass over the output: with `normed_conv`
    10 s of audio take 11 ms, where Conv1d and GroupNorm take 16, and 29 with the transposition to (B, L, C).

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
    """A convolution without padding as matrix products, which keep the layout (B, L, C).

    3 taps with stride 2 on (1, 16003, 256) take 36 ms. Conv1d takes 40, and 56 with the transpositions that it needs.

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
    share a product (Winograd's F(2, 2)). On (1, 16003, 256) 33 ms for the 36 of `frame_conv`, all convolutions on 10 s
    of audio 198 ms for 208.

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
    """GELU of a tensor that nothing else uses: in place where no gradient needs it.

    All convolutions on 10 s of audio take 209 ms with it, 226 with F.gelu.
    """
    return F.gelu(x) if torch.is_grad_enabled() else torch.ops.aten.gelu_(x)


def spectrum(weight: Tensor, groups: int) -> Tensor:
    """A grouped convolution's weight (D, E, K), E = D / groups, as `correlate` wants it: ((K + 1) groups, E, E)."""
    _, width, kernel = weight.shape
    waves = torch.fft.rfft(weight.float(), n=2 * kernel, dim=2).conj()  # (D, E, K + 1)
    return waves.view(groups, width, width, kernel + 1).permute(3, 0, 2, 1).reshape(-1, width, width)


def correlate(x: Tensor, spectrum: Tensor, kernel: int) -> Tensor:
    """A grouped convolution with a long kernel and padding K // 2 by way of Fourier transforms of 2 K frames.

    For 128 taps and 16 groups on (1, 500, 480) 5.5 ms where Conv1d takes 36, on (8, 250, 480) 18 for 144; forward and
    backward, `spectrum` included, 81 for 525.

    x (B, L, D) -> (B, L, D) of the same dtype.
    """
    batch, size, dim = x.shape
    steps = -(-size // kernel)
    padding = (0, 0, kernel // 2, (steps + 1) * kernel - size - kernel // 2)
    parts = F.pad(x.float(), padding).view(batch, steps + 1, kernel, dim)
    windows = torch.cat([parts[:, :-1], parts[:, 1:]], dim=2)  # (B, S, 2 K, D), half of each in the next
    waves = torch.fft.rfft(windows, dim=2)  # (B, S, K + 1, D)
    groups = waves.reshape(batch * steps, len(spectrum), -1).transpose(0, 1)  # ((K + 1) groups, B S, E)
    waves = torch.bmm(groups, spectrum).transpose(0, 1).reshape(batch, steps, kernel + 1, dim)
    y = torch.fft.irfft(waves, n=2 * kernel, dim=2)[:, :, :kernel]  # the other half wraps around
    return y.reshape(batch, -1, dim)[:, :size].to(x.dtype)


class Dropout(nn.Module):
    """PyTorch's dropout, drawn faster on a CPU: 16 random bits an element, so that p is rounded to 1/65536.

    2.7 ms for (3, 300, 480) where F.dropout takes 4.4, 3.3 for 7.4 at (8, 250, 480), 11.7 for 27.1 on attention weights
    (3, 12, 300, 300): about 2 % of a distillation step.
    """

    def __init__(self, p: float):
        super().__init__()
        self.p = p

    def forward(self, x: Tensor) -> Tensor:
        if not self.training or self.p == 0:
            return x
        if x.device.type != "cpu":
            return F.dropout(x, self.p)
        count = x.numel()
        draws = torch.empty(-(-count // 4), dtype=torch.int64).random_(-(2**63), None)  # one for four elements
        draws = draws.view(torch.int16)[:count].view(x.shape)
        return x * (draws >= round(self.p * 65536) - 32768).to(x.dtype).mul_(1 / (1 - self.p))

"""The student's parts. Everything after the convolutions is laid out (B, L, D).

B batch, T samples, L frames (20 ms), M reduced frames (40 ms), D width, C conv channels. `lengths` is
given only for a batch in which something is padded; without it no mask is built at all.
"""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .lengths import ConvLayers, conv_frames, valid_mask


class ConvFeatureExtractor(nn.Module):
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
        for conv in self.convs:
            nn.init.kaiming_normal_(conv.weight)

    def forward(self, waveforms: Tensor, lengths: Tensor | None) -> Tensor:
        """(B, T) -> (B, L, C). No later convolution pads, so a valid frame never sees a padded sample."""
        if lengths is not None:
            lengths = conv_frames(lengths, self.conv_layers[:1])
        conv, *later = self.convs
        x = gelu(normed_conv(waveforms, conv.weight, conv.stride[0], self.norm, lengths))
        for conv in later:
            x = gelu(frame_conv(x, conv.weight, conv.stride[0]))
        return x


def normed_conv(waveforms: Tensor, weight: Tensor, stride: int, norm: nn.GroupNorm, lengths: Tensor | None) -> Tensor:
    """A convolution of one channel and GroupNorm with one group a channel, whose statistics see valid frames only.

    HuBERT's and the official code's GroupNorm also averages over the padding, which makes an utterance's
    features depend on what it is batched with. The statistics of all channels follow from those of the K samples
    under the kernel, so that the norm becomes a part of the weights and costs no pass over the output.

    waveforms (B, T), weight (C, 1, K), lengths (B,) valid frames -> (B, L, C); padded frames come out finite and
    meaningless.
    """
    with torch.autocast(waveforms.device.type, enabled=False):
        x = waveforms.float().unfold(1, weight.size(2), stride)  # (B, L, K)
        if lengths is None:
            x = x - x.mean(1, keepdim=True)
            valid, count = x, x.size(1)
        else:
            mask = valid_mask(lengths, x.size(1), x.device)[:, :, None]  # (B, L, 1)
            count = lengths[:, None, None].to(x.device)  # (B, 1, 1)
            x = x - (x * mask).sum(1, keepdim=True) / count
            valid = x * mask
        covariance = valid.transpose(1, 2) @ valid / count  # (B, K, K)
        kernel = weight[:, 0].float()  # (C, K)
        variance = ((kernel @ covariance) * kernel).sum(2)  # (B, C)
        kernel = kernel * (torch.rsqrt(variance + norm.eps) * norm.weight)[:, :, None]  # (B, C, K)
    dtype = weight.dtype
    return torch.baddbmm(norm.bias, x.to(dtype), kernel.transpose(1, 2).to(dtype))


def frame_conv(x: Tensor, weight: Tensor, stride: int) -> Tensor:
    """A convolution without padding as matrix products, which keep the layout and are faster than a CPU's Conv1d.

    x (B, L, C), weight (D, C, K) -> (B, (L - K) // stride + 1, D)
    """
    batch, size, dim = x.shape
    kernel = weight.size(2)
    frames = (size - kernel) // stride + 1
    whole = kernel - kernel % stride
    y = 0
    for tap in range(0, whole, stride):  # `stride` taps at a time: frames side by side are one row
        rows = x[:, tap : tap + frames * stride].reshape(batch, frames, stride * dim)
        y += F.linear(rows, weight[:, :, tap : tap + stride].transpose(1, 2).flatten(1))
    for tap in range(whole, kernel):
        y += F.linear(x[:, tap::stride][:, :frames], weight[:, :, tap])
    return y


class Dropout(nn.Module):
    """PyTorch's dropout, drawn faster on a CPU; p is kept to 1/65536."""

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


def gelu(x: Tensor) -> Tensor:
    """GELU of a tensor that nothing else uses: in place where no gradient needs it."""
    return F.gelu(x) if torch.is_grad_enabled() else torch.ops.aten.gelu_(x)


class PositionalConv(nn.Module):
    """Grouped convolution over time with weight norm along the kernel (fairseq `pos_conv`), then GELU."""

    def __init__(self, dim: int, kernel: int, groups: int):
        super().__init__()
        self.groups = groups
        self.weight_v = nn.Parameter(torch.empty(dim, dim // groups, kernel))
        self.weight_g = nn.Parameter(torch.empty(1, 1, kernel))
        self.bias = nn.Parameter(torch.zeros(dim))
        nn.init.normal_(self.weight_v, std=math.sqrt(4 / (kernel * dim)))
        with torch.no_grad():
            self.weight_g.copy_(self._norm())
        self._folded: Tensor | None = None

    def _norm(self) -> Tensor:
        return self.weight_v.norm(dim=(0, 1), keepdim=True)  # (1, 1, K)

    def weight(self) -> Tensor:
        """(D, D / groups, K), on a CPU its `spectrum`; computed once in eval, where the parameters stand still."""
        if self.training or torch.is_grad_enabled():
            return self._fold()
        if self._folded is None or self._folded.device != self.weight_v.device:
            self._folded = self._fold()
        return self._folded

    def _fold(self) -> Tensor:
        weight = self.weight_v * (self.weight_g / self._norm())
        return spectrum(weight, self.groups) if weight.device.type == "cpu" else weight

    def train(self, mode: bool = True) -> "PositionalConv":
        self._folded = None
        return super().train(mode)

    def _apply(self, *args, **kwargs):  # .to(), .half(), .cuda()
        self._folded = None
        return super()._apply(*args, **kwargs)

    def _load_from_state_dict(self, *args, **kwargs):
        self._folded = None
        return super()._load_from_state_dict(*args, **kwargs)

    def forward(self, x: Tensor) -> Tensor:
        """(B, L, D) -> (B, L, D); padded frames of x must be zero, as the convolution's own padding is."""
        kernel = self.weight_v.size(2)
        if x.device.type == "cpu":
            return gelu(correlate(x, self.weight(), kernel) + self.bias)
        y = F.conv1d(x.transpose(1, 2), self.weight(), self.bias, padding=kernel // 2, groups=self.groups)
        return F.gelu(y[:, :, : x.size(1)]).transpose(1, 2)  # an even kernel gives one frame too many


def spectrum(weight: Tensor, groups: int) -> Tensor:
    """A grouped convolution's weight (D, E, K), E = D / groups, as `correlate` wants it: ((K + 1) groups, E, E)."""
    _, width, kernel = weight.shape
    waves = torch.fft.rfft(weight.float(), n=2 * kernel, dim=2).conj()  # (D, E, K + 1)
    return waves.view(groups, width, width, kernel + 1).permute(3, 0, 2, 1).reshape(-1, width, width)


def correlate(x: Tensor, spectrum: Tensor, kernel: int) -> Tensor:
    """A grouped convolution with a long kernel and padding K // 2 by way of Fourier transforms of 2 K frames.

    x (B, L, D) -> (B, L, D) of the same dtype. On a CPU 10 times as fast as Conv1d for HuBERT's 128 taps.
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


class TimeReduction(nn.Module):
    """Conv1d with kernel = stride = r: r frames become one. A tail of fewer than r frames is dropped."""

    def __init__(self, dim: int, reduction: int):
        super().__init__()
        conv = nn.Conv1d(dim, dim, reduction, reduction)  # for PyTorch's default initialisation
        self.weight, self.bias = conv.weight, conv.bias

    def forward(self, x: Tensor) -> Tensor:
        """(B, L, D) -> (B, L // r, D), as one matrix product."""
        batch, frames, dim = x.shape
        reduction = self.weight.size(2)
        x = x[:, : frames // reduction * reduction].reshape(batch, -1, reduction * dim)  # (B, M, r D)
        return F.linear(x, self.weight.transpose(1, 2).flatten(1), self.bias)


class FrameUpsample(nn.Module):
    """ConvTranspose1d with kernel = stride = r: one frame becomes r."""

    def __init__(self, dim: int, reduction: int):
        super().__init__()
        conv = nn.ConvTranspose1d(dim, dim, reduction, reduction)
        self.weight, self.bias = conv.weight, conv.bias

    def forward(self, x: Tensor) -> Tensor:
        """(B, M, D) -> (B, r M, D), as one matrix product."""
        batch, frames, dim = x.shape
        weight = self.weight.permute(2, 1, 0).flatten(0, 1)  # (r D, D)
        return F.linear(x, weight).view(batch, -1, dim) + self.bias


class HintHead(nn.Module):
    """FitHuBERT's head of one layer: back to 20 ms, then into the teacher's width."""

    def __init__(self, dim: int, head_dim: int, reduction: int):
        super().__init__()
        self.upsample = FrameUpsample(dim, reduction) if reduction > 1 else nn.Identity()
        self.linear = nn.Linear(dim, head_dim)

    def forward(self, x: Tensor) -> Tensor:
        """(B, M, D) -> (B, r M, head_dim)"""
        return self.linear(self.upsample(x))


class PredictionHead(HintHead):
    """DistilHuBERT's head for one layer of the teacher: a hidden layer of the student's width before the last."""

    def __init__(self, dim: int, head_dim: int, reduction: int):
        super().__init__(dim, head_dim, reduction)
        self.hidden = nn.Linear(dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        """(B, M, D) -> (B, r M, head_dim)"""
        return self.linear(F.gelu(self.hidden(self.upsample(x))))


class SelfAttention(nn.Module):
    """Multi-head self-attention with one projection for queries, keys and values."""

    def __init__(self, dim: int, num_heads: int, dropout: float):
        super().__init__()
        self.num_heads = num_heads
        self.dropout = Dropout(dropout)
        self.qkv = nn.Linear(dim, 3 * dim)
        self.out = nn.Linear(dim, dim)

    def forward(self, x: Tensor, key_mask: Tensor | None) -> Tensor:
        """(B, M, D) -> (B, M, D); key_mask (B, 1, 1, M) is True where a frame may be attended to."""
        batch, frames, dim = x.shape
        qkv = self.qkv(x).view(batch, frames, 3, self.num_heads, dim // self.num_heads)
        q, k, v = qkv.permute(2, 0, 3, 1, 4)  # each (B, H, M, D / H)
        dropout = self.dropout.p if self.training else 0.0
        if dropout and x.device.type == "cpu":  # where PyTorch has no fused attention with dropout
            scores = (q * q.size(-1) ** -0.5) @ k.transpose(-1, -2)  # (B, H, M, M)
            if key_mask is not None:
                scores = scores.masked_fill(~key_mask, -torch.inf)
            y = self.dropout(scores.softmax(-1)) @ v
        else:
            y = F.scaled_dot_product_attention(q, k, v, attn_mask=key_mask, dropout_p=dropout)
        return self.out(y.transpose(1, 2).reshape(batch, frames, dim))


class TransformerLayer(nn.Module):
    """Post-LN layer as in HuBERT Base: LN(x + attention(x)), then LN(x + FFN(x)) with GELU."""

    def __init__(
        self,
        dim: int,
        ffn_dim: int,
        num_heads: int,
        dropout: float,
        attention_dropout: float,
        activation_dropout: float,
    ):
        super().__init__()
        self.attention = SelfAttention(dim, num_heads, attention_dropout)
        self.attention_norm = nn.LayerNorm(dim)
        self.fc1 = nn.Linear(dim, ffn_dim)
        self.fc2 = nn.Linear(ffn_dim, dim)
        self.ffn_norm = nn.LayerNorm(dim)
        self.dropout = Dropout(dropout)
        self.activation_dropout = Dropout(activation_dropout)
        for linear in (self.attention.qkv, self.attention.out, self.fc1, self.fc2):  # as BERT and HuBERT do
            nn.init.normal_(linear.weight, std=0.02)
            nn.init.zeros_(linear.bias)

    def forward(self, x: Tensor, key_mask: Tensor | None) -> Tensor:
        x = self.attention_norm(x + self.dropout(self.attention(x, key_mask)))
        return self.ffn_norm(x + self.dropout(self.fc2(self.activation_dropout(F.gelu(self.fc1(x))))))

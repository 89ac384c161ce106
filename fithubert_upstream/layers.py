"""The student's parts. Everything after the convolutions is laid out (B, L, D).

B batch, T samples, L frames (20 ms), M reduced frames (40 ms), D width, C conv channels. `lengths` is
given only for a batch in which something is padded; without it no mask is built at all.
"""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .lengths import ConvLayers, conv_frames, valid_mask


class MaskedGroupNorm(nn.Module):
    """GroupNorm with one group a channel whose statistics see valid frames only.

    HuBERT's and the official code's GroupNorm also averages over the padding, which makes an utterance's
    features depend on what it is batched with.
    """

    def __init__(self, channels: int, eps: float = 1e-5):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))
        self.eps = eps

    def forward(self, x: Tensor, lengths: Tensor | None) -> Tensor:
        """(B, C, L) -> (B, C, L); padded frames come out finite and meaningless."""
        if lengths is None:
            return F.group_norm(x, x.size(1), self.weight, self.bias, self.eps)
        valid = valid_mask(lengths, x.size(2), x.device)[:, None]  # (B, 1, L)
        count = lengths[:, None, None].to(x.device)  # (B, 1, 1)
        wide = x.float()
        mean = (wide * valid).sum(2, keepdim=True) / count  # (B, C, 1)
        centred = wide - mean
        variance = (centred * valid).square().sum(2, keepdim=True) / count  # (B, C, 1)
        scale = torch.rsqrt(variance + self.eps) * self.weight[:, None]  # (B, C, 1)
        return (centred * scale + self.bias[:, None]).to(x.dtype)


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
        self.norm = MaskedGroupNorm(channels[1])
        for conv in self.convs:
            nn.init.kaiming_normal_(conv.weight)

    def forward(self, waveforms: Tensor, lengths: Tensor | None) -> Tensor:
        """(B, T) -> (B, L, C). No later convolution pads, so a valid frame never sees a padded sample."""
        x = waveforms[:, None]  # (B, 1, T)
        for i, conv in enumerate(self.convs):
            x = conv(x)
            if i == 0:
                x = self.norm(x, None if lengths is None else conv_frames(lengths, self.conv_layers[:1]))
            x = F.gelu(x)
        return x.transpose(1, 2)  # (B, L, C)


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
        """(D, D / groups, K); computed once in eval, where the parameters stand still."""
        if self.training or torch.is_grad_enabled():
            return self.weight_v * (self.weight_g / self._norm())
        if self._folded is None or self._folded.device != self.weight_v.device:
            self._folded = self.weight_v * (self.weight_g / self._norm())
        return self._folded

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
        y = F.conv1d(x.transpose(1, 2), self.weight(), self.bias, padding=kernel // 2, groups=self.groups)
        return F.gelu(y[:, :, : x.size(1)]).transpose(1, 2)  # an even kernel gives one frame too many


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


class PredictionHead(nn.Module):
    """FitHuBERT's head of one layer: back to 20 ms, then into the teacher's width."""

    def __init__(self, dim: int, head_dim: int, reduction: int):
        super().__init__()
        self.upsample = FrameUpsample(dim, reduction) if reduction > 1 else nn.Identity()
        self.linear = nn.Linear(dim, head_dim)

    def forward(self, x: Tensor) -> Tensor:
        """(B, M, D) -> (B, r M, head_dim)"""
        return self.linear(self.upsample(x))


class SelfAttention(nn.Module):
    """Multi-head self-attention with one projection for queries, keys and values."""

    def __init__(self, dim: int, num_heads: int, dropout: float):
        super().__init__()
        self.num_heads = num_heads
        self.dropout = dropout
        self.qkv = nn.Linear(dim, 3 * dim)
        self.out = nn.Linear(dim, dim)

    def forward(self, x: Tensor, key_mask: Tensor | None) -> Tensor:
        """(B, M, D) -> (B, M, D); key_mask (B, 1, 1, M) is True where a frame may be attended to."""
        batch, frames, dim = x.shape
        qkv = self.qkv(x).view(batch, frames, 3, self.num_heads, dim // self.num_heads)
        q, k, v = qkv.permute(2, 0, 3, 1, 4)  # each (B, H, M, D / H)
        dropout = self.dropout if self.training else 0.0
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
        self.dropout = nn.Dropout(dropout)
        self.activation_dropout = nn.Dropout(activation_dropout)
        for linear in (self.attention.qkv, self.attention.out, self.fc1, self.fc2):  # as BERT and HuBERT do
            nn.init.normal_(linear.weight, std=0.02)
            nn.init.zeros_(linear.bias)

    def forward(self, x: Tensor, key_mask: Tensor | None) -> Tensor:
        x = self.attention_norm(x + self.dropout(self.attention(x, key_mask)))
        return self.ffn_norm(x + self.dropout(self.fc2(self.activation_dropout(F.gelu(self.fc1(x))))))

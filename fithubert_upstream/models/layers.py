"""The student's parts behind the convolutions. Everything is laid out (B, L, D).

B batch, L frames (20 ms), M frames of the transformer (40 ms, or 20 without time reduction), D width.
"""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .folding import Folding
from .kernels import Dropout, correlate, gelu, spectrum


class PositionalConv(Folding):
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

    def _norm(self) -> Tensor:
        return self.weight_v.norm(dim=(0, 1), keepdim=True)  # (1, 1, K)

    def fold(self) -> Tensor:
        """(D, D / groups, K), on a CPU its `spectrum`."""
        weight = self.weight_v * (self.weight_g / self._norm())
        return spectrum(weight, self.groups) if weight.device.type == "cpu" else weight

    def forward(self, x: Tensor) -> Tensor:
        """(B, L, D) -> (B, L, D); padded frames of x must be zero, as the convolution's own padding is."""
        kernel = self.weight_v.size(2)
        if x.device.type == "cpu":
            return gelu(correlate(x, self.folded(), kernel) + self.bias)
        y = F.conv1d(x.transpose(1, 2), self.folded(), self.bias, padding=kernel // 2, groups=self.groups)
        return F.gelu(y[:, :, : x.size(1)]).transpose(1, 2)  # an even kernel gives one frame too many


class TimeReduction(Folding):
    """Conv1d with kernel = stride = r: r frames become one. A tail of fewer than r frames is dropped."""

    def __init__(self, dim: int, reduction: int):
        super().__init__()
        conv = nn.Conv1d(dim, dim, reduction, reduction)  # for PyTorch's default initialisation
        self.weight, self.bias = conv.weight, conv.bias

    def fold(self) -> Tensor:
        """(r D, D)"""
        return self.weight.permute(2, 1, 0).flatten(0, 1)

    def forward(self, x: Tensor) -> Tensor:
        """(B, L, D) -> (B, L // r, D), as one matrix product."""
        batch, frames, dim = x.shape
        reduction = self.weight.size(2)
        x = x[:, : frames // reduction * reduction].reshape(batch, -1, reduction * dim)  # (B, M, r D)
        return x @ self.folded() + self.bias


class FrameUpsample(nn.Module):
    """ConvTranspose1d with kernel = stride = r: one frame becomes r."""

    def __init__(self, dim: int, reduction: int):
        super().__init__()
        conv = nn.ConvTranspose1d(dim, dim, reduction, reduction)
        assert conv.bias is not None
        self.weight, self.bias = conv.weight, conv.bias

    def forward(self, x: Tensor) -> Tensor:
        """(B, M, D) -> (B, r M, D), as one matrix product."""
        batch, frames, dim = x.shape
        weight = self.weight.permute(2, 1, 0).flatten(0, 1)  # (r D, D)
        return F.linear(x, weight).view(batch, -1, dim) + self.bias


class HintHead(Folding):
    """FitHuBERT's head of one layer: back to 20 ms, then into the teacher's width."""

    def __init__(self, dim: int, head_dim: int, reduction: int):
        super().__init__()
        self.upsample: FrameUpsample | nn.Identity = FrameUpsample(dim, reduction) if reduction > 1 else nn.Identity()
        self.linear = nn.Linear(dim, head_dim)

    def fold(self) -> tuple[Tensor, Tensor]:
        """Both steps as one: weight (D, r head_dim) and bias (head_dim,)."""
        assert isinstance(self.upsample, FrameUpsample)
        weight = self.upsample.weight.permute(0, 2, 1) @ self.linear.weight.T  # (D, r, head_dim)
        return weight.flatten(1), F.linear(self.upsample.bias, self.linear.weight, self.linear.bias)

    def forward(self, x: Tensor) -> Tensor:
        """(B, M, D) -> (B, r M, head_dim)"""
        plain = type(self.linear) is nn.Linear  # not so where LoRA wraps it
        if not plain or self.training or torch.is_grad_enabled() or isinstance(self.upsample, nn.Identity):
            return self.linear(self.upsample(x))
        weight, bias = self.folded()
        return (x @ weight).view(x.size(0), -1, bias.size(0)).add_(bias)  # (B, M, r head_dim) -> (B, r M, head_dim)


class PredictionHead(nn.Module):
    """DistilHuBERT's head for one layer of the teacher: a hidden layer of the student's width before the last."""

    def __init__(self, dim: int, head_dim: int, reduction: int):
        super().__init__()
        self.upsample: FrameUpsample | nn.Identity = FrameUpsample(dim, reduction) if reduction > 1 else nn.Identity()
        self.hidden = nn.Linear(dim, dim)
        self.linear = nn.Linear(dim, head_dim)

    def forward(self, x: Tensor) -> Tensor:
        """(B, M, D) -> (B, r M, head_dim)"""
        return self.linear(gelu(self.hidden(self.upsample(x))))


class TransformerLayer(nn.Module):
    """Post-LN layer as in HuBERT Base: LN(x + attention(x)), then LN(x + FFN(x)) with GELU.

    Of a layer that was pruned, attention or FFN may be missing; both norms are there all the same.
    """

    def __init__(self, dim: int, attention: nn.Module | None, ffn_dim: int, dropout: float, activation_dropout: float):
        super().__init__()
        self.attention = attention
        self.attention_norm = nn.LayerNorm(dim)
        self.fc1 = nn.Linear(dim, ffn_dim) if ffn_dim else None
        self.fc2 = nn.Linear(ffn_dim, dim) if ffn_dim else None
        self.ffn_norm = nn.LayerNorm(dim)
        self.dropout = Dropout(dropout)
        self.activation_dropout = Dropout(activation_dropout)
        for linear in [module for module in self.modules() if isinstance(module, nn.Linear)]:  # as BERT and HuBERT do
            nn.init.normal_(linear.weight, std=0.02)
            nn.init.zeros_(linear.bias)

    def forward(self, x: Tensor, key_mask: Tensor | None, handed: Tensor | None = None) -> tuple[Tensor, Tensor | None]:
        """(B, M, D), and what the layer before handed on -> the same; the mask is as in `attention`."""
        if self.attention is not None:
            y, handed = self.attention(x, key_mask, handed)
            x = x + self.dropout(y)
        x = self.attention_norm(x)
        if self.fc1 is not None and self.fc2 is not None:
            x = x + self.dropout(self.fc2(self.activation_dropout(gelu(self.fc1(x)))))
        return self.ffn_norm(x), handed


def hide(x: Tensor, mask: Tensor, vector: Tensor) -> Tensor:
    """Put a vector (D,) in the place of the frames of x (B, L, D) that are True in a mask (B, L)."""
    mask = F.pad(mask, (0, x.size(1) - mask.size(1)))  # x may have frames more, of waveforms that are too short
    return torch.where(mask[:, :, None], vector.to(x.dtype), x)

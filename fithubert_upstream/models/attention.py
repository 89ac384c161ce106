"""The ways in which a layer attends. Everything is laid out (B, M, D).

B batch, M frames of a transformer layer, D width, H heads, W a head's width.

Each takes (B, M, D), a mask (B, 1, 1, M), True where a frame may be attended to, and what it is handed; it gives
(B, M, D) and what it hands on to the next layer.
"""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .config import FitHubertConfig
from .kernels import Dropout

GATE = 8  # outputs of the gate of a relative position bias: 4 for each of its two factors (WavLM)


def build_attention(config: FitHubertConfig, layer: int) -> nn.Module | None:
    """The attention of a layer, counted from 1; None where it has none."""
    heads = config.layer_heads[layer - 1]
    if not heads:
        return None
    dim, width, dropout = config.embed_dim, config.width_of_head, config.attention_dropout
    if config.position_buckets:
        assert config.kept_heads is not None
        return RelativePositionAttention(dim, config.kept_heads[layer - 1], dropout, width)
    if layer in config.reuse_attention:
        return ReusedAttention(dim, heads, width)
    kind = SharedAttention if layer + 1 in config.reuse_attention else SelfAttention
    return kind(dim, heads, dropout, width)


class SelfAttention(nn.Module):
    """Multi-head self-attention with one projection for queries, keys and values. It hands nothing on."""

    def __init__(self, dim: int, num_heads: int, dropout: float, head_width: int | None = None):
        super().__init__()
        self.num_heads = num_heads
        self.dropout = Dropout(dropout)
        width = num_heads * (head_width or dim // num_heads)
        self.qkv = nn.Linear(dim, 3 * width)
        self.out = nn.Linear(width, dim)

    def forward(self, x: Tensor, key_mask: Tensor | None, handed: Tensor | None = None) -> tuple[Tensor, Tensor | None]:
        q, k, v = self.split(x)
        return self.out(join_heads(attend(q, k, v, key_mask, self.dropout))), None

    def split(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Queries, keys and values, (B, H, M, W) each."""
        batch, frames, _ = x.shape
        q, k, v = self.qkv(x).view(batch, frames, 3, self.num_heads, -1).permute(2, 0, 3, 1, 4)
        return q, k, v


class SharedAttention(SelfAttention):
    """The same; it hands on its attention map, (B, H, M, M)."""

    def forward(self, x: Tensor, key_mask: Tensor | None, handed: Tensor | None = None) -> tuple[Tensor, Tensor]:
        q, k, v = self.split(x)
        weights = attention_map(q, k, key_mask)
        return self.out(join_heads(self.dropout(weights) @ v)), weights


class ReusedAttention(nn.Module):
    """ARMHuBERT's attention by the map of the layer before, which it hands on: neither queries nor keys.

    It takes the map's softmax once more, as the authors' code does and their weights expect, and drops none of it.
    """

    def __init__(self, dim: int, num_heads: int, head_width: int):
        super().__init__()
        self.num_heads = num_heads
        self.v = nn.Linear(dim, num_heads * head_width)
        self.out = nn.Linear(num_heads * head_width, dim)

    def forward(self, x: Tensor, key_mask: Tensor | None, handed: Tensor) -> tuple[Tensor, Tensor]:
        v = self.v(x).unflatten(2, (self.num_heads, -1)).transpose(1, 2)  # (B, H, M, W)
        weights = handed if key_mask is None else handed.masked_fill(~key_mask, -torch.inf)
        return self.out(join_heads(weights.softmax(-1) @ v)), handed


class RelativePositionAttention(SelfAttention):
    """WavLM's attention: the input gates a bias by distance, which `RelativePositions` gave and which it hands on.

    `kept_heads` are those that are left of WavLM's, counted from 0. The gate of a head sees that head's part of the
    input, (B, M, W) of (B, M, D).
    """

    def __init__(self, dim: int, kept_heads: tuple[int, ...], dropout: float, head_width: int):
        super().__init__(dim, len(kept_heads), dropout, head_width)
        self.kept_heads = list(kept_heads)
        self.all_heads = dim // head_width
        self.gate = nn.Linear(head_width, GATE)
        self.gate_scale = nn.Parameter(torch.ones(1, self.all_heads, 1, 1))

    def forward(self, x: Tensor, key_mask: Tensor | None, handed: Tensor | None = None) -> tuple[Tensor, Tensor]:
        assert handed is not None
        bias = self.gates(x) * handed[:, self.kept_heads]  # (B, H, M, M)
        if key_mask is not None:
            bias = bias.masked_fill(~key_mask, -torch.inf)
        q, k, v = self.split(x)
        return self.out(join_heads(attend(q, k, v, bias, self.dropout))), handed

    def gates(self, x: Tensor) -> Tensor:
        """(B, M, D) -> (B, H, M, 1), each between 1 and 1 + the head's scale, for scales above 1."""
        parts = x.unflatten(2, (self.all_heads, -1))[:, :, self.kept_heads].transpose(1, 2)  # (B, H, M, W)
        sums = self.gate(parts).unflatten(3, (2, -1)).sum(4)  # (B, H, M, 2)
        update, reset = sums.sigmoid().split(1, dim=3)
        return update * (reset * self.gate_scale[:, self.kept_heads] - 1) + 2


class RelativePositions(nn.Module):
    """WavLM's bias by the distance of two frames: one number for each bucket of distances and each head."""

    def __init__(self, buckets: int, farthest: int, heads: int):
        super().__init__()
        self.buckets, self.farthest = buckets, farthest
        self.embedding = nn.Embedding(buckets, heads)
        nn.init.normal_(self.embedding.weight, std=0.02)

    def forward(self, frames: int) -> Tensor:
        """(1, H, M, M), the last two those of the query and of the key."""
        place = torch.arange(frames, device=self.embedding.weight.device)
        return self.embedding(self.bucket(place - place[:, None])).permute(2, 0, 1)[None]

    def bucket(self, distance: Tensor) -> Tensor:
        """Key minus query, in frames -> bucket, as in T5 (Raffel et al., 2020).

        Half of the buckets are for later keys. Of each half, one half is for a distance each, the other for distances
        that grow as a logarithm does up to `farthest`, beyond which all fall into the last.
        """
        half = self.buckets // 2
        exact = half // 2
        size = distance.abs()
        rising = (size.float() / exact).log() / math.log(self.farthest / exact) * (half - exact)
        far = (exact + rising.clamp(min=0).long()).clamp(max=half - 1)  # the logarithm of 0 is not used
        return torch.where(size < exact, size, far) + (distance > 0) * half


def attend(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, dropout: Dropout) -> Tensor:
    """(B, H, M, W) three times -> (B, H, M, W); `mask` says what may be attended to, or is a bias."""
    p = dropout.p if dropout.training else 0.0
    if p and q.device.type == "cpu":  # where PyTorch has no fused attention with dropout
        return dropout(attention_map(q, k, mask)) @ v
    return F.scaled_dot_product_attention(q, k, v, attn_mask=mask, dropout_p=p)


def attention_map(q: Tensor, k: Tensor, mask: Tensor | None) -> Tensor:
    """(B, H, M, W) twice -> (B, H, M, M), whose rows add up to 1; `mask` as in `attend`."""
    scores = (q * q.size(-1) ** -0.5) @ k.transpose(-1, -2)
    if mask is not None:
        scores = scores.masked_fill(~mask, -torch.inf) if mask.dtype == torch.bool else scores + mask
    return scores.softmax(-1)


def join_heads(x: Tensor) -> Tensor:
    """(B, H, M, W) -> (B, M, H W)"""
    return x.transpose(1, 2).flatten(2)

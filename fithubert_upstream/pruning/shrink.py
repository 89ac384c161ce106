"""From a model with gates to a small one that gives the same."""

from dataclasses import replace

import torch
from torch import Tensor, nn

from ..errors import FitHubertError
from ..models.config import FitHubertConfig
from ..models.fithubert import FitHubert
from .gates import Masks


class OpenNorm(nn.LayerNorm):
    """A LayerNorm over the channels that are open, as that of the small model will be; closed ones are 0 behind it.

    DPHuBERT's code norms over the closed channels too, and so changes what the model gives as it prunes.
    """

    open: Tensor

    def __init__(self, norm: nn.LayerNorm):
        super().__init__(norm.normalized_shape, norm.eps)
        self.weight, self.bias = norm.weight, norm.bias
        self.register_buffer("open", torch.ones_like(norm.weight), persistent=False)  # (C,) of 0 and 1

    def forward(self, x: Tensor) -> Tensor:
        """(B, L, C) -> (B, L, C)"""
        x, count = x.float() * self.open, self.open.sum().clamp(min=1)
        centred = (x - x.sum(-1, keepdim=True) / count) * self.open
        variance = centred.square().sum(-1, keepdim=True) / count
        return centred * torch.rsqrt(variance + self.eps) * self.weight + self.bias * self.open


def gated_weights(model: FitHubert, masks: Masks) -> dict[str, Tensor]:
    """The weights and buffers of a `students.copy_of` that gates change, by name.

    z f(x), for a unit f and its gate z, is read by weights: those times z are the same, and cost less than the product
    with every frame. Where no unit is open, what is left of attention or FFN, a bias, goes too.
    """
    weights = {}
    for number, (conv, mask) in enumerate(zip(model.feature_extractor.convs[1:], masks.convs[:-1], strict=True), 1):
        weights[f"feature_extractor.convs.{number}.weight"] = conv.weight * mask[:, None]  # (D, C, K)
    assert model.feature_scale is not None
    weights["feature_scale"] = model.feature_scale * masks.convs[-1]
    if model.config.feature_norm:
        weights["feature_norm.open"] = (masks.convs[-1] > 0).float()
    for number, layer in enumerate(model.layers):
        if layer.attention is not None:
            mask, place = masks.heads[number], f"layers.{number}.attention.out"
            each = mask.repeat_interleave(model.config.width_of_head)  # (H W,)
            weights[f"{place}.weight"] = layer.attention.out.weight * each
            weights[f"{place}.bias"] = layer.attention.out.bias * (mask > 0).any()
        if layer.fc2 is not None:
            mask, place = masks.ffns[number], f"layers.{number}.fc2"
            weights[f"{place}.weight"] = layer.fc2.weight * mask
            weights[f"{place}.bias"] = layer.fc2.bias * (mask > 0).any()
    return weights


@torch.no_grad()
def shrink(model: FitHubert, masks: Masks) -> FitHubert:
    """The small model: what `model` gives with these gates, without the units whose gates are 0; in eval mode.

    Raises
    ------
    FitHubertError
        A convolution has no open channel, or no layer has an open head or unit.
    """
    convs, heads, ffns = ([mask.nonzero().flatten() for mask in part] for part in masks)
    config = _small_config(model.config, *([len(kept) for kept in part] for part in (convs, heads, ffns)))
    weights = model.state_dict() | gated_weights(model, masks)
    weights.pop("feature_norm.open", None)
    for number, kept in enumerate(convs):
        name = f"feature_extractor.convs.{number}.weight"
        weights[name] = weights[name][kept]  # (D, C, K)
        if number:
            weights[name] = weights[name][:, convs[number - 1]]
    _select(weights, ["feature_extractor.norm.weight", "feature_extractor.norm.bias"], convs[0])
    _select(weights, ["feature_scale", "feature_norm.weight", "feature_norm.bias"], convs[-1])
    _select(weights, ["feature_projection.weight"], convs[-1], dim=1)
    width = config.width_of_head
    for number, (kept, units) in enumerate(zip(heads, ffns, strict=True)):
        place, all_heads = f"layers.{number}", model.config.layer_heads[number]
        channels = torch.arange(all_heads * width, device=kept.device).view(all_heads, width)[kept].flatten()
        rows = torch.cat([channels + part * all_heads * width for part in range(3)])  # of queries, keys, values
        _select(weights, [f"{place}.attention.qkv.weight", f"{place}.attention.qkv.bias"], rows)
        _select(weights, [f"{place}.attention.out.weight"], channels, dim=1)
        _select(weights, [f"{place}.fc1.weight", f"{place}.fc1.bias"], units)
        _select(weights, [f"{place}.fc2.weight"], units, dim=1)
    with torch.device("meta"):
        small = FitHubert(config)
    small.load_state_dict({name: weights[name].clone() for name in small.state_dict()}, assign=True)
    return small.eval()


def _select(weights: dict[str, Tensor], names: list[str], kept: Tensor, dim: int = 0) -> None:
    for name in names:
        if name in weights:  # a norm, attention or FFN may be missing
            weights[name] = weights[name].index_select(dim, kept)


def _small_config(config: FitHubertConfig, convs: list[int], heads: list[int], ffns: list[int]) -> FitHubertConfig:
    """The config with so many channels, heads and units left."""
    advice = "set a lower model.sparsity, or with gates a lower model.gate_lr"
    for number, channels in enumerate(convs, 1):
        if not channels:
            raise FitHubertError(f"expected a channel left in convolution {number}, found all gates closed; {advice}")
    if not any(heads) and not any(ffns):
        raise FitHubertError(f"expected a head or an FFN unit left in some layer, found all gates closed; {advice}")
    layers = [(count, kernel, stride) for count, (_, kernel, stride) in zip(convs, config.conv_layers, strict=True)]
    return replace(
        config,
        conv_layers=tuple(layers),
        num_heads=tuple(heads),
        head_width=config.width_of_head,
        ffn_dim=tuple(ffns),
    )

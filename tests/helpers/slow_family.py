"""The family's forward passes over again from the facts: one utterance, authors' weight names, plain loops.

Shares no code with the package; it is what the package is compared with.
"""

import math

import torch

from .family import FAIRSEQ, Names, Shape
from .slow_fithubert import convolve, gelu, layer_norm, linear, positions


def slow_states(state, shape: Shape, wav, names: Names = FAIRSEQ):
    """(T,) waveform -> the projected features (L, D) and each layer's output [(L, D)]."""
    convs = [state[names.conv.format(i)] for i in range(len(shape.convs))]
    strides = [stride for _, _, stride in shape.convs]
    x = convolve(wav, convs, strides, state[f"{names.group_norm}.weight"], state[f"{names.group_norm}.bias"])
    if "feature_extractor.dummy_weight" in state:
        x = x * state["feature_extractor.dummy_weight"]
    if f"{names.norm}.weight" in state:
        x = layer_norm(x, state, names.norm)
    if f"{names.projection}.weight" in state:
        x = linear(x, state, names.projection)
    projection = x
    v, g, bias = (state[f"{names.positions}.{part}"] for part in ("weight_v", "weight_g", "bias"))
    x = layer_norm(x + positions(x, v, g, bias), state, names.encoder_norm)

    states, maps = [], []
    for i, (heads, ffn) in enumerate(zip(shape.heads, shape.ffn, strict=True)):
        layer = names.layer.format(i)
        if heads:
            attention = f"{layer}.{names.attention}"
            if f"{attention}.q_proj.weight" in state:
                bias = slow_position_bias(state, shape, x, i, names) if shape.kept else None
                maps = slow_maps(state, x, attention, heads, shape.width, bias)
                weights = maps
            else:  # the map of a layer before, and its softmax again
                weights = [torch.stack([softmax(row) for row in one]) for one in maps]
            values = linear(x, state, f"{attention}.v_proj")
            parts = [one @ values[:, h * shape.width : (h + 1) * shape.width] for h, one in enumerate(weights)]
            x = x + linear(torch.cat(parts, 1), state, f"{attention}.out_proj")
        x = layer_norm(x, state, f"{layer}.{names.attention_norm}")
        if ffn:
            x = x + linear(gelu(linear(x, state, f"{layer}.{names.fc1}")), state, f"{layer}.{names.fc2}")
        x = layer_norm(x, state, f"{layer}.final_layer_norm")
        states.append(x)
    return projection, states


def softmax(row):
    powers = (row - row.max()).exp()
    return powers / powers.sum()


def slow_maps(state, x, attention: str, heads: int, width: int, bias=None):
    """Each head's (L, L), row by row."""
    q, k = (linear(x, state, f"{attention}.{part}_proj") for part in "qk")
    maps = []
    for h in range(heads):
        cut = slice(h * width, (h + 1) * width)
        scores = torch.stack([torch.stack([(a * b).sum() for b in k[:, cut]]) for a in q[:, cut]]) / math.sqrt(width)
        maps.append(torch.stack([softmax(row) for row in (scores if bias is None else scores + bias[h])]))
    return maps


def slow_bucket(distance: int, buckets: int, farthest: int) -> int:
    """Key minus query -> bucket: exact up to a quarter of the buckets, then logarithmic up to `farthest`."""
    half = buckets // 2
    exact = half // 2
    bucket = half if distance > 0 else 0
    size = abs(distance)
    if size < exact:
        return bucket + size
    share = math.log(size / exact) / math.log(farthest / exact)
    return bucket + min(half - 1, exact + int(share * (half - exact) + 1e-9))


def slow_position_bias(state, shape: Shape, x, layer: int, names: Names):
    """WavLM's gated bias, (L, L) for each head that is kept, pair by pair."""
    table = state[f"{names.layer.format(0)}.attention.rel_attn_embed.weight"]  # (buckets, heads)
    attention = f"{names.layer.format(layer)}.attention"
    scale = state[f"{attention}.gru_rel_pos_const"]
    biases = []
    for head in shape.kept[layer]:
        bias = torch.empty(len(x), len(x))
        for i, frame in enumerate(x):
            part = frame[head * shape.width : (head + 1) * shape.width]
            outputs = linear(part, state, f"{attention}.gru_rel_pos_linear")
            a, b = torch.sigmoid(outputs[:4].sum()), torch.sigmoid(outputs[4:].sum())
            gate = a * (b * scale[0, head, 0, 0] - 1) + 2
            for j in range(len(x)):
                bias[i, j] = gate * table[slow_bucket(j - i, shape.buckets, shape.farthest), head]
        biases.append(bias)
    return biases

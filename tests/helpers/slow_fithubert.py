"""FitHuBERT's forward pass over again from the facts: one utterance, official weight names, plain loops.

Shares no code with the package; it is what the package is compared with.
"""

import math

import torch
from torch.nn import functional as F


def official_state(
    conv_layers,
    dim: int,
    ffn: int,
    layers: int,
    kernel: int,
    groups: int,
    head_dim: int,
    reduction: int = 2,
    parametrized: bool = False,
) -> dict[str, torch.Tensor]:
    """Random weights under every key of an official FitHuBERT state dict, `upsampler` included."""
    g = torch.Generator().manual_seed(1)

    def randn(*shape, scale=None):
        fan_in = math.prod(shape[1:]) if len(shape) > 1 else 1
        return torch.randn(*shape, generator=g) * (scale or fan_in**-0.5)

    state = {}

    def linear(name, out, inside):
        state[f"{name}.weight"], state[f"{name}.bias"] = randn(out, inside), randn(out, scale=0.1)

    def norm(name, size):
        state[f"{name}.weight"] = 1 + randn(size, scale=0.1)
        state[f"{name}.bias"] = randn(size, scale=0.1)

    inside = 1
    for i, (out, width, _) in enumerate(conv_layers):
        state[f"feature_extractor.conv_layers.{i}.0.weight"] = randn(out, inside, width) * 1.4
        inside = out
    norm("feature_extractor.conv_layers.0.2", conv_layers[0][0])
    norm("layer_norm", inside)
    linear("post_extract_proj", dim, inside)
    v, g_name, v_name = randn(dim, dim // groups, kernel), "weight_g", "weight_v"
    if parametrized:
        g_name, v_name = "parametrizations.weight.original0", "parametrizations.weight.original1"
    state[f"encoder.pos_conv.0.{g_name}"] = randn(1, 1, kernel, scale=1.0)
    state[f"encoder.pos_conv.0.{v_name}"] = v
    state["encoder.pos_conv.0.bias"] = randn(dim, scale=0.1)
    state["encoder.layers.0.weight"] = randn(dim, dim, reduction)
    state["encoder.layers.0.bias"] = randn(dim, scale=0.1)
    for i in range(1, layers + 1):
        for name in ("k_proj", "v_proj", "q_proj", "out_proj"):
            linear(f"encoder.layers.{i}.self_attn.{name}", dim, dim)
        norm(f"encoder.layers.{i}.self_attn_layer_norm", dim)
        linear(f"encoder.layers.{i}.fc1", ffn, dim)
        linear(f"encoder.layers.{i}.fc2", dim, ffn)
        norm(f"encoder.layers.{i}.final_layer_norm", dim)
    norm("encoder.layer_norm", dim)
    state["upsampler.weight"], state["upsampler.bias"] = randn(dim, dim, reduction), randn(dim)
    for i in range(layers):
        state[f"proj_head.{i}.upsampler.weight"] = randn(dim, dim, reduction)
        state[f"proj_head.{i}.upsampler.bias"] = randn(dim, scale=0.1)
        linear(f"proj_head.{i}.lin_proj", head_dim, dim)
    return state


def gelu(x):
    return x * 0.5 * (1 + torch.erf(x / math.sqrt(2)))


def layer_norm(x, state, name):
    mean = x.mean(-1, keepdim=True)
    var = ((x - mean) ** 2).mean(-1, keepdim=True)
    return (x - mean) / torch.sqrt(var + 1e-5) * state[f"{name}.weight"] + state[f"{name}.bias"]


def linear(x, state, name):
    return x @ state[f"{name}.weight"].T + state[f"{name}.bias"]


def convolve(wav, weights, strides, norm_weight, norm_bias):
    """(T,) waveform -> (L, C): the convolutions, GroupNorm after the first, GELU after each."""
    x = wav[None]  # (1, T)
    for i, (weight, stride) in enumerate(zip(weights, strides, strict=True)):
        x = F.conv1d(x[None], weight, stride=stride)[0]
        if i == 0:
            mean, var = x.mean(1, keepdim=True), x.var(1, keepdim=True, unbiased=False)
            x = (x - mean) / torch.sqrt(var + 1e-5)
            x = x * norm_weight[:, None] + norm_bias[:, None]
        x = gelu(x)
    return x.T


def positions(x, v, g, bias):
    """(L, D) -> (L, D): the positional convolution with its weight norm, each group on its own, then GELU."""
    weight = torch.empty_like(v)
    for k in range(v.size(2)):  # weight norm along dim 2
        weight[:, :, k] = v[:, :, k] / v[:, :, k].square().sum().sqrt() * g[0, 0, k]
    kernel, size = v.size(2), v.size(1)
    padded = F.pad(x.T, (kernel // 2, kernel // 2))
    y = torch.cat(
        [
            F.conv1d(padded[None, start : start + size], weight[start : start + size])[0]
            for start in range(0, x.size(1), size)
        ]
    )
    return gelu((y + bias[:, None])[:, : x.size(0)]).T


def slow_forward(state, wav, strides, heads: int, layers: int):
    """(T,) waveform -> the 40 ms output of each layer [(M, D)], each head's output [(2 M, head_dim)]."""

    def lin(x, name):
        return linear(x, state, name)

    weights = [state[f"feature_extractor.conv_layers.{i}.0.weight"] for i in range(len(strides))]
    norm = "feature_extractor.conv_layers.0.2"
    x = convolve(wav, weights, strides, state[f"{norm}.weight"], state[f"{norm}.bias"])
    x = lin(layer_norm(x, state, "layer_norm"), "post_extract_proj")  # (L, D)

    v = state.get("encoder.pos_conv.0.weight_v", state.get("encoder.pos_conv.0.parametrizations.weight.original1"))
    g = state.get("encoder.pos_conv.0.weight_g", state.get("encoder.pos_conv.0.parametrizations.weight.original0"))
    x = layer_norm(x + positions(x, v, g, state["encoder.pos_conv.0.bias"]), state, "encoder.layer_norm")

    w = state["encoder.layers.0.weight"]
    reduction = w.size(2)
    frames = x.size(0) // reduction
    x = torch.stack(
        [
            sum(w[:, :, k] @ x[reduction * t + k] for k in range(reduction)) + state["encoder.layers.0.bias"]
            for t in range(frames)
        ]
    )  # (M, D)

    hidden, projected = [], []
    for i in range(1, layers + 1):
        p = f"encoder.layers.{i}"
        q, k, v = (lin(x, f"{p}.self_attn.{n}_proj") for n in "qkv")
        width = q.size(1) // heads
        outs = []
        for h in range(heads):
            cut = slice(h * width, (h + 1) * width)
            scores = q[:, cut] @ k[:, cut].T / math.sqrt(width)
            outs.append(torch.softmax(scores, dim=-1) @ v[:, cut])
        x = layer_norm(x + lin(torch.cat(outs, 1), f"{p}.self_attn.out_proj"), state, f"{p}.self_attn_layer_norm")
        x = layer_norm(x + lin(gelu(lin(x, f"{p}.fc1")), f"{p}.fc2"), state, f"{p}.final_layer_norm")
        hidden.append(x)
        head = f"proj_head.{i - 1}"
        if f"{head}.lin_proj.weight" in state:
            up = state[f"{head}.upsampler.weight"]  # (in, out, k)
            y = torch.stack([x[t // reduction] @ up[:, :, t % reduction] for t in range(reduction * frames)])
            projected.append(lin(y + state[f"{head}.upsampler.bias"], f"{head}.lin_proj"))
    return hidden, projected

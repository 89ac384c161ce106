"""A small teacher to prune, the command line of a run, and what a model with gates gives, by plain loops over units."""

import math
from pathlib import Path

import torch
import yaml
from torch.nn import functional as F

from fithubert_upstream.checkpoints.student import save_fithubert
from fithubert_upstream.models.config import FitHubertConfig
from fithubert_upstream.models.fithubert import FitHubert
from fithubert_upstream.pruning.gates import Gates, Masks

from .slow_fithubert import gelu, layer_norm, linear, positions
from .tiny import make_corpus

# Of HuBERT's kind: three layers.
TEACHER = FitHubertConfig(
    conv_layers=((12, 10, 5), (10, 3, 2), (11, 3, 2), (9, 3, 2), (8, 3, 2), (10, 2, 2), (14, 2, 2)),
    embed_dim=24,
    pos_conv_kernel=16,
    pos_conv_groups=4,
    time_reduction=1,
    num_layers=3,
    ffn_dim=20,
    num_heads=4,
    head_layers=(),
    dropout_input=0.0,
    dropout=0.0,
    attention_dropout=0.0,
    activation_dropout=0.0,
)


def make_model(config: FitHubertConfig = TEACHER) -> FitHubert:
    """Random weights, of which no bias or norm is the one that training begins with; in eval mode."""
    draw = torch.Generator().manual_seed(1)
    model = FitHubert(config).eval()
    with torch.no_grad():
        for weight in model.parameters():
            weight.add_(0.2 * torch.randn(weight.shape, generator=draw))
    return model


def size(model: FitHubert) -> int:
    return sum(weight.numel() for weight in model.parameters())


def make_world(folder: Path) -> Path:
    """A folder with a corpus and a teacher."""
    make_corpus(folder / "corpus", utterances=8)
    save_fithubert(make_model(), folder / "teacher.safetensors")
    return folder


def flags(world: Path, folder: Path, words: tuple[str, ...], model: dict, **steps: int) -> list[str]:
    """The command line of a run in `folder`, with the updates of each of its steps."""
    how, recipe = folder.with_suffix(".model.yaml"), folder.with_suffix(".train.yaml")
    teacher = {"source": "fithubert", "model": str(world / "teacher.safetensors")}
    how.write_text(yaml.safe_dump({"teacher": teacher, "layers": [0, 1, 3]} | model))
    train = world / "corpus" / "train"
    recipes = {"data": {"train": [str(train)], "valid": [str(train / "0")], "batch_size": 4}}
    for step, updates in steps.items():
        trainer = {"precision": "32-true", "log_every": 1, "save_every": 50, "valid_every": 20, "clip": 10.0}
        optimizer = {"lr": 2e-3, "weight_decay": 0.0, "warmup_proportion": 0.1}
        recipes[step] = {"optimizer": optimizer, "trainer": trainer | {"steps": updates}}
    recipe.write_text(yaml.safe_dump(recipes))
    return ["-g", str(how), "-c", str(recipe), "-p", str(folder), *words]


def settle(gates: Gates) -> Gates:
    """Log alphas all over, without attention in layer 1 and without FFN in layer 3; in eval mode."""
    draw = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for gate in (*gates.convs, *gates.heads, *gates.ffns):
            gate.log_alpha.copy_(4 * torch.randn(gate.log_alpha.shape, generator=draw))
        gates.heads[0].log_alpha.fill_(-9.0)
        gates.ffns[2].log_alpha.fill_(-9.0)
    return gates.eval()


def slow_gated(model: FitHubert, masks: Masks, wav):
    """(T,) waveform -> what goes into the positional convolution, (L, D), and each layer's output, (M, D) each.

    Every unit's output times its gate, norms over the channels that are open.
    """
    state, config = model.state_dict(), model.config
    x = wav[None]  # (1, T)
    for i, (_, _, stride) in enumerate(config.conv_layers):
        x = F.conv1d(x[None], state[f"feature_extractor.convs.{i}.weight"], stride=stride)[0]
        if i == 0:
            mean, var = x.mean(1, keepdim=True), x.var(1, keepdim=True, unbiased=False)
            weight, bias = (state[f"feature_extractor.norm.{part}"][:, None] for part in ("weight", "bias"))
            x = (x - mean) / torch.sqrt(var + 1e-5) * weight + bias
        x = torch.stack([gate * channel for gate, channel in zip(masks.convs[i], gelu(x), strict=True)])
    kept = [c for c, gate in enumerate(masks.convs[-1].tolist()) if gate > 0]
    x = x.T[:, kept] * state["feature_scale"][kept]  # (L, C)
    if config.feature_norm:
        x = layer_norm(
            x, {name: state[name][kept] for name in ("feature_norm.weight", "feature_norm.bias")}, "feature_norm"
        )
    x = x @ state["feature_projection.weight"][:, kept].T + state["feature_projection.bias"]
    projection = x
    v, g, bias = (state[f"pos_conv.{part}"] for part in ("weight_v", "weight_g", "bias"))
    x = layer_norm(x + positions(x, v, g, bias), state, "encoder_norm")
    if (rate := config.time_reduction) > 1:
        weight, bias = state["time_reduction.weight"], state["time_reduction.bias"]  # (D, D, r), (D,)
        starts = range(0, len(x) - rate + 1, rate)
        frames = [sum(weight[:, :, k] @ x[start + k] for k in range(rate)) + bias for start in starts]
        x = torch.stack(frames)  # (M, D)
    states, width = [], config.width_of_head
    for i in range(config.num_layers):
        place, heads = f"layers.{i}", config.layer_heads[i]
        if heads and bool((masks.heads[i] > 0).any()):
            q, k, v = linear(x, state, f"{place}.attention.qkv").chunk(3, dim=1)
            parts = []
            for h, gate in enumerate(masks.heads[i]):
                cut = slice(h * width, (h + 1) * width)
                scores = q[:, cut] @ k[:, cut].T / math.sqrt(width)
                parts.append(gate * scores.softmax(1) @ v[:, cut])
            x = x + linear(torch.cat(parts, 1), state, f"{place}.attention.out")
        x = layer_norm(x, state, f"{place}.attention_norm")
        if config.layer_ffn_dims[i] and bool((masks.ffns[i] > 0).any()):
            units = gelu(linear(x, state, f"{place}.fc1")) * masks.ffns[i]
            x = x + linear(units, state, f"{place}.fc2")
        x = layer_norm(x, state, f"{place}.ffn_norm")
        states.append(x)
    return projection, states

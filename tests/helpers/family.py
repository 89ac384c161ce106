"""Small checkpoints of the family, random weights in the authors' formats."""

import contextlib
import io
import math
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import NamedTuple

import torch
import yaml

from fithubert_upstream import register

CONVS = ((16, 10, 5), (24, 1, 1), *[(24, 3, 2)] * 4, (32, 1, 1), *[(32, 2, 2)] * 2)
CONVS_TEXT = "[(16, 10, 5)] + [(24, 1, 1)] + [(24, 3, 2)] * 4 + [(32, 1, 1)] + [(32, 2, 2)] * 2"
UNEVEN = ((14, 10, 5), (23, 3, 2), (22, 3, 2), (24, 3, 2), (21, 3, 2), (30, 2, 2), (20, 2, 2))


class Names(NamedTuple):
    """What a library calls the parts."""

    conv: str
    group_norm: str
    norm: str
    projection: str
    positions: str
    encoder_norm: str
    layer: str
    attention: str
    attention_norm: str
    fc1: str
    fc2: str


FAIRSEQ = Names(
    conv="feature_extractor.conv_layers.{}.0.weight",
    group_norm="feature_extractor.conv_layers.0.2",
    norm="layer_norm",
    projection="post_extract_proj",
    positions="encoder.pos_conv.0",
    encoder_norm="encoder.layer_norm",
    layer="encoder.layers.{}",
    attention="self_attn",
    attention_norm="self_attn_layer_norm",
    fc1="fc1",
    fc2="fc2",
)
TORCHAUDIO = Names(
    conv="feature_extractor.conv_layers.{}.conv.weight",
    group_norm="feature_extractor.conv_layers.0.layer_norm",
    norm="encoder.feature_projection.layer_norm",
    projection="encoder.feature_projection.projection",
    positions="encoder.transformer.pos_conv_embed.conv",
    encoder_norm="encoder.transformer.layer_norm",
    layer="encoder.transformer.layers.{}",
    attention="attention",
    attention_norm="layer_norm",
    fc1="feed_forward.intermediate_dense",
    fc2="feed_forward.output_dense",
)


@dataclass(frozen=True)
class Shape:
    """A student of 32 channels, 8 a head, with 3 layers."""

    convs: tuple = CONVS
    dim: int = 32
    heads: tuple[int, ...] = (4, 4, 4)
    width: int = 8
    ffn: tuple[int, ...] = (40, 40, 40)
    reuse: tuple[int, ...] = ()  # places, from 0
    kept: tuple[tuple[int, ...], ...] = ()  # WavLM's
    buckets: int = 16
    farthest: int = 20
    projection: bool = False
    heads_dim: int = 0  # of projections, 0 for none
    extra: dict = field(default_factory=dict)  # shapes of what only training uses


ARM = Shape(reuse=(1, 2), heads_dim=48, extra={"mask_emb": (32,)})
MASK = replace(ARM, reuse=())
STAR = Shape(extra={"final_proj.weight": (20, 32), "final_proj.bias": (20,)})
DPHUBERT = Shape(convs=UNEVEN, heads=(3, 0, 1), ffn=(33, 21, 0), projection=True)
DPWAVLM = replace(DPHUBERT, heads=(2, 0, 3), kept=((1, 3), (), (0, 1, 3)))


def family_state(shape: Shape, names: Names = FAIRSEQ) -> dict[str, torch.Tensor]:
    """Random weights under every key."""
    generator = torch.Generator().manual_seed(1)
    state = {}

    def add(name, *size, scale=None, offset=0.0):
        fan_in = math.prod(size[1:]) if len(size) > 1 else 1
        state[name] = offset + torch.randn(*size, generator=generator) * (scale or fan_in**-0.5)

    def linear(name, out, inside):
        add(f"{name}.weight", out, inside)
        add(f"{name}.bias", out, scale=0.1)

    def norm(name, size):
        add(f"{name}.weight", size, scale=0.1, offset=1)
        add(f"{name}.bias", size, scale=0.1)

    inside = 1
    for i, (out, kernel, _) in enumerate(shape.convs):
        add(names.conv.format(i), out, inside, kernel, scale=1.4 * (inside * kernel) ** -0.5)
        inside = out
    norm(names.group_norm, shape.convs[0][0])
    norm(names.norm, inside)
    if shape.projection:
        linear(names.projection, shape.dim, inside)
    add(f"{names.positions}.weight_g", 1, 1, 16, scale=1.0)
    add(f"{names.positions}.weight_v", shape.dim, shape.dim // 4, 16)
    add(f"{names.positions}.bias", shape.dim, scale=0.1)
    norm(names.encoder_norm, shape.dim)
    for i, (heads, ffn) in enumerate(zip(shape.heads, shape.ffn, strict=True)):
        layer = names.layer.format(i)
        for part in ("v",) if i in shape.reuse else "qkv":
            if heads:
                linear(f"{layer}.{names.attention}.{part}_proj", heads * shape.width, shape.dim)
        if heads:
            linear(f"{layer}.{names.attention}.out_proj", shape.dim, heads * shape.width)
        if heads and shape.kept:
            linear(f"{layer}.attention.gru_rel_pos_linear", 8, shape.width)
            add(f"{layer}.attention.gru_rel_pos_const", 1, shape.dim // shape.width, 1, 1, scale=0.3, offset=1)
        norm(f"{layer}.{names.attention_norm}", shape.dim)
        if ffn:
            linear(f"{layer}.{names.fc1}", ffn, shape.dim)
            linear(f"{layer}.{names.fc2}", shape.dim, ffn)
        norm(f"{layer}.final_layer_norm", shape.dim)
        if shape.heads_dim:
            linear(f"proj_head.{i}.lin_proj", shape.heads_dim, shape.dim)
    if shape.kept:
        table = f"{names.layer.format(0)}.attention.rel_attn_embed.weight"
        add(table, shape.buckets, shape.dim // shape.width, scale=1.0)
    if names is TORCHAUDIO:
        add("feature_extractor.dummy_weight", inside, scale=0.1, offset=1)
    for name, size in shape.extra.items():
        add(name, *size)
    return state


def write_lightning(folder: Path, shape: Shape, edit=None, distiller=None):
    """MaskHuBERT's, ARMHuBERT's or STaRHuBERT's .ckpt and .yaml -> both paths and the weights."""
    state = family_state(shape)
    if edit:
        edit(state)
    ckpt, config = folder / "student.ckpt", folder / "student.yaml"
    torch.save({"epoch": 3, "state_dict": {f"student_model.{name}": t for name, t in state.items()}}, ckpt)
    block = {
        "extractor_mode": "default",
        "conv_feature_layers": CONVS_TEXT,
        "conv_pos": 16,
        "conv_pos_groups": 4,
        "encoder_layers": 3,
        "encoder_embed_dim": 32,
        "encoder_ffn_embed_dim": 40,
        "encoder_attention_heads": 4,
        "layer_norm_first": False,
        "enable_tr_layer": False,
        "tr_reduce_factor": 2,
        "reuse_pattern": str([i not in shape.reuse for i in range(3)]),
    }
    config.write_text(yaml.safe_dump({"distiller": block | (distiller or {})}))
    return ckpt, config, state


def write_dphubert(folder: Path, shape: Shape, edit=None, config=None):
    """DPHuBERT's or DPWavLM's .pth -> its path and the weights; None in `config` takes a key out."""
    state = family_state(shape, TORCHAUDIO)
    if edit:
        edit(state)
    theirs = {
        "extractor_mode": "group_norm",
        "extractor_conv_layer_config": list(shape.convs),
        "extractor_conv_bias": False,
        "encoder_embed_dim": shape.dim,
        "encoder_projection_dropout": 0.1,
        "encoder_pos_conv_kernel": 16,
        "encoder_pos_conv_groups": 4,
        "encoder_num_layers": 3,
        "encoder_use_attention": [heads > 0 for heads in shape.heads],
        "encoder_use_feed_forward": [ffn > 0 for ffn in shape.ffn],
        "encoder_attention_dropout": 0.1,
        "encoder_ff_interm_features": [ffn or 40 for ffn in shape.ffn],
        "encoder_ff_interm_dropout": 0.0,
        "encoder_dropout": 0.1,
        "encoder_layer_norm_first": False,
        "normalize_waveform": False,
    }
    if shape.kept:
        theirs["encoder_total_num_heads"] = [shape.dim // shape.width] * 3
        theirs["encoder_remaining_heads"] = [list(heads) for heads in shape.kept]
        theirs |= {"encoder_num_buckets": shape.buckets, "encoder_max_distance": shape.farthest}
    else:
        theirs |= {"encoder_num_heads": list(shape.heads), "encoder_head_dim": shape.width}
    theirs = {key: value for key, value in (theirs | (config or {})).items() if value is not None}
    path = folder / "student.pth"
    torch.save({"state_dict": state, "config": theirs, "distill_linear_projs": {"0.weight": torch.eye(2)}}, path)
    return path, state


def write_distilhubert(folder: Path, predicted=(4, 8, 12), edit=None, distiller=None, **more) -> Path:
    """What s3prl's pretraining of DistilHuBERT saves, from s3prl's own model."""
    register()
    from s3prl.upstream.distiller.model import DistillerConfig, DistillerModel

    block = {
        "extractor_conv_feature_layers": CONVS_TEXT,
        "encoder_layers": 2,
        "encoder_embed_dim": 24,
        "encoder_ffn_embed_dim": 40,
        "encoder_attention_heads": 4,
        "conv_pos": 16,
        "conv_pos_groups": 4,
        "final_dim": 24,
        "n_tasks": len(predicted),
        "pred_layer_id": list(predicted),
        **(distiller or {}),
    }
    with contextlib.redirect_stdout(io.StringIO()):
        state = DistillerModel(DistillerConfig(block)).state_dict()
    for name in state:  # s3prl starts with zeros here
        if name.endswith("bias"):
            state[name] = torch.randn_like(state[name]) * 0.1
    if edit:
        edit(state)
    path = folder / "distil.ckpt"
    torch.save({"Distiller": state, "Config": {"distiller": block}, "Step": 5, **more}, path)
    return path

"""Names of weights: those of fairseq, s3prl, torchaudio and transformers, and ours; and what their shapes tell."""

import logging
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ..errors import FitHubertError
from ..models.config import FitHubertConfig
from ..models.fithubert import FitHubert
from .torch_files import misfit

logger = logging.getLogger(__name__)

# What only a student's training used, by its first word in the authors' files: ARMHuBERT's and MaskHuBERT's mask,
# STaRHuBERT's projection onto the teacher's Gram matrices, an upsampler that FitHuBERT's code never calls.
TRAINING_ONLY = frozenset({"mask_emb", "final_proj", "upsampler"})

# Theirs -> ours. The authors' student has fairseq's names.
_MODULES = {
    "feature_extractor.conv_layers.0.layer_norm": "feature_extractor.norm",
    "feature_extractor.conv_layers.0.2": "feature_extractor.norm",
    "feature_projection.layer_norm": "feature_norm",
    "layer_norm": "feature_norm",
    "feature_projection.projection": "feature_projection",
    "post_extract_proj": "feature_projection",
    "encoder.pos_conv_embed.conv": "pos_conv",
    "encoder.pos_conv.0": "pos_conv",
    "encoder.layer_norm": "encoder_norm",
    "encoder.layers.0.attention.rel_attn_embed": "relative_positions.embedding",
}
_WEIGHTS = {"feature_extractor.dummy_weight": "feature_scale"}
_LAYER_MODULES = {
    "attention.q_proj": "attention.q",
    "attention.k_proj": "attention.k",
    "attention.v_proj": "attention.v",
    "self_attn.q_proj": "attention.q",
    "self_attn.k_proj": "attention.k",
    "self_attn.v_proj": "attention.v",
    "attention.out_proj": "attention.out",
    "self_attn.out_proj": "attention.out",
    "layer_norm": "attention_norm",
    "self_attn_layer_norm": "attention_norm",
    "feed_forward.intermediate_dense": "fc1",
    "fc1": "fc1",
    "feed_forward.output_dense": "fc2",
    "fc2": "fc2",
    "final_layer_norm": "ffn_norm",
    "attention.gru_rel_pos_linear": "attention.gate",
}
_LAYER_WEIGHTS = {"attention.gru_rel_pos_const": "attention.gate_scale"}


def rename(state: Mapping[str, Tensor], where: str | Path, time_reduction: bool = False) -> dict[str, Tensor]:
    """Weights under our names; an unknown name stays as it is.

    Parameters
    ----------
    state
        Name -> tensor, in any of the four libraries' names.
    where
        What an error calls the file.
    time_reduction
        Whether `encoder.layers.0` is the time reduction and the transformer begins at 1, as in the authors' students.

    Raises
    ------
    FitHubertError
        Two names stand for one weight.
    """
    weights: dict[str, Tensor] = {}
    for name, tensor in state.items():
        ours = _our_name(name, time_reduction)
        if ours in weights:
            raise FitHubertError(f"{where}: expected each weight once, found {name} to be {ours} a second time")
        weights[ours] = tensor
    for name in [name for name in weights if ".attention.q." in name]:  # three projections become one
        parts = [name.replace(".attention.q.", f".attention.{which}.") for which in "qkv"]
        if all(part in weights for part in parts):
            joined = torch.cat([weights.pop(part) for part in parts])
            weights[name.replace(".attention.q.", ".attention.qkv.")] = joined
    return weights


def _our_name(name: str, time_reduction: bool) -> str:
    plain = name.replace("encoder.transformer.", "encoder.")  # torchaudio has two levels more than transformers
    plain = plain.replace("encoder.feature_projection.", "feature_projection.")
    plain = plain.replace(".parametrizations.weight.original0", ".weight_g")
    plain = plain.replace(".parametrizations.weight.original1", ".weight_v")
    if plain in _WEIGHTS:
        return _WEIGHTS[plain]
    module, _, kind = plain.rpartition(".")
    if module in _MODULES:
        return f"{_MODULES[module]}.{kind}"
    if match := re.fullmatch(r"feature_extractor\.conv_layers\.(\d+)\.(conv|0)", module):
        return f"feature_extractor.convs.{match[1]}.{kind}"
    if time_reduction and module == "encoder.layers.0":
        return f"time_reduction.{kind}"
    if match := re.fullmatch(r"encoder\.layers\.(\d+)\.(.+)", plain):
        place, inside = f"layers.{int(match[1]) - time_reduction}", match[2]
        if inside in _LAYER_WEIGHTS:
            return f"{place}.{_LAYER_WEIGHTS[inside]}"
        if (part := inside.rpartition(".")[0]) in _LAYER_MODULES:
            return f"{place}.{_LAYER_MODULES[part]}.{kind}"
    return name


def conv_shapes(weights: Mapping[str, Tensor]) -> list[tuple[int, int]]:
    """(channels, kernel) of each convolution of the feature extractor."""
    shapes: list[tuple[int, int]] = []
    while (name := f"feature_extractor.convs.{len(shapes)}.weight") in weights:
        shapes.append((weights[name].size(0), weights[name].size(2)))
    return shapes


def options_from_shapes(weights: Mapping[str, Tensor]) -> dict[str, int]:
    """Options of a `FitHubertConfig` that the shapes of weights under our names tell, heads and strides not among them.

    The positional convolution and the first layer's fc1 must be there.
    """
    width, group_width, pos_conv_kernel = weights["pos_conv.weight_v"].shape
    layers = {int(match[1]) for name in weights if (match := re.match(r"layers\.(\d+)\.", name))}
    return {
        "embed_dim": width,
        "pos_conv_kernel": pos_conv_kernel,
        "pos_conv_groups": width // group_width,
        "time_reduction": weights["time_reduction.weight"].size(2) if "time_reduction.weight" in weights else 1,
        "num_layers": max(layers) + 1,
        "ffn_dim": weights["layers.0.fc1.weight"].size(0),
    }


def used_weights(state: Any, where: str | Path) -> dict[str, Tensor]:
    """The tensors of a student's state without those of `TRAINING_ONLY`, which are told.

    Raises FitHubertError for what is no dict.
    """
    if not isinstance(state, Mapping):
        raise FitHubertError(f"{where}: expected a dict of weights, found {type(state).__name__}")
    state = {name: tensor for name, tensor in state.items() if isinstance(tensor, Tensor)}
    unused = [name for name in state if name.split(".")[0] in TRAINING_ONLY]
    if unused:
        logger.info("%s: dropping %s, which only training used", where, ", ".join(unused))
    return {name: tensor for name, tensor in state.items() if name not in unused}


def build_model(config: FitHubertConfig, weights: Mapping[str, Tensor], path: Path) -> FitHubert:
    """A model in eval mode with exactly these weights.

    Raises
    ------
    FitHubertError
        A weight is missing, left over or of another shape.
    """
    with torch.device("meta"):
        model = FitHubert(config)
    fill_weights(model, weights, path)
    return model.eval()


def fill_weights(model: nn.Module, weights: Mapping[str, Tensor], path: Path) -> None:
    """Load weights into a model on the meta device. Raises FitHubertError as `build_model`."""
    if found := misfit(model.state_dict(), weights):
        raise FitHubertError(f"{path}: weights do not fit the config: {found}")
    model.load_state_dict({name: tensor.float() for name, tensor in weights.items()}, assign=True)

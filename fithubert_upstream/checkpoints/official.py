"""The releases of FitHuBERT, MaskHuBERT, ARMHuBERT and STaRHuBERT, Lightning `.ckpt` with `.yaml`, as our own model.

github.com/glory20h/FitHuBERT and github.com/sungnyun/ARMHuBERT: one file format, one `distiller` block in the yaml.
"""

import ast
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from ..errors import FitHubertError
from ..models.config import FitHubertConfig, parse_conv_layers
from ..models.fithubert import FitHubert
from ..settings.files import read_yaml
from .torch_files import read_torch
from .weights import build_model, conv_shapes, options_from_shapes, rename, used_weights

OFFICIAL_PREFIX = "student_model."
_HEAD = re.compile(r"(?:proj_head\.(\d+)|final_proj)\.(upsampler|lin_proj)\.(.+)")
# What the released models switch off; a file that switches it on is not this architecture.
_FIXED = {
    "extractor_mode": "default",
    "layer_type": "transformer",
    "layer_norm_first": False,
    "activation_fn": "gelu",
    "pos_conv_depth": 1,
    "crop_seq_to_multiple": 1,
    "tr_layer_type": "conv1d",
    "tr_layer_index": 0,
}
# The yaml's keys of what shapes tell.
_SHAPES = {
    "encoder_layers": "num_layers",
    "encoder_embed_dim": "embed_dim",
    "encoder_ffn_embed_dim": "ffn_dim",
    "conv_pos": "pos_conv_kernel",
    "conv_pos_groups": "pos_conv_groups",
}


def convert_official(
    ckpt: str | Path, model_config: str | Path | None, content: Mapping[str, Any] | None = None
) -> FitHubert:
    """Import an official Lightning `.ckpt` with its `.yaml`.

    The widths and depths, and which layers reuse the attention map of the one before, are read from the weights
    themselves; the yaml's `distiller` block says what no shape can tell (strides, attention heads, dropouts) and must
    not contradict them. The teacher's weights in the file and those of `weights.TRAINING_ONLY` are dropped; every other
    weight must find its place and every place its weight.
    """
    path = Path(ckpt)
    content = read_torch(path) if content is None else content
    state = content.get("state_dict", content)
    state = {name: tensor for name, tensor in state.items() if isinstance(tensor, Tensor)}
    if any(name.startswith(OFFICIAL_PREFIX) for name in state):
        state = {
            name.removeprefix(OFFICIAL_PREFIX): tensor
            for name, tensor in state.items()
            if name.startswith(OFFICIAL_PREFIX)
        }
    # a stripped ARMHuBERT keeps its last head as final_proj.lin_proj; STaRHuBERT's final_proj has no lin_proj
    heads = {name: tensor for name, tensor in state.items() if _HEAD.fullmatch(name)}
    state = used_weights({name: tensor for name, tensor in state.items() if name not in heads}, path) | heads
    _refuse_other_models(state, path)
    if model_config is None:
        raise FitHubertError(
            f"{path}: an official checkpoint keeps its config in a .yaml beside it; give that as model_config (-g)"
        )
    weights = rename(state, path, time_reduction="encoder.layers.0.weight" in state)
    config = _official_config(weights, read_yaml(model_config), model_config)
    return build_model(config, {_head_name(name, config): tensor for name, tensor in weights.items()}, path)


def _head_name(name: str, config: FitHubertConfig) -> str:
    """Our name of a prediction head's weight; other names stay."""
    match = _HEAD.fullmatch(name)
    if match is None:
        return name
    layer = int(match[1]) + 1 if match[1] and len(config.head_layers) > 1 else config.num_layers
    return f"heads.{layer}.{'upsample' if match[2] == 'upsampler' else 'linear'}.{match[3]}"


def _refuse_other_models(state: Mapping[str, Tensor], path: Path) -> None:
    needed = ("feature_extractor.conv_layers.0.0.weight", "encoder.layers.1.fc1.weight")
    missing = [name for name in needed if name not in state]
    if missing:
        raise FitHubertError(
            f"{path}: expected an official FitHuBERT checkpoint or one of its family, found no "
            f"{' nor '.join(missing)} among its {len(state)} weights (first: {min(state, default='none')})"
        )
    if "encoder.layers.0.weight" not in state and "encoder.layers.0.fc1.weight" not in state:
        raise FitHubertError(
            f"{path}: expected FitHuBERT's time-reduction convolution encoder.layers.0.weight or, as in ARMHuBERT, a "
            "transformer layer's encoder.layers.0.fc1.weight, found neither"
        )


def _official_config(weights: Mapping[str, Tensor], yaml: Mapping[str, Any], where: Any) -> FitHubertConfig:
    """Shapes give widths, kernels and depth; the yaml gives the rest and must agree with the shapes."""
    block = yaml.get("distiller")
    if not isinstance(block, Mapping):
        raise FitHubertError(f"{where}: expected a 'distiller' block, found keys {', '.join(map(str, yaml))}")
    for key, value in _FIXED.items():
        if key in block and block[key] != value:
            raise FitHubertError(f"{where}: distiller.{key}: expected {value!r}, found {block[key]!r}: not supported")

    conv_layers = _find_conv_layers(block, where)
    if [(dim, kernel) for dim, kernel, _ in conv_layers] != (shapes := conv_shapes(weights)):
        raise FitHubertError(f"{where}: conv layers {conv_layers} do not fit the checkpoint's {shapes}")

    if "pos_conv.weight_v" not in weights:
        raise FitHubertError(
            f"{where}: expected encoder.pos_conv.0.weight_v or encoder.pos_conv.0.parametrizations.weight.original1 in "
            "the checkpoint, found neither"
        )
    options: dict[str, Any] = dict(options_from_shapes(weights))
    expected = {key: options[name] for key, name in _SHAPES.items()}
    reduced = options["time_reduction"] > 1
    expected |= {"enable_tr_layer": reduced} | ({"tr_reduce_factor": options["time_reduction"]} if reduced else {})
    for key, value in expected.items():
        if key in block and block[key] != value:
            raise FitHubertError(
                f"{where}: distiller.{key}: expected {value}, as the checkpoint has it, found {block[key]}"
            )

    layers = options["num_layers"]
    head_layers = _find_head_layers(weights, layers, where)
    widths = [tensor.size(0) for name, tensor in weights.items() if name.endswith(".lin_proj.weight")]
    options |= {"head_dim": widths[-1]} if widths else {}
    for key in ("dropout_input", "dropout", "attention_dropout", "activation_dropout"):
        if block.get(key) is not None:
            options[key] = block[key]
    options |= {
        "conv_layers": conv_layers,
        "feature_projection": conv_layers[-1][0] != options["embed_dim"],
        "num_heads": _find_num_heads(block, where),
        "reuse_attention": _find_reuse(weights, layers, block, where),
        "head_layers": head_layers,
        # the authors' upstreams: projections where each layer has one, but FitHuBERT's layers
        "hidden_states": ["heads" if head_layers and not reduced else "layers"],
    }
    return FitHubertConfig.from_dict(options, str(where))


def _find_head_layers(weights: Mapping[str, Tensor], layers: int, where: Any) -> tuple[int, ...]:
    """Layers, from 1, with a projection."""
    heads = {match[1] for name in weights if (match := _HEAD.fullmatch(name))}
    if len(heads) == layers:
        return tuple(range(1, layers + 1))
    if len(heads) <= 1:  # stripped down to the last layer's head, under whatever number
        return (layers,) * len(heads)
    raise FitHubertError(f"{where}: expected 1 or {layers} proj_head entries, found {len(heads)}")


def _find_reuse(weights: Mapping[str, Tensor], layers: int, block: Mapping[str, Any], where: Any) -> tuple[int, ...]:
    """Layers, from 1, that have neither queries nor keys; the yaml's `reuse_pattern` must say the same."""
    own = [any(f"layers.{i}.attention.{part}.weight" in weights for part in ("qkv", "q", "k")) for i in range(layers)]
    if "reuse_pattern" in block:
        try:
            pattern = ast.literal_eval(str(block["reuse_pattern"]))  # data, never code
        except (ValueError, SyntaxError):
            pattern = block["reuse_pattern"]
        if pattern != own:
            raise FitHubertError(
                f"{where}: distiller.reuse_pattern: expected {own}, False for each layer of the checkpoint without "
                f"queries and keys, found {pattern}"
            )
    return tuple(i + 1 for i, has in enumerate(own) if not has)


def _find_conv_layers(block: Mapping[str, Any], where: Any) -> tuple[tuple[int, int, int], ...]:
    """The one value that reads as a list of (channels, kernel, stride), whatever its key's exact name."""
    for key, value in block.items():
        if "conv" in key and isinstance(value, str) and value.lstrip().startswith("["):
            return parse_conv_layers(value)
    raise FitHubertError(f"{where}: found no conv layers such as '[(128, 10, 5)] + ...' in the distiller block")


def _find_num_heads(block: Mapping[str, Any], where: Any) -> int:
    for key, value in block.items():
        if key.endswith("attention_heads"):
            return value
    raise FitHubertError(f"{where}: found no ...attention_heads in the distiller block")

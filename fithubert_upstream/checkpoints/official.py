"""The authors' release: a Lightning `.ckpt` with its `.yaml` (github.com/glory20h/FitHuBERT) as our own model."""

import logging
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
from .weights import build_model, conv_shapes, options_from_shapes, rename

logger = logging.getLogger(__name__)

OFFICIAL_PREFIX = "student_model."


def convert_official(
    ckpt: str | Path, model_config: str | Path | None, content: Mapping[str, Any] | None = None
) -> FitHubert:
    """Import an official FitHuBERT Lightning `.ckpt` with its `.yaml` (github glory20h/FitHuBERT).

    The widths and depths are read from the weights themselves; the yaml's `distiller` block says what no
    shape can tell: strides, attention heads, dropouts. The teacher's weights in the file are ignored and
    the top-level `upsampler`, which the official code never uses, is dropped; every other weight must find
    its place and every place its weight.
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
    _refuse_other_models(state, path)
    if model_config is None:
        raise FitHubertError(
            f"{path}: an official checkpoint keeps its config in a .yaml beside it; give that as model_config (-g)"
        )
    unused = [name for name in state if name.startswith("upsampler.")]
    if unused:
        logger.info("%s: dropping %s, which the official model never uses", path, ", ".join(unused))
    weights = rename({name: state[name] for name in state if name not in unused}, path, time_reduction=True)
    config = _official_config(weights, read_yaml(model_config), model_config)
    return build_model(config, {_head_name(name, config): tensor for name, tensor in weights.items()}, path)


def _head_name(name: str, config: FitHubertConfig) -> str:
    """Our name of a prediction head's weight; other names stay."""
    match = re.fullmatch(r"proj_head\.(\d+)\.(upsampler|lin_proj)\.(.+)", name)
    if match is None:
        return name
    layer = int(match[1]) + 1 if len(config.head_layers) > 1 else config.num_layers
    return f"heads.{layer}.{'upsample' if match[2] == 'upsampler' else 'linear'}.{match[3]}"


def _refuse_other_models(state: Mapping[str, Tensor], path: Path) -> None:
    needed = (
        "feature_extractor.conv_layers.0.0.weight",
        "post_extract_proj.weight",
        "encoder.layers.1.fc1.weight",
    )
    missing = [name for name in needed if name not in state]
    if missing:
        raise FitHubertError(
            f"{path}: expected an official FitHuBERT checkpoint, found no {' nor '.join(missing)} among its "
            f"{len(state)} weights (first: {min(state, default='none')})"
        )
    if "encoder.layers.0.weight" not in state:
        raise FitHubertError(
            f"{path}: expected FitHuBERT's time-reduction convolution encoder.layers.0.weight, found a transformer "
            "layer in its place: this is an ARMHuBERT- or HuBERT-style checkpoint, another architecture"
        )


def _official_config(weights: Mapping[str, Tensor], yaml: Mapping[str, Any], where: Any) -> FitHubertConfig:
    """Shapes give widths, kernels and depth; the yaml gives the rest and must agree with the shapes."""
    block = yaml.get("distiller")
    if not isinstance(block, Mapping):
        raise FitHubertError(f"{where}: expected a 'distiller' block, found keys {', '.join(map(str, yaml))}")
    # What the released models switch off; a file that switches it on is not this architecture.
    fixed = {
        "extractor_mode": "default",
        "layer_norm_first": False,
        "activation_fn": "gelu",
        "tr_layer_type": "conv1d",
        "tr_layer_index": 0,
    }
    for key, value in fixed.items():
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
    num_layers = options["num_layers"]
    heads = sorted({int(m[1]) for name in weights if (m := re.match(r"proj_head\.(\d+)\.", name))})
    if len(heads) == num_layers:
        head_layers = tuple(range(1, num_layers + 1))
    elif len(heads) <= 1:  # stripped down to the last layer's head, under whatever number
        head_layers = (num_layers,) * len(heads)
    else:
        raise FitHubertError(f"{where}: expected 1 or {num_layers} proj_head entries, found {len(heads)}")
    if heads:
        options["head_dim"] = weights[f"proj_head.{heads[-1]}.lin_proj.weight"].size(0)
    for key in ("dropout_input", "dropout", "attention_dropout", "activation_dropout"):
        if block.get(key) is not None:
            options[key] = block[key]
    options |= {"conv_layers": conv_layers, "num_heads": _find_num_heads(block, where), "head_layers": head_layers}
    return FitHubertConfig.from_dict(options, str(where))


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

"""DPHuBERT and DPWavLM (github.com/pyf98/DPHuBERT): pruned HuBERT and WavLM, torchaudio's names, the config inside."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from ..errors import FitHubertError
from ..models.config import FitHubertConfig
from ..models.fithubert import FitHubert
from ..settings.files import convert_all
from ..settings.values import boolean, whole
from .weights import build_model, rename, used_weights

# What both have; a config that says otherwise, such as that of a pruned Large, is of another architecture.
_FIXED = {
    "extractor_mode": "group_norm",
    "extractor_conv_bias": False,
    "encoder_layer_norm_first": False,
    "aux_num_out": None,
    "normalize_waveform": False,
}
# Their keys of what `FitHubertConfig` has under another name.
_SAME = {
    "conv_layers": "extractor_conv_layer_config",
    "embed_dim": "encoder_embed_dim",
    "pos_conv_kernel": "encoder_pos_conv_kernel",
    "pos_conv_groups": "encoder_pos_conv_groups",
    "num_layers": "encoder_num_layers",
    "dropout_input": "encoder_projection_dropout",
    "dropout": "encoder_dropout",
    "attention_dropout": "encoder_attention_dropout",
    "activation_dropout": "encoder_ff_interm_dropout",
}


def is_dphubert(content: Mapping[str, Any]) -> bool:
    """Whether a file's content is of this format."""
    config = content.get("config")
    return isinstance(config, Mapping) and "encoder_use_attention" in config and "state_dict" in content


def convert_dphubert(path: Path, content: Mapping[str, Any]) -> FitHubert:
    """The model in a DPHuBERT or DPWavLM `.pth`; `distill_linear_projs`, which only training used, is not read.

    Raises
    ------
    FitHubertError
        The config lacks a key, contradicts itself or is of another architecture, or the weights do not fit it.
    """
    weights = rename(used_weights(content["state_dict"], path), path)
    config = _model_config(content["config"], weights, f"{path}: config")
    return build_model(config, weights, path)


def _model_config(theirs: Mapping[str, Any], weights: Mapping[str, Tensor], where: str) -> FitHubertConfig:
    for key, value in _FIXED.items():
        if theirs.get(key, value) != value:
            raise FitHubertError(f"{where}: {key}: expected {value!r}, found {theirs[key]!r}: not supported")
    options = {ours: _get(theirs, key, where) for ours, key in _SAME.items()}
    layers = options["num_layers"]
    attends = _per_layer(theirs, "encoder_use_attention", layers, where, boolean)
    feeds = _per_layer(theirs, "encoder_use_feed_forward", layers, where, boolean)
    ffn_dims = _per_layer(theirs, "encoder_ff_interm_features", layers, where, whole)
    if "encoder_remaining_heads" in theirs:  # WavLM's
        kept = _per_layer(theirs, "encoder_remaining_heads", layers, where, _numbers)
        kept = [heads if use else [] for heads, use in zip(kept, attends, strict=True)]
        total = set(_per_layer(theirs, "encoder_total_num_heads", layers, where, whole))
        if len(total) != 1 or min(total) < 1:
            raise FitHubertError(f"{where}: encoder_total_num_heads: expected one number in all layers, found {total}")
        heads = [len(entry) for entry in kept]
        options |= {
            "head_width": whole(options["embed_dim"], f"{where}: encoder_embed_dim") // total.pop(),
            "position_buckets": _get(theirs, "encoder_num_buckets", where),
            "position_distance": _get(theirs, "encoder_max_distance", where),
            "kept_heads": kept,
        }
        if not attends[0]:
            raise FitHubertError(
                f"{where}: encoder_use_attention: expected True for the first layer, which holds the relative "
                f"positions, found {attends}"
            )
    else:
        heads = _per_layer(theirs, "encoder_num_heads", layers, where, whole)
        heads = [count if use else 0 for count, use in zip(heads, attends, strict=True)]
        options["head_width"] = _head_width(theirs, weights, heads, where)
    for layer, (use, count) in enumerate(zip(attends, heads, strict=True), start=1):
        if use and not count:
            raise FitHubertError(
                f"{where}: encoder_use_attention: expected False for layer {layer}, which has no heads"
            )
    return FitHubertConfig.from_dict(
        options
        | {
            "feature_scale": True,
            "time_reduction": 1,
            "num_heads": heads,
            "ffn_dim": [width if use else 0 for width, use in zip(ffn_dims, feeds, strict=True)],
            "head_layers": (),
            "hidden_states": ["projection", "layers"],  # what the authors' upstream gives
        },
        where,
    )


def _head_width(theirs: Mapping[str, Any], weights: Mapping[str, Tensor], heads: list[int], where: str) -> int:
    """Pruning took whole heads, whose width the config may name and the output projections tell."""
    if "encoder_head_dim" in theirs:
        return theirs["encoder_head_dim"]
    for i, count in enumerate(heads):
        if count and (name := f"layers.{i}.attention.out.weight") in weights:
            return weights[name].size(1) // count
    raise FitHubertError(
        f"{where}: expected encoder_head_dim, or a layer with attention to take it from, found neither"
    )


def _get(theirs: Mapping[str, Any], key: str, where: str) -> Any:
    if key not in theirs:
        raise FitHubertError(f"{where}: expected {key}, found {', '.join(sorted(map(str, theirs)))}")
    return theirs[key]


def _numbers(value: Any, where: str) -> list[int]:
    return list(convert_all((int, ...), value, where))


def _per_layer(
    theirs: Mapping[str, Any], key: str, layers: int, where: str, read: Callable[[Any, str], Any]
) -> list[Any]:
    value = _get(theirs, key, where)
    if not isinstance(value, list | tuple) or len(value) != layers:
        raise FitHubertError(f"{where}: {key}: expected a list for {layers} layers, found {value!r}")
    return [read(entry, f"{where}: {key}") for entry in value]

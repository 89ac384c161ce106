"""DistilHuBERT as s3prl's pretraining saves it: `Distiller` (weights in fairseq's names) and `Config`."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from ..errors import FitHubertError
from ..models.config import FitHubertConfig, parse_conv_layers
from ..models.fithubert import FitHubert
from ..settings.files import convert_all
from ..settings.values import whole
from .weights import build_model, conv_shapes, options_from_shapes, rename, used_weights

DISTILLER_KEY = "Distiller"
CONV_LAYERS = "[(512, 10, 5)] + [(512, 3, 2)] * 4 + [(512, 2, 2)] * 2"  # s3prl's default
NUM_HEADS = 12  # likewise
# What the released model has, which is s3prl's default; a config that says otherwise is of another architecture.
_FIXED = {
    "extractor_mode": "default",
    "layer_norm_first": False,
    "activation_fn": "gelu",
    "attention_type": "original",
    "task_emb_type": "expand-last",
    "out_layer_type": "expand-last",
}


def convert_distilhubert(path: Path, content: Mapping[str, Any]) -> FitHubert:
    """The model in s3prl's file; optimizer, arguments and step beside it are not read.

    Raises
    ------
    FitHubertError
        There is no readable config, it is of another architecture, or the weights do not fit it.
    """
    config = content.get("Config")
    block = config.get("distiller") if isinstance(config, Mapping) else None
    if not isinstance(block, Mapping):
        raise FitHubertError(f"{path}: expected Config with a distiller block beside {DISTILLER_KEY}, found none")
    where = f"{path}: Config: distiller"
    for key, value in _FIXED.items():
        if block.get(key, value) != value:
            raise FitHubertError(f"{where}.{key}: expected {value!r}, found {block[key]!r}: not supported")
    state = used_weights(content[DISTILLER_KEY], path)
    output = {name: tensor for name, tensor in state.items() if name.startswith("output_layer.")}
    weights = rename({name: tensor for name, tensor in state.items() if name not in output}, path)
    needed = ("feature_extractor.convs.0.weight", "pos_conv.weight_v", "layers.0.fc1.weight")
    missing = [name for name in needed if name not in weights]
    if missing:
        raise FitHubertError(
            f"{path}: expected DistilHuBERT's weights, found nothing for {' nor '.join(missing)} among {len(state)} "
            f"(first: {min(state, default='none')})"
        )
    conv_layers = parse_conv_layers(block.get("extractor_conv_feature_layers", CONV_LAYERS))
    if [(dim, kernel) for dim, kernel, _ in conv_layers] != (found := conv_shapes(weights)):
        raise FitHubertError(
            f"{where}.extractor_conv_feature_layers: {conv_layers} do not fit the checkpoint's {found}"
        )
    shapes = options_from_shapes(weights)
    tasks = whole(block.get("n_tasks", 12), f"{where}.n_tasks")
    predicted = convert_all((int, ...), block.get("pred_layer_id", list(range(1, tasks + 1))), f"{where}.pred_layer_id")
    heads, head_dim = _split_heads(output, predicted, shapes["embed_dim"], where)
    options = {
        "conv_layers": conv_layers,
        "feature_norm": False,
        "feature_projection": conv_layers[-1][0] != shapes["embed_dim"],
        "num_heads": block.get("encoder_attention_heads", NUM_HEADS),
        "head_kind": "prediction",
        "head_layers": predicted,
        "head_dim": head_dim,
        "hidden_states": ["projection", "layers", "heads"],  # what s3prl's upstream gives
        "dropout_input": 0.0,
    }
    dropouts = {key: block.get(key, 0.1) for key in ("dropout", "attention_dropout", "activation_dropout")}
    return build_model(FitHubertConfig.from_dict(shapes | options | dropouts, where), weights | heads, path)


def _split_heads(
    output: Mapping[str, Tensor], predicted: tuple[int, ...], dim: int, where: str
) -> tuple[dict[str, Tensor], int]:
    """Each predicted layer's part of the output layer, under our names, and the teacher's width.

    N layers share one matrix (N D, D), and a stack of N (D, W) behind it; a single one has a Linear (W, D).
    """
    count = len(predicted)
    single = "output_layer.2.layer" if count == 1 else "output_layer.2"
    names = [f"{part}.{kind}" for part in ("output_layer.0", single) for kind in ("weight", "bias")]
    if sorted(output) != sorted(names):
        raise FitHubertError(
            f"{where}.pred_layer_id {list(predicted)}: expected {', '.join(names)} in the checkpoint, found "
            f"{', '.join(output) or 'none'}"
        )
    hidden, hidden_bias, last, last_bias = (output[name] for name in names)
    if count == 1:
        last = last.T[None]
    if hidden.shape != (count * dim, dim) or last.shape[:2] != (count, dim):
        raise FitHubertError(
            f"{where}.pred_layer_id {list(predicted)}: expected an output layer of {count} x {dim} hidden units "
            f"(out_layer_inter_dim -1), found {tuple(hidden.shape)} and {tuple(last.shape)}"
        )
    heads = {}
    for place, layer in enumerate(predicted):
        rows = slice(place * dim, (place + 1) * dim)
        heads[f"heads.{layer}.hidden.weight"] = hidden[rows].clone()
        heads[f"heads.{layer}.hidden.bias"] = hidden_bias[rows].clone()
        heads[f"heads.{layer}.linear.weight"] = last[place].T.contiguous()
        heads[f"heads.{layer}.linear.bias"] = last_bias.reshape(count, -1)[place].clone()
    return heads, last.size(2)

"""Checkpoints of a student: our own file, the pretrain runner's states, and the authors' release.

Our own format is one safetensors file with the config in its metadata. Nothing here unpickles anything
but tensors and plain containers.
"""

import json
import logging
import re
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import safetensors
import torch
from safetensors.torch import save
from torch import Tensor, nn

from ..errors import FitHubertError
from ..files import atomic_path
from ..models.config import FitHubertConfig, parse_conv_layers
from ..models.fithubert import FitHubert
from ..settings.files import read_yaml
from .torch_files import misfit, read_torch

logger = logging.getLogger(__name__)

FORMAT = "fithubert"
STUDENT_KEY = "FitHubert"  # the student's place in the states that s3prl's pretrain runner saves
CONFIG_KEY = "FitHubert_Config"
OFFICIAL_PREFIX = "student_model."


def save_fithubert(model: FitHubert, path: str | Path) -> None:
    """Write config and weights into one safetensors file, under a temporary name first."""
    save_safetensors(model, path, {"format": FORMAT, "version": "1", "config": model.config.to_json()})


def save_safetensors(model: nn.Module, path: str | Path, metadata: dict[str, str]) -> None:
    """Write a model's weights and its metadata: the whole file or none, and the same bytes each time."""
    weights = {name: tensor.detach().cpu().contiguous() for name, tensor in model.state_dict().items()}
    content = with_sorted_metadata(save(weights, metadata))
    with atomic_path(path) as temporary:
        temporary.write_bytes(content)


def with_sorted_metadata(content: bytes) -> bytes:
    """A safetensors file with its metadata in alphabetical order; the library writes it in a random one.

    The file is the length of its header in 8 bytes, the header in JSON, filled up with spaces to a multiple of 8, and
    the tensors (https://github.com/huggingface/safetensors#format).
    """
    start = 8 + int.from_bytes(content[:8], "little")
    header = json.loads(content[8:start])
    header = {"__metadata__": dict(sorted(header.pop("__metadata__", {}).items())), **header}
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text + content[start:]


def load_checkpoint(ckpt: str | Path, model_config: str | Path | None = None) -> FitHubert:
    """Load a student from any of the three kinds of file, in eval mode on the CPU.

    Parameters
    ----------
    ckpt : our `.safetensors`; a `states-*.ckpt` of `fithubert pretrain`; or an official Lightning `.ckpt`.
    model_config : the official `.yaml`, needed for an official checkpoint only. For the others, whose
        config lies inside, it may repeat the student's config but not contradict it.

    Raises
    ------
    FitHubertError : the file is missing, truncated, of another format, or does not fit its config.
    """
    path = Path(ckpt)
    check_file(path)
    if zipfile.is_zipfile(path):
        content = read_torch(path)
        if STUDENT_KEY in content:
            config = FitHubertConfig.from_dict(content[CONFIG_KEY], str(path))
            model = build_model(config, content[STUDENT_KEY], path)
        else:
            return convert_official(path, model_config, content)
    else:
        model = _load_safetensors(path)
    if model_config is not None:
        block = read_yaml(model_config)
        given = FitHubertConfig.from_dict(block.get("student", block), str(model_config))
        if given.to_dict() | {"head_layers": None} != model.config.to_dict() | {"head_layers": None}:
            raise FitHubertError(
                f"{model_config}: contradicts the config inside {path}; leave -g out, the checkpoint is enough"
            )
    return model.eval()


def check_file(path: Path) -> None:
    """Raise FitHubertError unless there is such a file."""
    if not path.is_file():
        raise FitHubertError(f"{path}: expected a checkpoint file, found {'a folder' if path.is_dir() else 'nothing'}")


def read_safetensors(path: Path, expected: str) -> tuple[dict[str, str], dict[str, Tensor]]:
    """Metadata and weights. Raises FitHubertError, which says what was `expected`, for anything else."""
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            weights = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a dict)
            return file.metadata() or {}, weights
    except (safetensors.SafetensorError, OSError) as error:
        raise FitHubertError(
            f"{path}: expected {expected}, found a truncated file or another format ({error})"
        ) from error


def _load_safetensors(path: Path) -> FitHubert:
    metadata, weights = read_safetensors(path, "a .safetensors student, a states-*.ckpt or an official .ckpt")
    if metadata.get("format") != FORMAT or "config" not in metadata:
        raise FitHubertError(
            f"{path}: not a FitHuBERT student: no student config in the safetensors metadata; "
            f"its first weight is {min(weights, default='missing')!r}"
        )
    return build_model(FitHubertConfig.from_json(metadata["config"], str(path)), weights, path)


def build_model(config: FitHubertConfig, weights: Mapping[str, Tensor], path: Path) -> FitHubert:
    """A model with exactly these weights: none missing, none left over, all shapes alike."""
    with torch.device("meta"):
        model = FitHubert(config)
    fill_weights(model, weights, path)
    return model.eval()


def fill_weights(model: nn.Module, weights: Mapping[str, Tensor], path: Path) -> None:
    """Load weights into a meta-device model. Raises if a weight is missing, unexpected or of another shape."""
    if found := misfit(model.state_dict(), weights):
        raise FitHubertError(f"{path}: weights do not fit the config: {found}")
    model.load_state_dict({name: tensor.float() for name, tensor in weights.items()}, assign=True)


# --- the authors' release ---------------------------------------------------------------------------


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
    config = _official_config(state, read_yaml(model_config), model_config)
    unused = [name for name in state if name.startswith("upsampler.")]
    if unused:
        logger.info("%s: dropping %s, which the official model never uses", path, ", ".join(unused))
    weights = _rename_official({name: state[name] for name in state if name not in unused}, config)
    return build_model(config, weights, path)


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


def _official_config(state: Mapping[str, Tensor], yaml: Mapping[str, Any], where: Any) -> FitHubertConfig:
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

    conv_shapes: list[tuple[int, int]] = []  # (channels, kernel) of each convolution
    while (name := f"feature_extractor.conv_layers.{len(conv_shapes)}.0.weight") in state:
        conv_shapes.append((state[name].shape[0], state[name].shape[2]))
    conv_layers = _find_conv_layers(block, where)
    if [(dim, kernel) for dim, kernel, _ in conv_layers] != conv_shapes:
        raise FitHubertError(f"{where}: conv layers {conv_layers} do not fit the checkpoint's {conv_shapes}")

    num_layers = max(int(m[1]) for name in state if (m := re.match(r"encoder\.layers\.(\d+)\.", name)))
    heads = sorted({int(m[1]) for name in state if (m := re.match(r"proj_head\.(\d+)\.", name))})
    if len(heads) == num_layers:
        head_layers = tuple(range(1, num_layers + 1))
    elif len(heads) <= 1:  # stripped down to the last layer's head, under whatever number
        head_layers = (num_layers,) * len(heads)
    else:
        raise FitHubertError(f"{where}: expected 1 or {num_layers} proj_head entries, found {len(heads)}")

    pos_conv = next((state[name] for name in _POS_CONV_WEIGHTS if name in state), None)
    if pos_conv is None:
        raise FitHubertError(f"{where}: expected {' or '.join(_POS_CONV_WEIGHTS)} in the checkpoint, found neither")
    embed_dim = state["post_extract_proj.weight"].shape[0]
    options = {
        "dropout_input": block.get("dropout_input"),
        "dropout": block.get("dropout"),
        "attention_dropout": block.get("attention_dropout"),
        "activation_dropout": block.get("activation_dropout"),
        "head_dim": state[f"proj_head.{heads[-1]}.lin_proj.weight"].shape[0] if heads else None,
    }
    return FitHubertConfig.from_dict(
        {
            "conv_layers": conv_layers,
            "embed_dim": embed_dim,
            "pos_conv_kernel": pos_conv.shape[2],
            "pos_conv_groups": embed_dim // pos_conv.shape[1],
            "time_reduction": state["encoder.layers.0.weight"].shape[2],
            "num_layers": num_layers,
            "ffn_dim": state["encoder.layers.1.fc1.weight"].shape[0],
            "num_heads": _find_num_heads(block, where),
            "head_layers": head_layers,
            **{key: value for key, value in options.items() if value is not None},
        },
        str(where),
    )


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


_POS_CONV_WEIGHTS = ("encoder.pos_conv.0.weight_v", "encoder.pos_conv.0.parametrizations.weight.original1")
_LAYER_NAMES = {
    "self_attn.out_proj": "attention.out",
    "self_attn_layer_norm": "attention_norm",
    "fc1": "fc1",
    "fc2": "fc2",
    "final_layer_norm": "ffn_norm",
}
_TOP_NAMES = {
    "feature_extractor.conv_layers.0.2": "feature_extractor.norm",
    "layer_norm": "feature_norm",
    "post_extract_proj": "feature_projection",
    "encoder.pos_conv.0": "pos_conv",
    "encoder.layers.0": "time_reduction",
    "encoder.layer_norm": "encoder_norm",
}


def _rename_official(state: Mapping[str, Tensor], config: FitHubertConfig) -> dict[str, Tensor]:
    """Official names -> ours. A name that is not known stays as it is, and is reported as unexpected."""
    state = dict(state)
    for i in range(1, config.num_layers + 1):  # three projections become one
        for kind in ("weight", "bias"):
            names = [f"encoder.layers.{i}.self_attn.{which}_proj.{kind}" for which in "qkv"]
            if all(name in state for name in names):
                state[f"layers.{i - 1}.attention.qkv.{kind}"] = torch.cat([state.pop(name) for name in names])
    return {_rename(name, config): tensor for name, tensor in state.items()}


def _rename(name: str, config: FitHubertConfig) -> str:
    name = name.replace(".parametrizations.weight.original0", ".weight_g")
    name = name.replace(".parametrizations.weight.original1", ".weight_v")
    module, _, kind = name.rpartition(".")
    if module in _TOP_NAMES:
        return f"{_TOP_NAMES[module]}.{kind}"
    if match := re.fullmatch(r"feature_extractor\.conv_layers\.(\d+)\.0", module):
        return f"feature_extractor.convs.{match[1]}.{kind}"
    if match := re.fullmatch(r"encoder\.layers\.(\d+)\.(.+)", module):
        if match[2] in _LAYER_NAMES:
            return f"layers.{int(match[1]) - 1}.{_LAYER_NAMES[match[2]]}.{kind}"
    if match := re.fullmatch(r"proj_head\.(\d+)\.(upsampler|lin_proj)", module):
        layer = int(match[1]) + 1 if len(config.head_layers) > 1 else config.num_layers
        return f"heads.{layer}.{'upsample' if match[2] == 'upsampler' else 'linear'}.{kind}"
    return name

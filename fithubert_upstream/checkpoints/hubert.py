"""HuBERT Base and wav2vec 2.0 Base as our own model, whatever file the weights came in.

Four containers, two families of names (facts: fairseq's and s3prl's, transformers' and torchaudio's), one
architecture: `FitHubert` without time reduction and without heads. Every weight must find its place and
every place its weight, but for a short list of what only the pretraining or a fine-tuning task used.

Widths, kernels and depth are read from the weights. Strides and attention heads, which no shape can tell,
are read from the config in the container. The input is the plain waveform, as HuBERT Base and wav2vec 2.0
Base were trained: a `preprocessor_config.json` that says otherwise is not looked at.
"""

import argparse
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple, cast

import safetensors
from safetensors.torch import load_file
from torch import Tensor

from ..errors import FitHubertError
from ..models.config import FitHubertConfig, parse_conv_layers
from ..models.fithubert import FitHubert
from .torch_files import Inert, InertUnpickler, read_torch
from .weights import build_model, conv_shapes, options_from_shapes, rename

# What a Base type has, by the names of transformers and of fairseq. A config that says otherwise is
# refused; one that says nothing has the default of its library, which is this.
BASE = {
    "feat_extract_norm": "group",
    "do_stable_layer_norm": False,
    "feat_proj_layer_norm": True,
    "conv_pos_batch_norm": False,
    "feat_extract_activation": "gelu",
    "hidden_act": "gelu",
    "layer_norm_eps": 1e-5,
    "conv_bias": False,
    "extractor_mode": "default",
    "layer_norm_first": False,
    "activation_fn": "gelu",
    "layer_type": "transformer",
    "pos_conv_depth": 1,
    "normalize": False,
}
STRIDES = (5, 2, 2, 2, 2, 2, 2)
HEAD_WIDTH = 64  # of every published HuBERT and wav2vec 2.0

# First words of the names that no transformer layer needs: masking, pretraining targets, task heads.
UNUSED = frozenset(
    "mask_emb masked_spec_embed final_proj label_embs_concat quantizer project_q project_hid "
    "lm_head proj aux projector classifier layer_weights".split()
)

MASK_VECTORS = ("mask_emb", "masked_spec_embed")  # fairseq's and s3prl's name, transformers'

_WRAPPERS = re.compile(r"^(hubert\.|wav2vec2\.|w2v_encoder\.)?(w2v_model\.)?")  # around a fine-tuned model's
_LARGE = re.compile(r"feature_extractor\.conv_layers\.([1-9]\d*\.(layer_norm|2\.1)\.|\d+\.(conv|0)\.bias)")


class Hubert(NamedTuple):
    """A model, and the vector (D,) that its pretraining put in the place of masked frames, where the file has it."""

    model: FitHubert
    mask_vector: Tensor | None


def from_transformers(model: str, config: Mapping[str, Any]) -> Hubert:
    """The model in a transformers directory or under a hub id; `config` is its config.json."""
    from transformers.utils import cached_file

    check_base(config, model)
    for name in ("model.safetensors", "pytorch_model.bin"):
        try:
            path = Path(cast(str, cached_file(model, name)))  # which raises OSError where there is none
            break
        except OSError as error:
            reason = " ".join(str(error).split())
    else:
        raise FitHubertError(f"{model}: expected model.safetensors or pytorch_model.bin, found neither: {reason}")
    if path.suffix != ".safetensors":
        return from_state(read_torch(path, _ConfigUnpickler), config, path)
    try:
        return from_state(load_file(path), config, path)
    except (safetensors.SafetensorError, OSError) as error:
        raise FitHubertError(f"{path}: truncated or not a safetensors file ({error})") from error


def from_file(path: str | Path) -> Hubert:
    """The model in a fairseq `.pt`, an s3prl converted `.pt` or torchaudio's `.pth`.

    None of the three libraries is needed, and nothing that the file names is run.

    Raises
    ------
    FitHubertError
        The file is missing, damaged, none of the three, or not of a Base type.
    """
    return from_state(*read_file(path), path)


def from_s3prl(upstream: Any, where: str) -> Hubert | None:
    """The model inside an s3prl HuBERT or wav2vec 2.0 upstream; None for any other upstream."""
    from s3prl.upstream.hubert.hubert_model import HubertModel
    from s3prl.upstream.wav2vec2.wav2vec2_model import TransformerSentenceEncoderLayer, Wav2Vec2Model

    model = getattr(upstream, "model", None)
    if not isinstance(model, HubertModel | Wav2Vec2Model):
        return None
    layer = model.encoder.layers[0]
    if not isinstance(layer, TransformerSentenceEncoderLayer):  # a conformer
        return None
    config = {
        "normalize": upstream.wav_normalize if hasattr(upstream, "wav_normalize") else upstream.task_cfg.normalize,
        "layer_norm_first": model.encoder.layer_norm_first,
        "activation_fn": layer.activation_fn.__name__,
        "encoder_attention_heads": layer.self_attn.num_heads,
        "conv_stride": [block[0].stride[0] for block in model.feature_extractor.conv_layers],
    }
    return from_state(model.state_dict(), config, where)


def from_state(state: Mapping[str, Any], config: Mapping[str, Any], where: str | Path) -> Hubert:
    """A `FitHubert` with the weights of a HuBERT or wav2vec 2.0 under any container's names.

    Parameters
    ----------
    state : mapping
        Name -> tensor, in the names of fairseq, s3prl, torchaudio or transformers.
    config : mapping
        The container's own, flat; empty where it has none.
    where : str or path
        What an error calls it.

    Raises
    ------
    FitHubertError
        Not a Base type, or a weight is missing, left over or of another shape.
    """
    check_base(config, where)
    large = next((name for name in state if _LARGE.search(name)), None)
    if large is not None:
        raise FitHubertError(f"{where}: {_ONLY_BASE}, found {large}, as Large types have it")
    used = {name: tensor for name, tensor in state.items() if isinstance(tensor, Tensor) and not is_unused(name)}
    weights = rename({_WRAPPERS.sub("", name): tensor for name, tensor in used.items()}, where)
    needed = ("feature_extractor.convs.0.weight", "feature_projection.weight", "pos_conv.weight_v")
    missing = [name for name in (*needed, "layers.0.fc1.weight") if name not in weights]
    if missing:
        raise FitHubertError(
            f"{where}: expected the weights of HuBERT or wav2vec 2.0, found nothing for {' nor '.join(missing)} "
            f"among {len(state)} entries (first: {min(state, default='none')})"
        )
    model = build_model(_model_config(weights, config, where), weights, Path(where))
    found = [tensor for name, tensor in state.items() if _WRAPPERS.sub("", name) in MASK_VECTORS]
    vector = next((tensor for tensor in found if tensor.shape == (model.config.embed_dim,)), None)
    return Hubert(model, None if vector is None else vector.detach().float())


def check_base(config: Mapping[str, Any], where: str | Path) -> None:
    """Raises FitHubertError when a container's config is not that of a Base type."""
    for key, value in BASE.items():
        if key in config and config[key] != value:
            raise FitHubertError(f"{where}: {_ONLY_BASE}: expected {key} {value!r}, found {config[key]!r}")


_ONLY_BASE = "only Base types (one GroupNorm, no convolution bias, post-LN layers) are supported as teachers"


def is_unused(name: str) -> bool:
    """Whether a weight belongs to what only the pretraining or a fine-tuning task needs."""
    return _WRAPPERS.sub("", name).split(".")[0] in UNUSED


def _model_config(weights: Mapping[str, Tensor], config: Mapping[str, Any], where: str | Path) -> FitHubertConfig:
    convs, strides = conv_shapes(weights), _strides(config)
    if len(strides) != len(convs):
        raise FitHubertError(f"{where}: expected a stride for each of {len(convs)} convolutions, found {strides}")
    heads = config.get("num_attention_heads", config.get("encoder_attention_heads"))
    if heads is None and config:
        raise FitHubertError(f"{where}: expected the number of attention heads in its config, found none")
    shapes = options_from_shapes(weights)
    return FitHubertConfig.from_dict(
        {
            "conv_layers": [(*conv, stride) for conv, stride in zip(convs, strides, strict=True)],
            "num_heads": heads or max(shapes["embed_dim"] // HEAD_WIDTH, 1),
            "head_layers": (),
            **shapes,
        },
        str(where),
    )


def _strides(config: Mapping[str, Any]) -> tuple[int, ...]:
    if "conv_stride" in config:  # transformers
        return tuple(config["conv_stride"])
    if "conv_feature_layers" in config:  # fairseq
        return tuple(stride for _, _, stride in parse_conv_layers(config["conv_feature_layers"]))
    return STRIDES


# --- files of torch.save ------------------------------------------------------------------------------


def read_file(path: str | Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """(weights, flat config) of a fairseq, s3prl or torchaudio file, told apart by what is in it."""
    path = Path(path)
    if not path.is_file():
        raise FitHubertError(
            f"{path}: expected a teacher's .pt or .pth, found {'a folder' if path.is_dir() else 'none'}"
        )
    content = read_torch(path, _ConfigUnpickler)
    if isinstance(content.get("model_weight"), Mapping):  # s3prl
        config = {"task": content.get("task_cfg"), "model": content.get("model_cfg")}
        return dict(content["model_weight"]), _flat(config)
    if isinstance(content.get("model"), Mapping):  # fairseq; before 0.10.2 it had args instead of cfg
        config = _flat(content.get("cfg") or content.get("args"))
        if not config:
            raise FitHubertError(f"{path}: expected a cfg or args that can be read beside the weights, found none")
        return dict(content["model"]), config
    if any(isinstance(entry, Tensor) for entry in content.values()):  # torchaudio
        return content, {}
    raise FitHubertError(
        f"{path}: expected fairseq's cfg and model, s3prl's model_cfg and model_weight or torchaudio's weights, "
        f"found {', '.join(map(str, content)) or 'an empty file'}"
    )


def _flat(config: Any) -> dict[str, Any]:
    """One level of plain values: a task's and a model's config, beneath them that of the model fine-tuned."""
    config = _plain(config)
    if not isinstance(config, Mapping):
        return {}
    if isinstance(config.get("model"), Mapping):
        config = _flat(config["model"]) | _flat(config.get("task"))
    return _flat(config.get("w2v_args")) | {key: value for key, value in config.items() if value is not None}


def _plain(value: Any) -> Any:
    """What an object that stood in the way of `weights_only` holds: a Namespace, omegaconf's nodes, an enum."""
    if isinstance(value, argparse.Namespace):
        return vars(value)
    if isinstance(value, Mapping):
        return {_plain(key): _plain(entry) for key, entry in value.items()}
    if isinstance(value, _Kept):
        if isinstance(value.state, Mapping):
            return _plain(next((value.state[key] for key in ("_content", "_val") if key in value.state), None))
        return value.args[0] if value.args else None
    return value


class _Kept(Inert):
    """Stands in for a class like `Inert`, and remembers what the file gave it: a config may lie in there."""

    state: Any = None
    args: tuple = ()

    def __init__(self, *args: Any, **kwargs: Any):
        self.args = args

    def __setstate__(self, state: Any) -> None:
        self.state = state


class _ConfigUnpickler(InertUnpickler):
    ALLOWED = InertUnpickler.ALLOWED | {("argparse", "Namespace")}

    def find_class(self, module: str, name: str) -> Any:
        found = super().find_class(module, name)
        return _Kept if found is Inert else found

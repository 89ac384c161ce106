"""A student's weights under the names of `FitHubertModel`, and back.

The names are the student's own behind `student.`; only the projections of attention and the weight norm have others
(`student`).
"""

import re
from collections.abc import Mapping

import torch
from torch import Tensor

from ..errors import FitHubertError
from ..models.fithubert import FitHubert
from .configuration import FitHubertModelConfig
from .modeling import FitHubertModel

PREFIX = "student."
_NORM = {"pos_conv.weight_g": "pos_conv.gain", "pos_conv.weight_v": "pos_conv.direction"}
_PARTS = {"qkv": ("q_proj", "k_proj", "v_proj"), "v": ("v_proj",), "out": ("out_proj",)}
_OURS = re.compile(r"(layers\.\d+\.attention\.)(qkv|v|out)\.(weight|bias)")
_THEIRS = re.compile(r"(layers\.\d+\.attention\.)(qkv|v|out)\.(\w+_proj)\.(weight|bias)")


def to_hub_names(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Weights of a `FitHubert` under the names of `FitHubertModel`."""
    weights: dict[str, Tensor] = {}
    for name, tensor in state.items():
        if match := _OURS.fullmatch(name):
            place, kind, end = match.groups()
            for part, rows in zip(_PARTS[kind], tensor.chunk(len(_PARTS[kind])), strict=True):
                weights[f"{PREFIX}{place}{kind}.{part}.{end}"] = rows.contiguous()
        else:
            weights[PREFIX + _NORM.get(name, name)] = tensor
    return weights


def to_our_names(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Weights of a `FitHubertModel` under the names of `FitHubert`."""
    weights: dict[str, Tensor] = {}
    norm = {theirs: ours for ours, theirs in _NORM.items()}
    for name, tensor in state.items():
        name = name.removeprefix(PREFIX)
        if match := _THEIRS.fullmatch(name):
            place, kind, part, end = match.groups()
            name = f"{place}{kind}.{end}"
            if part == _PARTS[kind][0]:
                parts = [state[f"{PREFIX}{place}{kind}.{other}.{end}"] for other in _PARTS[kind]]
                weights[name] = torch.cat(parts)
        else:
            weights[norm.get(name, name)] = tensor
    return weights


def from_student(student: FitHubert) -> FitHubertModel:
    """A `FitHubertModel` with copies of a student's weights, in eval mode."""
    model = FitHubertModel(FitHubertModelConfig.of(student.config))
    model.load_state_dict(to_hub_names(student.state_dict()))
    return model.eval()


def to_student(model: torch.nn.Module) -> FitHubert:
    """The student inside a `FitHubertModel`, or inside one with a head on it, in fp32 and in eval mode.

    `save_fithubert` writes it. LoRA's layers are merged into the others first: `peft_model.merge_and_unload()`.

    Raises
    ------
    FitHubertError
        It is another model, or one that LoRA's layers are still in.
    """
    base = getattr(model, "base_model", model)
    if type(base).__name__ != "FitHubertModel":
        raise FitHubertError(
            f"expected a FitHubertModel or one with a head, found {type(model).__name__}; of peft's, give "
            "merge_and_unload()"
        )
    student = FitHubert(base.config.student())
    student.load_state_dict({name: tensor.float() for name, tensor in to_our_names(base.state_dict()).items()})
    return student.eval()

"""The student that pruning begins with, and what is compared of it and its teacher."""

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor, nn

from ..errors import FitHubertError
from ..models.fithubert import FitHubert
from ..teachers.teachers import HubertTeacher, Teacher
from .shrink import OpenNorm

STATES = ("projection", "layers")  # what DPHuBERT's upstream gives


class States(nn.Module):
    """A model's layers from 0 on, of which 0 is what it projects for the positional convolution (DPHuBERT's)."""

    def __init__(self, model: FitHubert):
        super().__init__()
        self.model = model

    def forward(self, waveforms: Tensor, lengths: Tensor | None = None) -> tuple[list[Tensor], Tensor]:
        """(B, T) and (B,) samples, None when nothing is padded -> 1 + N of (B, L, D), and (B,) valid frames."""
        x, frames, padded = self.model.extract(waveforms, lengths)
        return [x, *self.model.transform(x, frames if padded else None).layers], frames


class Maps(nn.Module):
    """Linear maps from the student's layers to the teacher's, which begin as identity: one for layer 0, one for all
    others."""

    def __init__(self, layers: Sequence[int], dim: int):
        super().__init__()
        self.layers = tuple(layers)
        self.maps = nn.ModuleDict({self._name(layer): nn.Linear(dim, dim) for layer in layers})
        for linear in self.maps.values():
            nn.init.eye_(linear.weight)
            nn.init.zeros_(linear.bias)

    @staticmethod
    def _name(layer: int) -> str:
        return "layer" if layer else "projection"

    def forward(self, states: Sequence[Tensor]) -> list[Tensor]:
        """What `States` gives -> one (B, L, D) for each of `layers`."""
        return [self.maps[self._name(layer)](states[layer]) for layer in self.layers]


def teacher_model(teacher: Teacher) -> FitHubert:
    """The teacher as our model, which gates can be put into.

    Raises
    ------
    FitHubertError
        It is no HuBERT or wav2vec 2.0, or one with parts that are not pruned.
    """
    expected = f"teacher {teacher.name}: expected HuBERT or wav2vec 2.0, which can be pruned, found "
    if not isinstance(teacher, HubertTeacher):
        raise FitHubertError(f"{expected}{type(teacher).__name__}; choose such a teacher, or `fithubert distill`")
    config = teacher.model.config
    unfit = {
        "position_buckets": config.position_buckets is not None,
        "reuse_attention": bool(config.reuse_attention),
        "feature_projection: false": not config.feature_projection,
    }
    for name, found in unfit.items():
        if found:
            raise FitHubertError(f"{expected}{name}; choose another teacher")
    return teacher.model


def copy_of(model: FitHubert) -> FitHubert:
    """A student with the teacher's weights, ready for gates: with `feature_scale`, and a norm over open channels."""
    config = replace(model.config, feature_scale=True, head_layers=(), hidden_states=STATES)
    student = FitHubert(config)
    weights = {name: weight.clone() for name, weight in model.state_dict().items() if not name.startswith("heads.")}
    student.load_state_dict({"feature_scale": torch.ones(config.conv_layers[-1][0])} | weights)
    if isinstance(student.feature_norm, nn.LayerNorm):
        student.feature_norm = OpenNorm(student.feature_norm)
    return student

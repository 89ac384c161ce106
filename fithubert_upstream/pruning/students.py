"""The student that pruning begins with, and what is compared of it and its teacher."""

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor, nn

from ..errors import FitHubertError
from ..models.fithubert import FitHubert, fit_frames
from ..teachers.teachers import HubertTeacher, Teacher
from .shrink import OpenNorm

STATES = ("projection", "layers")  # what DPHuBERT's upstream gives


class States(nn.Module):
    """A model's layers from 0 on, of which 0 is what it projects for the positional convolution (DPHuBERT's)."""

    def __init__(self, model: FitHubert):
        super().__init__()
        self.model = model

    def forward(self, waveforms: Tensor, lengths: Tensor | None = None) -> tuple[list[Tensor], Tensor]:
        """(B, T) and (B,) samples, None when nothing is padded -> 1 + N of (B, L, D), and (B,) valid frames.

        With time reduction, all but layer 0 are (B, M, D), as `FitHubert.encode` gives them.
        """
        x, frames, padded = self.model.extract(waveforms, lengths)
        return [x, *self.model.transform(x, frames if padded else None).layers], frames


class Maps(nn.Module):
    """Linear maps from the student's layers to the teacher's, which begin as identity: one for layer 0, one for all
    others. With time reduction those have one for each of the teacher's frames in a frame of the student's."""

    def __init__(self, layers: Sequence[int], dim: int, time_reduction: int = 1):
        super().__init__()
        self.layers, self.time_reduction = tuple(layers), time_reduction
        rates = {self._name(layer): time_reduction if layer else 1 for layer in layers}
        self.maps = nn.ModuleDict({name: nn.Linear(dim, rate * dim) for name, rate in rates.items()})
        for name, linear in self.maps.items():
            linear.weight.data = torch.eye(dim).repeat(rates[name], 1)  # (r D, D)
            nn.init.zeros_(linear.bias)

    @staticmethod
    def _name(layer: int) -> str:
        return "layer" if layer else "projection"

    def forward(self, states: Sequence[Tensor], frames: Tensor) -> list[Tensor]:
        """What `States` gives -> one (B, L, D) for each of `layers`."""
        return [self._map(layer, states[layer], frames) for layer in self.layers]

    def _map(self, layer: int, state: Tensor, frames: Tensor) -> Tensor:
        mapped, rate = self.maps[self._name(layer)](state), self.time_reduction
        if rate == 1 or layer == 0:
            return mapped
        mapped = mapped.view(len(mapped), -1, state.size(2))  # (B, M, r D) -> (B, r M, D)
        return fit_frames(mapped, frames // rate * rate, frames)


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


def copy_of(model: FitHubert, time_reduction: int = 1, hidden_states: tuple[str, ...] = STATES) -> FitHubert:
    """A student with the teacher's weights, ready for gates: with `feature_scale`, and a norm over open channels.

    Time reduction begins as the mean of the frames that become one. Layer 0, which has more frames than the others, is
    no hidden state then, whatever `hidden_states` says.
    """
    config = replace(
        model.config,
        feature_scale=True,
        time_reduction=time_reduction,
        head_layers=(),
        hidden_states=hidden_states if time_reduction == 1 else ("layers",),
    )
    student = FitHubert(config)
    begin = {"feature_scale": torch.ones(config.conv_layers[-1][0])}
    if time_reduction > 1:
        mean = torch.eye(config.embed_dim)[:, :, None].repeat(1, 1, time_reduction) / time_reduction  # (D, D, r)
        begin |= {"time_reduction.weight": mean, "time_reduction.bias": torch.zeros(config.embed_dim)}
    weights = {name: weight.clone() for name, weight in model.state_dict().items() if not name.startswith("heads.")}
    student.load_state_dict(begin | weights)
    if isinstance(student.feature_norm, nn.LayerNorm):
        student.feature_norm = OpenNorm(student.feature_norm)
    return student

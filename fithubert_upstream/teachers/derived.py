"""Teachers made of another one's layers: with its input, by a layer's clusters, by the means of groups of layers."""

from collections.abc import Sequence

import torch
from torch import Tensor

from ..errors import FitHubertError
from .teacher import HubertTeacher, Teacher

MOST_CLUSTERS = 2048  # float16, in which layers are kept on disk, holds every whole number up to this one


class InputTeacher(Teacher):
    """HuBERT or wav2vec 2.0 with one layer more, its first: the features that positions are added to (STaRHuBERT)."""

    def __init__(self, teacher: HubertTeacher):
        super().__init__()
        self.source = teacher
        self.name, self.num_layers, self.width = teacher.name, teacher.num_layers + 1, teacher.width

    @torch.no_grad()
    def forward(self, waveforms: Tensor, lengths: Tensor | None = None, depth: int | None = None) -> list[Tensor]:
        return self.source.with_input(waveforms, lengths, None if depth is None else depth - 1)


class ClusterTeacher(Teacher):
    """The number of the nearest of some centers to each frame of a layer: one layer (B, L, 1), as floats.

    Past an utterance's end it is that of the zero vector.
    """

    def __init__(self, teacher: Teacher, layer: int, centers: Tensor):
        """layer : counted from 1. centers : (K, D)."""
        super().__init__()
        self.source, self.layer = teacher, layer
        self.name, self.num_layers, self.width = f"{teacher.name}, {len(centers)} clusters of layer {layer}", 1, 1
        self.centers: Tensor
        self.register_buffer("centers", centers)  # among the weights, which tell one teacher from another

    @torch.no_grad()
    def forward(self, waveforms: Tensor, lengths: Tensor | None = None, depth: int | None = None) -> list[Tensor]:
        features = self.source(waveforms, lengths, self.layer)[-1].float()  # (B, L, D)
        with torch.autocast(features.device.type, enabled=False):
            closeness = features @ self.centers.T - self.centers.square().sum(1) / 2  # (B, L, K)
        return [closeness.argmax(2, keepdim=True).float()]


class GroupTeacher(Teacher):
    """The means of groups of another teacher's layers, one layer for each group (SKILL)."""

    def __init__(self, teacher: Teacher, groups: Sequence[Sequence[int]]):
        """groups : layers, counted from 1.

        Raises
        ------
        FitHubertError
            The teacher has no such layer, or none of several layers.
        """
        super().__init__()
        deepest = max(map(max, groups))
        if teacher.pooled or deepest > teacher.num_layers:
            raise FitHubertError(
                f"teacher {teacher.name}: expected groups of its layers 1 to {teacher.num_layers}, found "
                f"{[list(group) for group in groups]}"
            )
        self.source = teacher
        self.groups = [list(group) for group in groups]
        self.name, self.num_layers, self.width = teacher.name, len(groups), teacher.width
        members = torch.zeros(len(groups), teacher.num_layers, dtype=torch.bool)
        for row, group in zip(members, self.groups, strict=True):
            row[[layer - 1 for layer in group]] = True
        self.register_buffer("members", members)  # among the weights, which tell one teacher from another

    @torch.no_grad()
    def forward(self, waveforms: Tensor, lengths: Tensor | None = None, depth: int | None = None) -> list[Tensor]:
        groups = self.groups[:depth]
        layers = self.source(waveforms, lengths, max(map(max, groups)))
        return [torch.stack([layers[layer - 1] for layer in group]).mean(0) for group in groups]

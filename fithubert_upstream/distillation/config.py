"""The file behind `-g`: student, teachers and loss."""

from collections.abc import Mapping
from dataclasses import MISSING, dataclass, field, fields
from pathlib import Path
from typing import Any

from ..errors import expect
from ..models.config import FitHubertConfig
from ..settings.files import from_dict, read_yaml, to_dict
from ..teachers.config import TeacherConfig
from ..teachers.derived import MOST_CLUSTERS
from .losses import ERRORS
from .objectives.masks import MaskConfig

KINDS = ("masked", "gram", "clusters")  # beside ERRORS


@dataclass(frozen=True)
class ClusterConfig:
    """What `clusters` predicts: `number` clusters (k-means) of the teacher's layer `layer`, counted from 1.

    The loss counts masked frames, and others `unmasked_weight` times; HuBERT's is 0.
    """

    layer: int = 9
    number: int = 500
    unmasked_weight: float = 0.0

    def __post_init__(self) -> None:
        expect(self.layer >= 1, "clusters.layer of at least 1", self.layer)
        expect(2 <= self.number <= MOST_CLUSTERS, f"clusters.number of 2 to {MOST_CLUSTERS}", self.number)
        expect(0 <= self.unmasked_weight < float("inf"), "clusters.unmasked_weight of at least 0", self.unmasked_weight)


@dataclass(frozen=True)
class LossConfig:
    """What is learned, and how far from it the student is (`objectives`).

    `kind` is one of
    `mse`: FitHuBERT's error of a hint head; or `l1_cosine`, that of DistilHuBERT's heads (`losses.l1_cosine`), which
    learns faster. Prediction heads always have `l1_cosine`, with layers of equal weight, and read neither key.
    `masked`: hints with frames hidden from the student (MaskHuBERT, ARMHuBERT; `objectives.masked`).
    `gram`: similarities of frames, without heads (STaRHuBERT; `losses.gram_loss`).
    `clusters`: the teacher's clusters of masked frames, without hints (DiceHuBERT; `losses.cluster_loss`).

    `hint_weight`, the official `random_layer_weight`: how much layers below the last count.
    `mask` is read by `masked` and `clusters`, `clusters` by `clusters` only.
    """

    kind: str = "mse"
    hint_weight: float = 0.1
    mask: MaskConfig = field(default_factory=MaskConfig)
    clusters: ClusterConfig = field(default_factory=ClusterConfig)

    def __post_init__(self) -> None:
        kinds = (*ERRORS, *KINDS)
        expect(self.kind in kinds, f"loss.kind one of {', '.join(kinds)}", self.kind)
        expect(0 <= self.hint_weight < float("inf"), "hint_weight of at least 0", self.hint_weight)
        readers = {"hint_weight": (*ERRORS, "masked"), "mask": ("masked", "clusters"), "clusters": ("clusters",)}
        for f in fields(self):
            if f.name in readers and self.kind not in readers[f.name]:
                default = f.default if f.default_factory is MISSING else f.default_factory()
                unread = getattr(self, f.name) == default
                expect(unread, f"no loss.{f.name} with kind {self.kind}, which does not read it", getattr(self, f.name))


@dataclass(frozen=True)
class DistillationConfig:
    """The file behind `-g`: student, teacher and loss.

    `init_from_teacher`: the student begins as the teacher's convolutions and first transformer layers, whose
    shapes it must have, instead of at random.
    `init`: a file of a student of the same shape, or the name of an embedded one, that this one begins as; its heads,
    where they do not fit, are left out.
    `teachers`: several, to be learned from at once; the student's own heads, which its file keeps, are for the first,
    which is then `teacher` too.
    `feature_grad_scale`: of the convolutions' gradient (DistilHuBERT: 0.1). `layer_grad_scale`: whether each layer
    learns from the mean, not the sum, of the gradients above it (ARMHuBERT). Both are in `objectives.gradients`.
    """

    student: FitHubertConfig = field(default_factory=FitHubertConfig)
    teacher: TeacherConfig = field(default_factory=TeacherConfig)
    loss: LossConfig = field(default_factory=LossConfig)
    init_from_teacher: bool = False
    init: str | None = None
    teachers: tuple[TeacherConfig, ...] = ()
    feature_grad_scale: float = 1.0
    layer_grad_scale: bool = False

    def __post_init__(self) -> None:
        expect(not (self.init and self.init_from_teacher), "init or init_from_teacher", "both")
        if self.teachers:
            first = self.teachers[0]
            expect(self.teacher in (TeacherConfig(), first), "teacher or teachers", "both, of which one is unlike")
            object.__setattr__(self, "teacher", first)  # how a frozen dataclass normalises itself
        scale, student = self.feature_grad_scale, self.student
        expect(0 < scale < float("inf"), "feature_grad_scale above 0", scale)
        if self.layer_grad_scale:
            every = student.head_kind == "hint" and len(student.head_layers) == student.num_layers
            expect(every, "a hint head on every layer with layer_grad_scale", f"heads {student.head_layers}")
            expect(len(self.teachers) < 2, "one teacher with layer_grad_scale", len(self.teachers))

    @classmethod
    def from_dict(cls, data: Mapping[str, Any], where: str = "model config") -> "DistillationConfig":
        return from_dict(cls, data, where)

    @classmethod
    def from_yaml(cls, path: str | Path) -> "DistillationConfig":
        return from_dict(cls, read_yaml(path), str(path))

    def to_dict(self) -> dict[str, Any]:
        return to_dict(self)

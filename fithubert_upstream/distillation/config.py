"""The file behind `-g`: student, teachers and loss."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..errors import expect
from ..models.config import FitHubertConfig
from ..settings.files import from_dict, read_yaml, to_dict
from ..teachers.config import TeacherConfig
from .losses import ERRORS


@dataclass(frozen=True)
class LossConfig:
    """How far a hint head is from its layer, and how much layers below the last count.

    `kind`: `mse`, FitHuBERT's; or `l1_cosine`, that of DistilHuBERT's heads (`losses.l1_cosine`), which learns faster.
    `hint_weight` is the official `random_layer_weight`.
    Prediction heads always have `l1_cosine`, with layers of equal weight, and read neither.
    """

    kind: str = "mse"
    hint_weight: float = 0.1

    def __post_init__(self) -> None:
        expect(self.kind in ERRORS, f"loss.kind one of {', '.join(ERRORS)}", self.kind)
        expect(0 <= self.hint_weight < float("inf"), "hint_weight of at least 0", self.hint_weight)


@dataclass(frozen=True)
class DistillationConfig:
    """The file behind `-g`: student, teacher and loss.

    `init_from_teacher`: the student begins as the teacher's convolutions and first transformer layers, whose
    shapes it must have, instead of at random.
    `init`: a file of a student of the same shape, or the name of an embedded one, that this one begins as; its heads,
    where they do not fit, are left out.
    `teachers`: several, to be learned from at once; the student's own heads, which its file keeps, are for the first,
    which is then `teacher` too.
    """

    student: FitHubertConfig = field(default_factory=FitHubertConfig)
    teacher: TeacherConfig = field(default_factory=TeacherConfig)
    loss: LossConfig = field(default_factory=LossConfig)
    init_from_teacher: bool = False
    init: str | None = None
    teachers: tuple[TeacherConfig, ...] = ()

    def __post_init__(self) -> None:
        expect(not (self.init and self.init_from_teacher), "init or init_from_teacher", "both")
        if self.teachers:
            first = self.teachers[0]
            expect(self.teacher in (TeacherConfig(), first), "teacher or teachers", "both, of which one is unlike")
            object.__setattr__(self, "teacher", first)  # how a frozen dataclass normalises itself

    @classmethod
    def from_dict(cls, data: Mapping[str, Any], where: str = "model config") -> "DistillationConfig":
        return from_dict(cls, data, where)

    @classmethod
    def from_yaml(cls, path: str | Path) -> "DistillationConfig":
        return from_dict(cls, read_yaml(path), str(path))

    def to_dict(self) -> dict[str, Any]:
        return to_dict(self)

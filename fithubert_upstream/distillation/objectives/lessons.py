"""Which teacher the student learns from, and which of its layers."""

from collections.abc import Sequence
from dataclasses import dataclass

from ...errors import FitHubertError
from ...models.config import FitHubertConfig
from ...teachers.teacher import HubertTeacher, Teacher


@dataclass(frozen=True)
class Lesson:
    """A teacher, which of its layers (counted from 1) the student's heads learn, one each, and how much it counts.

    `layers` None stands for the numbers of the heads' own layers; `heads` are the student's layers that learn, None
    for its `head_layers`, which the first teacher always has.
    """

    teacher: Teacher
    layers: tuple[int, ...] | None = None
    weight: float = 1.0
    heads: tuple[int, ...] | None = None


def as_lessons(lessons: Sequence[Teacher | Lesson]) -> list[Lesson]:
    """A teacher alone stands for a lesson of it."""
    return [lesson if isinstance(lesson, Lesson) else Lesson(lesson) for lesson in lessons]


def the_only_lesson(lessons: Sequence[Teacher | Lesson], kind: str) -> Lesson:
    """The lesson of an objective that takes one teacher. Raises FitHubertError where there are several."""
    if len(lessons) > 1:
        raise FitHubertError(
            f"teachers: expected one with loss.kind {kind}, found {len(lessons)}; keep one, or set loss.kind: mse"
        )
    return as_lessons(lessons)[0]


def hubert_of(lesson: Lesson, kind: str, needs: str) -> HubertTeacher:
    """The teacher of a lesson, where it is HuBERT or wav2vec 2.0. Raises FitHubertError for any other."""
    teacher = lesson.teacher
    if not isinstance(teacher, HubertTeacher):
        raise FitHubertError(
            f"teacher {teacher.name}: expected HuBERT or wav2vec 2.0 with loss.kind {kind}, which needs {needs}, found "
            f"{type(teacher).__name__}; choose such a teacher, or set loss.kind: mse"
        )
    return teacher


def expect_no_heads(config: FitHubertConfig, kind: str) -> None:
    """Raises FitHubertError for a student with heads that an objective would leave untrained."""
    if config.head_layers:
        raise FitHubertError(
            f"expected a student without heads with loss.kind {kind}, found heads {config.head_layers}; "
            "set student.head_layers: []"
        )


def check_heads(config: FitHubertConfig, lesson: Lesson, first: Teacher) -> tuple[int, ...]:
    """The student's layers that learn from a teacher."""
    teacher, heads = lesson.teacher, lesson.heads
    if teacher is first:
        if teacher.pooled:
            raise FitHubertError(
                f"teacher {teacher.name}: expected a frame-level teacher first, found an utterance-level one; "
                "list it second in teachers"
            )
        if heads is not None:
            raise FitHubertError(
                f"teacher {teacher.name}: expected no heads for the first teacher, found {heads}; "
                "its heads are student.head_layers"
            )
    heads = config.head_layers if heads is None else heads
    if config.head_kind == "hint" and max(heads, default=0) > config.num_layers:
        raise FitHubertError(
            f"teacher {teacher.name}: expected heads on the student's layers 1 to {config.num_layers}, found {heads}"
        )
    return heads


def check_layers(config: FitHubertConfig, lesson: Lesson, heads: tuple[int, ...]) -> tuple[int, ...]:
    """The teacher's layers that the student's heads learn, one each."""
    teacher, layers = lesson.teacher, lesson.layers
    if teacher.pooled and layers is None:
        return (1,) * len(heads)
    if layers is None:
        if config.head_kind == "hint" and lesson.heads is None:
            _expect_every_layer(config, teacher)
    elif len(layers) != len(heads):
        raise FitHubertError(
            f"teacher {teacher.name}: expected in layers one for each of the student's {len(heads)} heads {heads}, "
            f"found {layers}"
        )
    name = "teacher.layers" if layers is not None else "student.head_layers" if lesson.heads is None else "heads"
    layers = heads if layers is None else layers
    if max(layers, default=0) not in range(1, teacher.num_layers + 1):
        raise FitHubertError(
            f"teacher {teacher.name}: expected its layers {layers} ({name}), found layers "
            f"1 to {teacher.num_layers}; set {name} to some of these"
        )
    return layers


def _expect_every_layer(config: FitHubertConfig, teacher: Teacher) -> None:
    """Without a choice of layers, hints are for as many as there are, in student and teacher."""
    every_layer = tuple(range(1, config.num_layers + 1))
    if config.head_layers != every_layer:
        raise FitHubertError(
            f"expected a prediction head on every student layer {every_layer}, found {config.head_layers}; "
            "leave head_layers out of the student config, or say in teacher.layers what each head learns"
        )
    if config.num_layers != teacher.num_layers:
        raise FitHubertError(
            f"teacher {teacher.name}: expected {config.num_layers} layers (student.num_layers), found "
            f"{teacher.num_layers}; hint heads need as many, so set student.num_layers: {teacher.num_layers}, or "
            "choose the pairs with student.head_layers and teacher.layers"
        )

"""Similarities of frames instead of hints: STaRHuBERT (Jang, Kim, Kim, 2024, arXiv 2312.09040)."""

from collections.abc import Sequence

from torch import Tensor, nn

from ...errors import FitHubertError
from ...models.fithubert import FitHubert
from ...teachers.derived import InputTeacher
from ...teachers.teacher import Teacher
from ..config import LossConfig
from ..losses import gram_loss
from ..task import Task, cut
from .learner import LayerLearner
from .lessons import Lesson, expect_no_heads, hubert_of, the_only_lesson

KIND = "gram"


class GramTask(Task):
    """The student's layers, and the features before them, have the Gram matrices of the teacher's (`losses.gram_loss`).

    Student layer l learns teacher layer l, or the l-th of `teacher.layers`; widths may differ.

    Raises FitHubertError for several teachers, for one that is no HuBERT or wav2vec 2.0, for a student with heads, and
    for another number of layers.
    """

    def __init__(self, student: FitHubert, *lessons: Teacher | Lesson, loss: LossConfig | None = None):
        lesson = the_only_lesson(lessons, KIND)
        teacher = hubert_of(lesson, KIND, "the features before its layers")
        expect_no_heads(student.config, KIND)
        depth = student.config.num_layers
        layers = tuple(range(1, teacher.num_layers + 1)) if lesson.layers is None else lesson.layers
        if len(layers) != depth or layers[-1] > teacher.num_layers:
            raise FitHubertError(
                f"teacher {teacher.name}: expected with loss.kind {KIND} a layer for each of the student's {depth}, "
                f"among its own 1 to {teacher.num_layers}, found {layers}; set student.num_layers or teacher.layers"
            )
        layers = (1, *(layer + 1 for layer in layers))  # the first is its input
        super().__init__(LayerLearner(student), [InputTeacher(teacher)], [layers], loss or LossConfig(KIND))

    @property
    def error_names(self) -> list[str]:
        """The layers, 0 being the input, and pairs of neighbours, by the upper one."""
        depth = self.student.config.num_layers
        return [f"layer_{layer}" for layer in range(depth + 1)] + [f"pair_{layer}" for layer in range(1, depth + 1)]

    @property
    def selected(self) -> int:
        """The last layer."""
        return self.student.config.num_layers

    def loss(
        self,
        learner: nn.Module,
        waveforms: Tensor,
        lengths: Tensor | None = None,
        clean: Tensor | None = None,
        targets: Sequence[Tensor] | None = None,
    ) -> tuple[Tensor, Tensor]:
        (wanted,) = self.wanted(waveforms, lengths, clean, targets)
        (layers,), frames = learner(waveforms, lengths)
        size, valid = self.counted(frames)
        return gram_loss(cut(layers, size), cut(wanted, size), valid)

"""Hints with frames hidden from the student: MaskHuBERT and ARMHuBERT (Jang, Kim et al., 2023, arXiv 2305.11685)."""

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor, nn

from ...data.loader import AudioLoader
from ...errors import FitHubertError
from ...models.fithubert import FitHubert
from ...teachers.teacher import HubertTeacher, Teacher
from ..config import LossConfig
from ..losses import hint_loss
from ..task import DistillationTask, cut
from .learner import Learner, MaskedLearner, samples_of
from .lessons import Lesson, hubert_of, the_only_lesson
from .masks import draw_mask

KIND = "masked"


class MaskedTask(DistillationTask):
    """The student finds a vector of its own in the place of masked frames. There it learns what the teacher makes of
    the whole utterance; in the other frames, what the teacher makes of the masked one (official train.py,
    `calculate_loss`). Layers count as in `losses.hint_loss`.

    In eval mode nothing is masked, as in the official validation: it is how the student will be used.

    Raises FitHubertError for several teachers, for prediction heads, and for a teacher that has no mask vector.
    """

    def __init__(self, student: FitHubert, *lessons: Teacher | Lesson, loss: LossConfig | None = None):
        lesson = the_only_lesson(lessons, KIND)
        teacher = hubert_of(lesson, KIND, "a teacher that takes a mask")
        if teacher.mask_vector is None:
            raise FitHubertError(
                f"teacher {teacher.name}: expected a mask vector of its pretraining (mask_emb or masked_spec_embed) in "
                f"its file with loss.kind {KIND}, found none; take fairseq's, s3prl's or transformers' file"
            )
        if student.config.head_kind != "hint":
            raise FitHubertError(
                f"expected hint heads with loss.kind {KIND}, found student.head_kind {student.config.head_kind}"
            )
        super().__init__(student, lesson, loss=loss or LossConfig(KIND))

    @staticmethod
    def build_learner(student: FitHubert, lessons: Sequence[Lesson], heads: Sequence[tuple[int, ...]]) -> Learner:
        return MaskedLearner(student)

    def prepare(
        self,
        loaders: Mapping[str, AudioLoader],
        folder: str | None,
        rank: int = 0,
        world_size: int = 1,
        barrier: Callable[[], object] = lambda: None,
    ) -> None:
        if folder is not None:
            raise FitHubertError(
                f"data.targets: expected none with loss.kind {KIND}, whose teacher hears another mask each time, found "
                f"{folder}; leave it out"
            )

    def loss(
        self,
        learner: nn.Module,
        waveforms: Tensor,
        lengths: Tensor | None = None,
        clean: Tensor | None = None,
        targets: Sequence[Tensor] | None = None,
    ) -> tuple[Tensor, Tensor]:
        if self.student.training:
            mask = draw_mask(self.student.frame_lengths(samples_of(waveforms, lengths)), self.loss_config.mask)
            mask = mask.to(waveforms.device, non_blocking=True)
            wanted = self.ask_with_mask(waveforms if clean is None else clean, lengths, mask)
            (predictions,), frames = learner(waveforms, lengths, mask)
        else:
            (wanted,) = self.wanted(waveforms, lengths, clean, None)
            (predictions,), frames = learner(waveforms, lengths)
        size, valid = self.counted(frames)
        return hint_loss(cut(predictions, size), cut(wanted, size), valid, self.loss_config.hint_weight)

    def ask_with_mask(self, waveforms: Tensor, lengths: Tensor | None, mask: Tensor) -> list[Tensor]:
        """What the student is to learn of each layer, (B, L, D): where `mask` (B, L) is True, the teacher's of the
        utterance as it is, elsewhere that of the masked one."""
        teacher, layers = self.teacher, self.teacher_layers[0]
        assert isinstance(teacher, HubertTeacher)
        plain, masked = teacher.with_mask(waveforms, lengths, mask, layers[-1])
        size = min(mask.size(1), plain[0].size(1))
        hidden = mask[:, :size, None]
        return [torch.where(hidden, plain[n - 1][:, :size], masked[n - 1][:, :size]) for n in layers]

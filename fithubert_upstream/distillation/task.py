"""What is learned, whatever drives the training loop: student, frozen teachers and their losses."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Self

import torch
from torch import Tensor, nn

from ..data.loader import AudioLoader
from ..data.targets import Targets
from ..errors import FitHubertError
from ..models.fithubert import FitHubert
from ..teachers.teacher import Teacher
from ..teachers.teachers import load_teacher
from .config import DistillationConfig, LossConfig
from .losses import hint_loss, pooled_loss, prediction_loss
from .objectives.gradients import scale_feature_gradient, scale_layer_gradients
from .objectives.learner import Learner
from .objectives.lessons import Lesson, as_lessons, check_heads, check_layers
from .start import new_student


class Task(nn.Module):
    """A student, its teachers and a loss; each objective is a subclass (`objectives`)."""

    error_names: list[str]  # what the errors that come with a loss are of

    def __init__(
        self,
        learner: Learner,
        teachers: Sequence[Teacher],
        teacher_layers: Sequence[tuple[int, ...]],
        loss: LossConfig | None,
    ):
        """teacher_layers : which of each teacher's layers are learned, counted from 1 and rising."""
        super().__init__()
        self.learner = learner
        self.teachers = nn.ModuleList(teachers)
        self.teacher_layers = list(teacher_layers)
        self.loss_config = loss or LossConfig()

    @classmethod
    def from_config(cls, config: DistillationConfig) -> Self:
        """A fresh student beside the teachers that the config names."""
        teachers = config.teachers or (config.teacher,)
        lessons = [Lesson(load_teacher(of), of.layers, of.weight, of.heads) for of in teachers]
        student = new_student(config, lessons[0].teacher)
        task = cls(student, *lessons, loss=config.loss)
        if config.feature_grad_scale != 1:
            scale_feature_gradient(student, config.feature_grad_scale)
        if config.layer_grad_scale:
            scale_layer_gradients(student)
        return task

    @property
    def student(self) -> FitHubert:
        return self.learner.student

    @property
    def teacher(self) -> Teacher:
        """The first of them."""
        return self.teachers[0]

    @property
    def selected(self) -> int:
        """The place, among the errors, of the one by which a run selects its best student."""
        raise NotImplementedError

    def forward(
        self,
        waveforms: Tensor,
        lengths: Tensor | None = None,
        clean: Tensor | None = None,
        targets: Sequence[Tensor] | None = None,
    ) -> tuple[Tensor, Tensor]:
        """The loss of a batch and the errors that `error_names` lists, detached.

        A frame that the time reduction would drop (an odd last one) takes no part, as in the official code.

        Parameters
        ----------
        waveforms : (B, T), 16 kHz.
        lengths : (B,) samples, None when nothing is padded.
        clean : (B, T), what the teachers hear; None for the same.
        targets : (B, L, N, D) for each teacher, its learned layers where they are known; None to ask the teachers.
            L is 1 for a teacher of whole utterances.
        """
        return self.loss(self.learner, waveforms, lengths, clean, targets)

    def loss(
        self,
        learner: nn.Module,
        waveforms: Tensor,
        lengths: Tensor | None = None,
        clean: Tensor | None = None,
        targets: Sequence[Tensor] | None = None,
    ) -> tuple[Tensor, Tensor]:
        """What `forward` gives, by way of `learner`: `self.learner`, or what a training loop wrapped it in."""
        raise NotImplementedError

    def prepare(
        self,
        loaders: Mapping[str, AudioLoader],
        folder: str | None,
        rank: int = 0,
        world_size: int = 1,
        barrier: Callable[[], object] = lambda: None,
    ) -> None:
        """Compute, before the first update, what is kept in `folder` (`data.targets`), and let the loaders bring it.

        Parameters
        ----------
        loaders : of `train` and perhaps `valid`.
        folder : None where nothing is kept.
        rank, world_size : this process among those that share the work.
        barrier : lets processes wait for each other.
        """
        if folder is None:
            return
        for split, loader in loaders.items():
            self.keep_targets(loader, Path(folder) / split, rank, world_size)
        barrier()

    def keep_targets(self, loader: AudioLoader, folder: Path, rank: int = 0, world_size: int = 1) -> None:
        """Let the loader bring the teachers' layers from `folder`, the first one's from there and each further one's
        from a subfolder; computed where they are not there yet, by the processes together."""
        kept = []
        for number, teacher in enumerate(self.teachers):
            place = folder if number == 0 else folder / f"teacher-{number + 1}"
            targets = Targets(place, loader.dataset.corpus, teacher, self.teacher_layers[number])
            targets.compute(teacher, rank, world_size)
            kept.append(targets)
        loader.dataset.targets = kept

    def frames(self, lengths: Tensor) -> Tensor:
        """(B,) samples -> (B,) frames that take part in the loss."""
        return self._whole(self.student.frame_lengths(lengths))

    def wanted(
        self, waveforms: Tensor, lengths: Tensor | None, clean: Tensor | None, targets: Sequence[Tensor] | None
    ) -> list[Sequence[Tensor]]:
        """The layers to learn of each teacher, N of (B, L, D), from what `forward` takes."""
        if targets is not None:
            return [kept.unbind(2) for kept in targets]
        heard = waveforms if clean is None else clean
        return [self._ask(number, heard, lengths) for number in range(len(self.teachers))]

    def counted(self, frames: Tensor) -> tuple[int, Tensor | None]:
        """(B,) frames -> those that take part in the loss: the most of an utterance, and (B,) or None if all do."""
        frames = self._whole(frames)
        size = int(frames.max())
        return size, frames if bool((frames != size).any()) else None

    def _ask(self, number: int, waveforms: Tensor, lengths: Tensor | None) -> list[Tensor]:
        layers = self.teacher_layers[number]
        found = self.teachers[number](waveforms, lengths, layers[-1])
        return [found[layer - 1] for layer in layers]

    def _whole(self, frames: Tensor) -> Tensor:
        reduction = self.student.config.time_reduction
        return frames // reduction * reduction


class DistillationTask(Task):
    """Distillation into hint heads (FitHuBERT: student layer l learns teacher layer l) or prediction heads (Kerpicci),
    from one teacher or several.

    Raises FitHubertError when a teacher's depth or width is not what the student was built for.
    """

    def __init__(self, student: FitHubert, *lessons: Teacher | Lesson, loss: LossConfig | None = None):
        config = student.config
        lessons = as_lessons(lessons)
        first = lessons[0].teacher
        if config.head_dim != first.width:
            raise FitHubertError(
                f"teacher {first.name}: expected width {config.head_dim} (student.head_dim), found {first.width}; "
                f"set student.head_dim: {first.width}"
            )
        heads = [check_heads(config, lesson, first) for lesson in lessons]
        layers = [check_layers(config, *pair) for pair in zip(lessons, heads, strict=True)]
        super().__init__(self.build_learner(student, lessons, heads), [of.teacher for of in lessons], layers, loss)
        self.heads = heads
        self.weights = [lesson.weight for lesson in lessons]

    @staticmethod
    def build_learner(student: FitHubert, lessons: Sequence[Lesson], heads: Sequence[tuple[int, ...]]) -> Learner:
        pairs = zip(heads, lessons, strict=True)
        return Learner(student, [(layers, lesson.teacher.width) for layers, lesson in pairs][1:])

    @property
    def layers(self) -> tuple[int, ...]:
        """The student's heads, by the number of their layer."""
        return self.student.config.head_layers

    @property
    def error_names(self) -> list[str]:
        """The learned layers; hint heads have their MSEs."""
        first, *further = ([f"layer_{layer}" for layer in heads] for heads in self.heads)
        return first + [f"teacher_{number}_{name}" for number, names in enumerate(further, 2) for name in names]

    @property
    def selected(self) -> int:
        """The first teacher's last layer."""
        return len(self.layers) - 1

    def loss(
        self,
        learner: nn.Module,
        waveforms: Tensor,
        lengths: Tensor | None = None,
        clean: Tensor | None = None,
        targets: Sequence[Tensor] | None = None,
    ) -> tuple[Tensor, Tensor]:
        wanted = self.wanted(waveforms, lengths, clean, targets)
        predictions, frames = learner(waveforms, lengths)
        size, valid = self.counted(frames)
        total, errors = 0.0, []
        for number, teacher in enumerate(self.teachers):
            learned, known = cut(predictions[number], size), cut(wanted[number], size)
            if teacher.pooled:
                loss, error = pooled_loss(learned, [layer[:, 0] for layer in known], valid)
            elif self.student.config.head_kind == "hint":
                loss, error = hint_loss(learned, known, valid, self.loss_config.hint_weight, self.loss_config.kind)
            else:
                loss, error = prediction_loss(learned, known, valid)
            total = total + self.weights[number] * loss
            errors.append(error)
        return total, torch.cat(errors)


def cut(layers: Sequence[Tensor], size: int) -> list[Tensor]:
    """The first `size` frames of each, in float32: under autocast and on disk they may be halves."""
    return [layer[:, :size].float() for layer in layers]

"""What is learned, whatever drives the training loop: student, frozen teachers and their losses."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from ..checkpoints.load import load_fithubert
from ..data.loader import AudioLoader
from ..data.targets import Targets
from ..errors import FitHubertError
from ..models.config import FitHubertConfig
from ..models.fithubert import FitHubert, build_heads
from ..teachers.teachers import HubertTeacher, Teacher, load_teacher
from .config import DistillationConfig, LossConfig
from .losses import hint_loss, pooled_loss, prediction_loss


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


class Learner(nn.Module):
    """All that is trained: a student, whose heads are for the first teacher, and heads for each further one."""

    def __init__(self, student: FitHubert, further: Sequence[tuple[Sequence[int], int]] = ()):
        """further : for each teacher after the first, the student's layers that learn from it, and its width."""
        super().__init__()
        self.student = student
        self.further = nn.ModuleList(build_heads(student.config, layers, width) for layers, width in further)

    def forward(self, waveforms: Tensor, lengths: Tensor | None = None) -> tuple[list[list[Tensor]], Tensor]:
        """What `FitHubert.forward` gives, a list of predictions for each teacher."""
        if not self.further:
            predictions, frames = self.student(waveforms, lengths)
            return [predictions], frames
        student = self.student
        samples = torch.full((len(waveforms),), waveforms.size(1)) if lengths is None else lengths
        encoded, frames = student.encode(waveforms, samples), student.frame_lengths(samples)
        return [student.project(encoded, frames, heads) for heads in (student.heads, *self.further)], frames


class DistillationTask(nn.Module):
    """Distillation into hint heads (FitHuBERT: student layer l learns teacher layer l) or prediction heads (Kerpicci),
    from one teacher or several.

    Raises FitHubertError when a teacher's depth or width is not what the student was built for.
    """

    def __init__(self, student: FitHubert, *lessons: Teacher | Lesson, loss: LossConfig | None = None):
        super().__init__()
        config = student.config
        lessons = [lesson if isinstance(lesson, Lesson) else Lesson(lesson) for lesson in lessons]
        first = lessons[0].teacher
        if config.head_dim != first.width:
            raise FitHubertError(
                f"teacher {first.name}: expected width {config.head_dim} (student.head_dim), found {first.width}; "
                f"set student.head_dim: {first.width}"
            )
        self.heads = [_check_heads(config, lesson, first) for lesson in lessons]
        self.teacher_layers = [_check_layers(config, *pair) for pair in zip(lessons, self.heads, strict=True)]
        self.weights = [lesson.weight for lesson in lessons]
        further = [(heads, lesson.teacher.width) for heads, lesson in zip(self.heads, lessons, strict=True)][1:]
        self.learner = Learner(student, further)
        self.teachers = nn.ModuleList(lesson.teacher for lesson in lessons)
        self.loss_config = loss or LossConfig()

    @classmethod
    def from_config(cls, config: DistillationConfig) -> "DistillationTask":
        """A fresh student beside the teachers that the config names."""
        teachers = config.teachers or (config.teacher,)
        lessons = [Lesson(load_teacher(of), of.layers, of.weight, of.heads) for of in teachers]
        student = FitHubert(config.student)
        if config.init_from_teacher:
            copy_first_layers(lessons[0].teacher, student)
        elif config.init is not None:
            begin_as(student, config.init)
        return cls(student, *lessons, loss=config.loss)

    @property
    def student(self) -> FitHubert:
        return self.learner.student

    @property
    def teacher(self) -> Teacher:
        """The first of them."""
        return self.teachers[0]

    @property
    def layers(self) -> tuple[int, ...]:
        """The student's heads, by the number of their layer."""
        return self.student.config.head_layers

    @property
    def error_names(self) -> list[str]:
        """What the errors that come with a loss are of; the last of the first teacher's are what a run selects by."""
        first, *further = ([f"layer_{layer}" for layer in heads] for heads in self.heads)
        return first + [f"teacher_{number}_{name}" for number, names in enumerate(further, 2) for name in names]

    def forward(
        self,
        waveforms: Tensor,
        lengths: Tensor | None = None,
        clean: Tensor | None = None,
        targets: Sequence[Tensor] | None = None,
    ) -> tuple[Tensor, Tensor]:
        """The loss of a batch and the errors of the learned layers, `error_names` (hint heads: their MSEs).

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
        if targets is None:
            heard = waveforms if clean is None else clean
            wanted = [self._ask(number, heard, lengths) for number in range(len(self.teachers))]
        else:
            wanted = [kept.unbind(2) for kept in targets]  # each N of (B, L, D)
        predictions, frames = learner(waveforms, lengths)
        frames = self._whole(frames)
        size = int(frames.max())
        valid = frames if bool((frames != size).any()) else None
        total, errors = 0.0, []
        for number, teacher in enumerate(self.teachers):
            # under autocast they may be halves
            learned, known = (
                [layer[:, :size].float() for layer in layers] for layers in (predictions[number], wanted[number])
            )
            if teacher.pooled:
                loss, error = pooled_loss(learned, [layer[:, 0] for layer in known], valid)
            elif self.student.config.head_kind == "hint":
                loss, error = hint_loss(learned, known, valid, self.loss_config.hint_weight, self.loss_config.kind)
            else:
                loss, error = prediction_loss(learned, known, valid)
            total = total + self.weights[number] * loss
            errors.append(error)
        return total, torch.cat(errors)

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

    def _ask(self, number: int, waveforms: Tensor, lengths: Tensor | None) -> list[Tensor]:
        layers = self.teacher_layers[number]
        found = self.teachers[number](waveforms, lengths, layers[-1])
        return [found[layer - 1] for layer in layers]

    def _whole(self, frames: Tensor) -> Tensor:
        reduction = self.student.config.time_reduction
        return frames // reduction * reduction


def _check_heads(config: FitHubertConfig, lesson: Lesson, first: Teacher) -> tuple[int, ...]:
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


def _check_layers(config: FitHubertConfig, lesson: Lesson, heads: tuple[int, ...]) -> tuple[int, ...]:
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


def copy_first_layers(teacher: Teacher, student: FitHubert) -> None:
    """Let the student begin as the teacher's convolutions and first layers; its heads stay as they are.

    Raises FitHubertError when the teacher is no HuBERT or wav2vec 2.0, or has other shapes.
    """
    if not isinstance(teacher, HubertTeacher):
        raise FitHubertError(
            f"teacher {teacher.name}: expected HuBERT or wav2vec 2.0, whose layers a student can begin with, found "
            f"{type(teacher).__name__}; set init_from_teacher: false"
        )
    there = teacher.model.state_dict()
    wanted = {name: tensor for name, tensor in student.state_dict().items() if not name.startswith("heads.")}
    for name, tensor in wanted.items():
        found = tuple(there[name].shape) if name in there else "no such weight"
        if found != tensor.shape:
            raise FitHubertError(
                f"teacher {teacher.name}: expected {name} of shape {tuple(tensor.shape)} for a student that begins "
                f"with its layers, found {found}; give the student the teacher's shapes, or set init_from_teacher: "
                "false"
            )
    student.load_state_dict({name: there[name].clone() for name in wanted}, strict=False)


def begin_as(student: FitHubert, name: str) -> None:
    """Give the student the weights of another one's file, or of an embedded one; heads that do not fit it are left out.

    Raises FitHubertError where anything but heads has another shape.
    """
    there = load_fithubert(name).state_dict()
    here = student.state_dict()
    fits = {key: tensor for key, tensor in there.items() if key in here and tensor.shape == here[key].shape}
    for key in sorted(here.keys() | there.keys()):
        if key not in fits and not key.startswith("heads."):
            found, expected = (tuple(part[key].shape) if key in part else "none" for part in (there, here))
            raise FitHubertError(
                f"init {name}: expected a student of the same shape, found {key} {found} there and {expected} here"
            )
    student.load_state_dict(here | fits)

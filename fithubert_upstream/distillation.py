"""What is learned, whatever drives the training loop: student, frozen teacher and their loss."""

from torch import Tensor, nn

from .config import DistillationConfig
from .errors import FitHubertError
from .losses import hint_loss, prediction_loss
from .model import FitHubert
from .teacher import HubertTeacher, Teacher, load_teacher


class DistillationTask(nn.Module):
    """Distillation into hint heads (FitHuBERT: student layer l learns teacher layer l) or prediction heads (Kerpicci).

    Raises FitHubertError when the teacher's depth or width is not what the student was built for.
    """

    def __init__(self, student: FitHubert, teacher: Teacher, hint_weight: float = 0.1):
        super().__init__()
        config = student.config
        every_layer = tuple(range(1, config.num_layers + 1))
        if config.head_kind == "hint" and config.head_layers != every_layer:
            raise FitHubertError(
                f"expected a prediction head on every student layer {every_layer}, found {config.head_layers}; "
                "leave head_layers out of the student config"
            )
        if config.head_dim != teacher.width:
            raise FitHubertError(
                f"teacher {teacher.name}: expected width {config.head_dim} (student.head_dim), found {teacher.width}; "
                f"set student.head_dim: {teacher.width}"
            )
        if config.head_kind == "hint" and config.num_layers != teacher.num_layers:
            raise FitHubertError(
                f"teacher {teacher.name}: expected {config.num_layers} layers (student.num_layers), found "
                f"{teacher.num_layers}; it is learned layer by layer, so set student.num_layers: {teacher.num_layers}"
            )
        if max(config.head_layers, default=0) not in range(1, teacher.num_layers + 1):
            raise FitHubertError(
                f"teacher {teacher.name}: expected its layers {config.head_layers} (student.head_layers), found layers "
                f"1 to {teacher.num_layers}; set student.head_layers to some of these"
            )
        self.student = student
        self.teacher = teacher
        self.hint_weight = hint_weight

    @classmethod
    def from_config(cls, config: DistillationConfig) -> "DistillationTask":
        """A fresh student beside the teacher the config names."""
        teacher = load_teacher(config.teacher)
        student = FitHubert(config.student)
        if config.init_from_teacher:
            copy_first_layers(teacher, student)
        return cls(student, teacher, config.loss.hint_weight)

    @property
    def layers(self) -> tuple[int, ...]:
        """The teacher's layers that are learned, counted from 1."""
        return self.student.config.head_layers

    def forward(self, waveforms: Tensor, lengths: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """The loss of a batch and the (N,) errors of the learned layers (hint heads: their MSEs).

        waveforms (B, T), 16 kHz; lengths (B,) samples, None when nothing is padded. A frame that the time
        reduction would drop (an odd last one) takes no part, as in the official code.
        """
        return self.loss(self.student, waveforms, lengths)

    def loss(self, student: nn.Module, waveforms: Tensor, lengths: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """What `forward` gives, by way of `student`: `self.student`, or what a training loop wrapped it in."""
        targets = self.teacher(waveforms, lengths, self.layers[-1])
        predictions, frames = student(waveforms, lengths)
        frames = self._whole(frames)
        size = int(frames.max())
        valid = frames if bool((frames != size).any()) else None
        # under autocast they may be halves
        predictions = [prediction[:, :size].float() for prediction in predictions]
        targets = [targets[layer - 1][:, :size].float() for layer in self.layers]
        if self.student.config.head_kind == "hint":
            return hint_loss(predictions, targets, valid, self.hint_weight)
        return prediction_loss(predictions, targets, valid)

    def frames(self, lengths: Tensor) -> Tensor:
        """(B,) samples -> (B,) frames that take part in the loss."""
        return self._whole(self.student.frame_lengths(lengths))

    def _whole(self, frames: Tensor) -> Tensor:
        reduction = self.student.config.time_reduction
        return frames // reduction * reduction


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

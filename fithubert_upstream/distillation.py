"""What is learned, whatever drives the training loop: student, frozen teacher and their loss."""

from torch import Tensor, nn

from .config import DistillationConfig
from .errors import FitHubertError
from .losses import hint_loss
from .model import FitHubert
from .teacher import Teacher, load_teacher


class DistillationTask(nn.Module):
    """FitHuBERT's layer-to-layer distillation: student layer l learns teacher layer l.

    Raises FitHubertError when the teacher's depth or width is not what the student was built for.
    """

    def __init__(self, student: FitHubert, teacher: Teacher, hint_weight: float = 0.1):
        super().__init__()
        config = student.config
        every_layer = tuple(range(1, config.num_layers + 1))
        if config.head_layers != every_layer:
            raise FitHubertError(
                f"expected a prediction head on every student layer {every_layer}, found {config.head_layers}; "
                "leave head_layers out of the student config"
            )
        if config.head_dim != teacher.width:
            raise FitHubertError(
                f"teacher {teacher.name}: expected width {config.head_dim} (student.head_dim), found {teacher.width}; "
                f"set student.head_dim: {teacher.width}"
            )
        if config.num_layers != teacher.num_layers:
            raise FitHubertError(
                f"teacher {teacher.name}: expected {config.num_layers} layers (student.num_layers), found "
                f"{teacher.num_layers}; it is learned layer by layer, so set student.num_layers: {teacher.num_layers}"
            )
        self.student = student
        self.teacher = teacher
        self.hint_weight = hint_weight

    @classmethod
    def from_config(cls, config: DistillationConfig) -> "DistillationTask":
        """A fresh student beside the teacher the config names."""
        teacher = load_teacher(config.teacher)
        return cls(FitHubert(config.student), teacher, config.loss.hint_weight)

    def forward(self, waveforms: Tensor, lengths: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """The loss of a batch and the (N,) MSE of each layer.

        waveforms (B, T), 16 kHz; lengths (B,) samples, None when nothing is padded. A frame that the time
        reduction would drop (an odd last one) takes no part, as in the official code.
        """
        return self.loss(self.student, waveforms, lengths)

    def loss(self, student: nn.Module, waveforms: Tensor, lengths: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """What `forward` gives, by way of `student`: `self.student`, or what a training loop wrapped it in."""
        targets = self.teacher(waveforms, lengths)
        layers, frames = student(waveforms, lengths)
        frames = self._whole(frames)
        size = int(frames.max())
        padded = bool((frames != size).any())
        return hint_loss(
            [layer[:, :size].float() for layer in layers],  # under autocast they may be halves
            [target[:, :size].float() for target in targets],
            frames if padded else None,
            self.hint_weight,
        )

    def frames(self, lengths: Tensor) -> Tensor:
        """(B,) samples -> (B,) frames that take part in the loss."""
        return self._whole(self.student.frame_lengths(lengths))

    def _whole(self, frames: Tensor) -> Tensor:
        reduction = self.student.config.time_reduction
        return frames // reduction * reduction

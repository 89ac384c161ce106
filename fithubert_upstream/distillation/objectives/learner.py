"""All that is trained: the student, and what stands beside it during distillation only."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from ...errors import FitHubertError
from ...models.fithubert import Encoded, FitHubert, build_heads, fit_frames
from ...models.layers import hide


class Learner(nn.Module):
    """A student, whose heads are for the first teacher, and heads for each further one."""

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
        samples = samples_of(waveforms, lengths)
        encoded, frames = student.encode(waveforms, samples), student.frame_lengths(samples)
        return [student.project(encoded, frames, heads) for heads in (student.heads, *self.further)], frames

    def beside(self) -> dict[str, Tensor]:
        """What is trained beside the student, for a checkpoint of the run."""
        state = self.state_dict()
        return {name: state[key] for name, key in self._names().items()}

    def load_beside(self, state: dict[str, Tensor]) -> None:
        """Restore what `beside` gave. Raises FitHubertError for anything else."""
        names = self._names()
        if names.keys() != state.keys():
            raise FitHubertError(
                f"expected a checkpoint with {', '.join(sorted(names)) or 'nothing'} beside the student, found "
                f"{', '.join(sorted(state)) or 'nothing'}; choose another name with -n"
            )
        self.load_state_dict({names[name]: tensor for name, tensor in state.items()}, strict=False)

    def _names(self) -> dict[str, str]:
        """Name in a checkpoint -> name here; further heads have always been there without their first word."""
        keys = [key for key in self.state_dict() if not key.startswith("student.")]
        return {key.removeprefix("further."): key for key in keys}


class LayerLearner(Learner):
    """A student without heads: the features that positions are added to, and its layers, all at 20 ms."""

    def forward(self, waveforms: Tensor, lengths: Tensor | None = None) -> tuple[list[list[Tensor]], Tensor]:
        """[[each (B, L, D)]] and (B,) frames, zero past each utterance's end."""
        student = self.student
        x, valid, padded = student.extract(waveforms, lengths)
        encoded = student.transform(x, valid if padded else None)
        frames = student.frame_lengths(samples_of(waveforms, lengths))
        return [[fit_frames(x, valid, frames), *student.repeat(encoded, frames)]], frames


class MaskedLearner(Learner):
    """A student, and the vector that it finds in the place of masked frames."""

    def __init__(self, student: FitHubert):
        super().__init__(student)
        self.mask_vector = nn.Parameter(torch.rand(student.config.embed_dim))  # as HuBERT's begins

    def forward(
        self, waveforms: Tensor, lengths: Tensor | None = None, mask: Tensor | None = None
    ) -> tuple[list[list[Tensor]], Tensor]:
        """What `Learner.forward` gives, where `mask` (B, L) hides frames."""
        if mask is None:
            return super().forward(waveforms, lengths)
        frames = self.student.frame_lengths(samples_of(waveforms, lengths))
        return [self.student.project(self.encode(waveforms, lengths, mask), frames)], frames

    def encode(self, waveforms: Tensor, lengths: Tensor | None, mask: Tensor) -> Encoded:
        """What `FitHubert.encode` gives, where `mask` (B, L) hides frames."""
        x, valid, padded = self.student.extract(waveforms, lengths)
        return self.student.transform(hide(x, mask, self.mask_vector), valid if padded else None)


def samples_of(waveforms: Tensor, lengths: Tensor | None) -> Tensor:
    """(B,) samples of each utterance."""
    return torch.full((len(waveforms),), waveforms.size(1)) if lengths is None else lengths

"""What is learned in the two steps of pruning: to be like the teacher, and in the first also to be small."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

from ..errors import FitHubertError
from ..models.fithubert import FitHubert
from .gates import Gates
from .objective import l1_minus_cosine, lagrangian
from .shrink import gated_weights, shrink
from .students import Maps, States


class Beside(nn.Module):
    """All that is trained beside the student: maps into the teacher's layers, and in the first step gates and the
    multipliers of the Lagrangian."""

    def __init__(self, maps: Maps, gates: Gates | None):
        super().__init__()
        self.maps, self.gates = maps, gates
        self.multipliers = None if gates is None else nn.Parameter(torch.zeros(2))


class Learner(nn.Module):
    """A student and what is trained beside it."""

    def __init__(self, student: FitHubert, maps: Maps, gates: Gates | None = None):
        super().__init__()
        self.states = States(student)
        self.further = Beside(maps, gates)

    @property
    def student(self) -> FitHubert:
        return self.states.model

    def forward(self, waveforms: Tensor, lengths: Tensor | None = None) -> tuple[list[Tensor], Tensor, Tensor | None]:
        """The mapped layers, each (B, L, D), (B,) their valid frames, and the expected size of a student with gates.

        Gates are drawn once for the whole batch.
        """
        gates = self.further.gates
        if gates is None:
            states, frames = self.states(waveforms, lengths)
            return self.further.maps(states, frames), frames, None
        if not self.training:
            self.states.eval()  # which drops what was folded from weights with other gates
        weights = {f"model.{name}": weight for name, weight in gated_weights(self.student, gates()).items()}
        states, frames = functional_call(self.states, weights, (waveforms, lengths))
        return self.further.maps(states, frames), frames, gates.expected_size()

    def beside(self) -> dict[str, Tensor]:
        """What is trained beside the student, for a checkpoint of the run."""
        return self.further.state_dict()

    def load_beside(self, state: dict[str, Tensor]) -> None:
        """Restore what `beside` gave."""
        self.further.load_state_dict(state)


class PruningTask(nn.Module):
    """The loss of a student that begins as its teacher: what `DistillationTask` is to a training loop.

    With gates, the first step: `target` is the sparsity wanted at the moment, 1 - size / teacher's size.

    Raises FitHubertError when the teacher lacks one of the layers, or the last of them is not its last.
    """

    def __init__(self, student: FitHubert, teacher: FitHubert, layers: Sequence[int], gates: Gates | None = None):
        super().__init__()
        depth = teacher.config.num_layers
        if layers[-1] != depth:
            raise FitHubertError(
                f"expected layers that end in the teacher's last, {depth}, found {list(layers)}; set model.layers"
            )
        self.layers = tuple(layers)
        self.learner = Learner(student, Maps(layers, teacher.config.embed_dim, student.config.time_reduction), gates)
        self.teachers = nn.ModuleList([States(teacher)])
        self.teacher_size = sum(weight.numel() for weight in teacher.parameters())
        self.target = 0.0

    @property
    def student(self) -> FitHubert:
        return self.learner.student

    @property
    def gates(self) -> Gates | None:
        return self.learner.further.gates

    @property
    def selected(self) -> int:
        """Which of the errors a run selects by: the last layer's."""
        return len(self.layers) - 1

    @property
    def error_names(self) -> list[str]:
        """What the errors that come with a loss are of."""
        names = [f"layer_{layer}" for layer in self.layers]
        return names if self.gates is None else [*names, "sparsity", "target_sparsity"]

    def loss(
        self,
        learner: nn.Module,
        waveforms: Tensor,
        lengths: Tensor | None = None,
        clean: Tensor | None = None,
        targets: None = None,
    ) -> tuple[Tensor, Tensor]:
        """The mean of the layers' `l1_minus_cosine`, with gates plus the `lagrangian`; and `error_names`, detached.

        Parameters
        ----------
        learner : `self.learner`, or what a training loop wrapped it in.
        waveforms : (B, T), 16 kHz.
        lengths : (B,) samples, None when nothing is padded.
        clean : (B, T), what the teacher hears; None for the same.
        targets : None; the teacher is always asked.
        """
        with torch.no_grad():
            known, _ = self.teachers[0](waveforms if clean is None else clean, lengths)
        learned, frames, size = learner(waveforms, lengths)
        valid = frames if bool((frames != frames.max()).any()) else None
        # under autocast they may be halves
        errors = l1_minus_cosine(
            [layer.float() for layer in learned], [known[layer].float() for layer in self.layers], valid
        )
        loss, errors = errors.mean(), errors.detach()
        if size is None:
            return loss, errors
        sparsity = 1 - size / self.teacher_size
        penalty = lagrangian(sparsity, self.target, self.learner.further.multipliers)
        measured = torch.stack([sparsity.detach(), torch.full_like(sparsity, self.target)])
        return loss + penalty, torch.cat([errors, measured])

    def prepare(self, loaders: Any, targets: None, **processes: Any) -> None:
        """Nothing has to be there before the first update."""

    def frames(self, lengths: Tensor) -> Tensor:
        """(B,) samples -> (B,) frames that take part in the loss."""
        return self.student.frame_lengths(lengths)

    @torch.no_grad()
    def sparsity(self) -> float:
        """The expected one, of a student with gates."""
        assert self.gates is not None
        return 1 - float(self.gates.expected_size()) / self.teacher_size

    def shrunk(self, sparsity: float) -> FitHubert:
        """The student of this sparsity, without the units whose gates are closed in eval.

        The multipliers leave a run near its target, and rounding takes it off again; `Gates.moved_to` takes it there.
        """
        assert self.gates is not None
        gates = self.gates.moved_to((1 - sparsity) * self.teacher_size)
        return shrink(self.student, gates.eval()())

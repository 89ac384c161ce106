"""The files behind `fithubert prune`: how to prune (`-g`), and on what data and for how long (`-c`)."""

import dataclasses
from dataclasses import dataclass, field

from ..data.loader import DataConfig
from ..distillation.optimizer import OptimizerConfig
from ..distillation.recipe import RunConfig, TrainConfig, TrainerConfig
from ..errors import expect
from ..teachers.config import TeacherConfig

# What units go by, and what is for that criterion alone.
CRITERIA = {"gates": ("sparsity_warmup", "gate_lr"), "reconstruction": ("calibration_seconds", "time_weight")}


@dataclass(frozen=True)
class PruningConfig:
    """The file behind `-g`. The defaults are DPHuBERT's (Peng et al., 2023, arXiv 2305.17651).

    `layers` of the teacher are learned by the student's of the same number; 0 is what goes into the positional
    convolution, and the last is the teacher's last. `sparsity` is the share of the teacher's parameters that goes. It
    is reached linearly in a share `sparsity_warmup` of the first step's updates. `gate_lr` is the highest learning rate
    of gates and multipliers; it rises and falls with that of the weights. `time_reduction` is FitHuBERT's, not
    DPHuBERT's: the student's transformer layers see one frame where the teacher's see so many.

    `criterion` says what units go by. `gates` is DPHuBERT's: they learn in a first step. `reconstruction` is ours:
    `calibration_seconds` of speech say what other units can make up for (`calibration.prune_at_once`, which
    `time_weight` is for), so all updates are left for distillation.
    """

    teacher: TeacherConfig = field(default_factory=TeacherConfig)
    layers: tuple[int, ...] = (0, 4, 8, 12)
    sparsity: float = 0.75
    sparsity_warmup: float = 0.1
    gate_lr: float = 0.02
    time_reduction: int = 1
    criterion: str = "gates"
    calibration_seconds: float = 64.0
    time_weight: float = 0.0

    def __post_init__(self) -> None:
        rising = list(self.layers) == sorted(set(self.layers)) and min(self.layers, default=-1) >= 0
        expect(rising and max(self.layers) >= 1, "layers rising from 0 on, such as [0, 4, 8, 12]", list(self.layers))
        expect(0 < self.sparsity < 1, "a sparsity between 0 and 1", self.sparsity)
        expect(0 <= self.sparsity_warmup < 1, "sparsity_warmup in [0, 1)", self.sparsity_warmup)
        expect(0 < self.gate_lr < float("inf"), "gate_lr above 0", self.gate_lr)
        expect(self.time_reduction >= 1, "time_reduction of at least 1", self.time_reduction)
        expect(self.criterion in CRITERIA, f"criterion {' or '.join(CRITERIA)}", self.criterion)
        expect(0 < self.calibration_seconds < float("inf"), "calibration_seconds above 0", self.calibration_seconds)
        expect(0 <= self.time_weight < float("inf"), "time_weight of at least 0", self.time_weight)
        for criterion, names in CRITERIA.items():
            for f in dataclasses.fields(self):
                unused = f.name in names and self.criterion != criterion and getattr(self, f.name) != f.default
                expect(not unused, f"{f.name} with criterion {criterion} only", f"{self.criterion}")
        for name in ("groups", "layers", "heads"):  # of other kinds of distillation
            given = getattr(self.teacher, name)
            expect(given is None, f"layers outside the teacher's block, and no teacher.{name}", given)


@dataclass(frozen=True)
class Step:
    """One of the two steps: how its weights are trained, and how long."""

    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    trainer: TrainerConfig = field(default_factory=TrainerConfig)


@dataclass(frozen=True)
class PruningRecipe:
    """The file behind `-c`: data, and the two steps. `prune` trains with gates, `distill` the small student.

    Without gates there is no `prune`.
    """

    data: DataConfig
    prune: Step | None = None
    distill: Step = field(default_factory=Step)

    def __post_init__(self) -> None:
        patience = self.prune.trainer.patience if self.prune else 0
        expect(patience == 0, "prune.trainer.patience 0, since the error grows with sparsity", patience)
        targets = self.data.targets
        expect(targets is None, "no data.targets, since layer 0 is not kept there", targets)


@dataclass(frozen=True)
class PruningRun(RunConfig):
    """Both files."""

    model: PruningConfig
    train: PruningRecipe

    def __post_init__(self) -> None:
        criterion, has_step = self.model.criterion, self.train.prune is not None
        expect(
            has_step == (criterion == "gates"),
            f"{'a' if criterion == 'gates' else 'no'} prune block in the recipe with criterion {criterion}",
            "one" if has_step else "none",
        )

    def steps(self) -> tuple["StepRun | None", "StepRun"]:
        """All that the first step depends on, None where there is none, and the second."""
        first, second = (
            step and StepRun(self.model, TrainConfig(self.train.data, step.optimizer, step.trainer))
            for step in (self.train.prune, self.train.distill)
        )
        assert second is not None
        return first, second


@dataclass(frozen=True)
class StepRun(RunConfig):
    """All that one of the steps depends on, as `config.yaml` in its folder records it."""

    model: PruningConfig

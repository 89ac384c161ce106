"""`fithubert prune`: make a teacher small, by gates or by reconstruction, and distil what is left."""

import argparse
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import torch

from ..audio import SAMPLE_RATE
from ..checkpoints.student import CONFIG_KEY, load_checkpoint
from ..data.batches import Batch
from ..data.loader import endless
from ..distillation.optimizer import build_optimizer, learning_rate
from ..distillation.processes import build_fabric
from ..distillation.recipe import check_same_run, read_run_config
from ..distillation.state import has_state, read_state
from ..distillation.train import Training
from ..errors import FitHubertError
from ..models.config import FitHubertConfig
from ..models.fithubert import FitHubert
from ..runs.parser import add_run_flags, run_folder
from ..teachers.teachers import load_teacher
from .calibration import prune_at_once
from .config import PruningRun
from .gates import Gates, size_of
from .objective import target_at
from .students import copy_of, teacher_model
from .task import PruningTask

FIRST = "prune"  # the folder of the first step inside that of the run
NEAR = 0.15  # how far from the sparsity that is wanted the first step may end, before its gates are moved there


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="fithubert prune",
        description="Prune a teacher of HuBERT's shape to a small student and distil it (DPHuBERT; FitHuBERT+). Run "
        "the same command again to resume an interrupted run exactly.",
        epilog="example: fithubert prune -g dphubert.yaml -c dphubert_960h.yaml -n my_student model.sparsity=0.8",
    )
    parser.add_argument("-g", "--model", default="dphubert.yaml", help="teacher, layers and sparsity (%(default)s)")
    parser.add_argument("-c", "--config", default="dphubert_960h.yaml", help="data and both steps (%(default)s)")
    add_run_flags(parser, "prune", "the recipe (prune.trainer.steps=20) or the model (model.sparsity=0.8)")
    return parser


def main(argv: list[str]) -> Path:
    """Prune and distil, and return the finished student's `student.safetensors`.

    Raises
    ------
    FitHubertError
        Something in the flags, configs, data or folder is not as expected, the loss is no number any more, or the
        first step ended away from the sparsity that is wanted.
    SystemExit
        143 or 130 after SIGTERM or SIGINT, all being saved.
    """
    args = build_parser().parse_intermixed_args(argv)
    folder = run_folder(args, "prune")
    first, second = read_run_config(args.model, args.config, args.overrides, PruningRun).steps()
    if first is None:
        check_same_run(folder, second)
        return RefittedTraining(build_fabric(second.train.trainer.precision), second, folder).run()
    check_same_run(folder / FIRST, first)
    check_same_run(folder, second)
    GatedTraining(build_fabric(first.train.trainer.precision), first, folder / FIRST).run()
    return SmallTraining(build_fabric(second.train.trainer.precision), second, folder).run()


def check_sparsity(sparsity: float, student: FitHubert, before: int) -> None:
    """Raise FitHubertError where a student of this kind cannot lose such a share of `before` parameters."""
    layers = student.config.num_layers
    least = size_of(student.config, [1] * len(student.config.conv_layers), *[[0] * layers] * 4)
    if sparsity * before > before - least:
        raise FitHubertError(
            f"expected a sparsity below {1 - least / before:.3f}, since {least:,} of the teacher's {before:,} "
            f"parameters always stay, found {sparsity}; set model.sparsity"
        )


def tell(student: FitHubert, before: int) -> None:
    """Print what is left of `before` parameters."""
    config, size = student.config, sum(weight.numel() for weight in student.parameters())
    print(
        f"pruned to {size:,} of {before:,} parameters, sparsity {1 - size / before:.3f}\n"
        f"  channels {[channels for channels, _, _ in config.conv_layers]}\n"
        f"  heads {list(config.layer_heads)}\n"
        f"  FFN units {list(config.layer_ffn_dims)}"
    )


class GatedTraining(Training):
    """The first step: student, maps, gates and multipliers; its student's file is the small one."""

    job = "prune"
    student_key = "GatedStudent"  # not a student's: without its gates it is another model

    def build_task(self) -> PruningTask:
        config = self.config.model
        model = teacher_model(load_teacher(config.teacher))
        student = copy_of(model, config.time_reduction)
        task = PruningTask(student, model, config.layers, Gates(student.config))
        check_sparsity(config.sparsity, student, task.teacher_size)
        return task

    def build_optimizer(self, fused: bool) -> torch.optim.Optimizer:
        """The weights as in any distillation; gates and multipliers without decay, the latter uphill."""
        further = self.task.learner.further
        weights = torch.nn.ModuleList([self.task.student, further.maps])
        optimizer = build_optimizer(weights, self.config.train.optimizer, fused)
        optimizer.add_param_group({"params": list(further.gates.parameters()), "weight_decay": 0.0})
        optimizer.add_param_group({"params": [further.multipliers], "weight_decay": 0.0, "maximize": True})
        return optimizer

    def set_rates(self) -> None:
        super().set_rates()
        model, optimizer = self.config.model, self.config.train.optimizer
        for group in self.optimizer.param_groups[-2:]:
            group["lr"] = learning_rate(replace(optimizer, lr=model.gate_lr), self.step, self.steps)
        self.task.target = target_at(self.step - 1, model.sparsity_warmup * self.steps, model.sparsity)

    def keep_best(self) -> None:
        """None: the error on the validation set grows as the student shrinks."""

    def finished(self) -> FitHubert:
        """The small student; what it is gets told."""
        wanted, expected = self.config.model.sparsity, self.task.sparsity()
        if abs(expected - wanted) > NEAR:
            raise FitHubertError(
                f"{self.folder}: expected a sparsity of {wanted} after {self.step} updates, found {expected:.3f}; "
                "give it more prune.trainer.steps, or begin again under another -n with a "
                f"{'higher' if expected < wanted else 'lower'} model.gate_lr"
            )
        print(f"gates end at a sparsity of {expected:.3f} and are moved to {wanted}")
        student = self.task.shrunk(wanted)
        tell(student, self.task.teacher_size)
        return student


class SmallTraining(Training):
    """The second step: the small student and the maps, as the first one left them."""

    def build_task(self) -> PruningTask:
        config, first = self.config.model, self.folder / FIRST
        model = teacher_model(load_teacher(config.teacher))
        task = PruningTask(load_checkpoint(first / "student.safetensors"), model, config.layers)
        maps = read_state(first / "last.ckpt")["further_heads"]
        task.learner.further.load_state_dict({name: w for name, w in maps.items() if name.startswith("maps.")})
        return task


class RefittedTraining(Training):
    """Distillation of the student that `prune_at_once` makes before the first update."""

    def build_task(self) -> PruningTask:
        config = self.config.model
        model = teacher_model(load_teacher(config.teacher))
        if has_state(self.last):  # whose weights `load` brings
            student = FitHubert(FitHubertConfig.from_dict(read_state(self.last)[CONFIG_KEY]))
        else:
            student = self.pruned(model)
        return PruningTask(student, model, config.layers)

    def pruned(self, model: FitHubert) -> FitHubert:
        """The small student of this teacher, the first process's in all of them."""
        config, before = self.config.model, sum(weight.numel() for weight in model.parameters())
        # layer 0 is no hidden state: no norm follows it, and in a weighted sum it drowns the others
        student = copy_of(model, config.time_reduction, hidden_states=("layers",))
        check_sparsity(config.sparsity, student, before)
        if self.fabric.is_global_zero:
            size = (1 - config.sparsity) * before
            student = student.to(self.fabric.device)
            student = prune_at_once(student, self.first_batches(), size, config.time_weight).cpu()
            tell(student, before)
        return self.fabric.broadcast(student)

    def first_batches(self) -> Iterator[Batch]:
        """Those in which `calibration_seconds` are heard."""
        heard = 0.0
        for batch in endless(self.loader, 0):
            yield batch
            heard += int(batch.lengths.sum()) / SAMPLE_RATE
            if heard >= self.config.model.calibration_seconds:
                return

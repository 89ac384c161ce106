"""`fithubert prune`: train with gates, take out what they closed, and distil what is left."""

import argparse
from dataclasses import replace
from pathlib import Path

import torch

from ..checkpoints.student import load_checkpoint
from ..distillation.optimizer import build_optimizer, learning_rate
from ..distillation.processes import build_fabric
from ..distillation.recipe import check_same_run, read_run_config
from ..distillation.state import read_state
from ..distillation.train import Training
from ..errors import FitHubertError
from ..models.fithubert import FitHubert
from ..runs.parser import add_run_flags, run_folder
from ..teachers.teachers import load_teacher
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
        description="Prune a teacher of HuBERT's shape to a small student while distilling it, then distil the student "
        "(DPHuBERT). Run the same command again to resume an interrupted run exactly.",
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
    check_same_run(folder / FIRST, first)
    check_same_run(folder, second)
    GatedTraining(build_fabric(first.train.trainer.precision), first, folder / FIRST).run()
    return SmallTraining(build_fabric(second.train.trainer.precision), second, folder).run()


class GatedTraining(Training):
    """The first step: student, maps, gates and multipliers; its student's file is the small one."""

    job = "prune"
    student_key = "GatedStudent"  # not a student's: without its gates it is another model

    def build_task(self) -> PruningTask:
        config = self.config.model
        model = teacher_model(load_teacher(config.teacher))
        student = copy_of(model, config.time_reduction)
        task = PruningTask(student, model, config.layers, Gates(student.config))
        layers = student.config.num_layers
        least = size_of(student.config, [1] * len(student.config.conv_layers), *[[0] * layers] * 4)
        if config.sparsity * task.teacher_size > task.teacher_size - least:
            raise FitHubertError(
                f"expected a sparsity below {1 - least / task.teacher_size:.3f}, since {least:,} of the teacher's "
                f"{task.teacher_size:,} parameters always stay, found {config.sparsity}; set model.sparsity"
            )
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
        student, before = self.task.shrunk(wanted), self.task.teacher_size
        config, size = student.config, sum(weight.numel() for weight in student.parameters())
        print(
            f"pruned to {size:,} of {before:,} parameters, sparsity {1 - size / before:.3f}\n"
            f"  channels {[channels for channels, _, _ in config.conv_layers]}\n"
            f"  heads {list(config.layer_heads)}\n"
            f"  FFN units {list(config.layer_ffn_dims)}"
        )
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

"""Distillation from a laptop to many GPUs: Lightning Fabric around a `Task`."""

import argparse
import math
import sys
from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor

from ..audio import SAMPLE_RATE
from ..checkpoints.student import CONFIG_KEY, STUDENT_KEY, save_fithubert
from ..checkpoints.torch_files import misfit
from ..data.batches import Batch
from ..data.loader import build_dataloader, endless
from ..errors import FitHubertError, from_extra
from ..files import remove_temporaries, write_text
from ..models.fithubert import FitHubert
from ..runs.parser import add_run_flags, run_folder
from ..runs.stop_signal import StopSignal
from .log import Stopwatch, TrainLog, draw_losses, peak_memory
from .objectives.table import build_task
from .optimizer import build_optimizer, learning_rate
from .processes import build_fabric, cpu_group, gather, highest
from .recipe import RunConfig, check_same_run, read_run_config
from .state import get_random_state, has_state, read_state, set_random_state, write_state
from .task import Task

with from_extra("distill", "distillation"):
    from lightning_fabric import Fabric


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="fithubert distill",
        description="Distil a student from a frozen teacher, on one device or, with torchrun or srun, on many. Run "
        "the same command again to resume an interrupted run exactly.",
        epilog="example: fithubert distill -g fithubert.yaml -c fithubert_100h.yaml -n my_student trainer.accumulate=4",
    )
    parser.add_argument("-g", "--model", default="fithubert.yaml", help="student, teacher and loss (%(default)s)")
    parser.add_argument("-c", "--config", default="fithubert_100h.yaml", help="the training recipe (%(default)s)")
    add_run_flags(parser, "distill", "the recipe (trainer.steps=20) or the model (model.student.dropout=0)")
    return parser


def main(argv: list[str]) -> Path:
    """Train, and return the finished student's `student.safetensors`.

    Raises
    ------
    FitHubertError
        Something in the flags, configs, data or folder is not as expected, or the loss is no number any more.
    SystemExit
        143 or 130 after SIGTERM or SIGINT, all being saved.
    """
    args = build_parser().parse_intermixed_args(argv)
    folder = run_folder(args, "distill")
    config = read_run_config(args.model, args.config, args.overrides)
    check_same_run(folder, config)
    return Training(build_fabric(config.train.trainer.precision), config, folder).run()


class Training:
    """One run in one folder, in each of its processes.

    What is learned is the task's business; the student alone is trained and wrapped for several processes. All that
    the next update depends on is in `last.ckpt`: weights, optimizer, place in the data, generators.
    """

    job = "distill"  # what the progress bar says
    student_key = STUDENT_KEY  # the student's place in `last.ckpt`

    def __init__(self, fabric: Fabric, config: RunConfig, folder: Path):
        self.fabric, self.config, self.folder = fabric, config, folder
        self.trainer = trainer = config.train.trainer
        shard = {"rank": fabric.global_rank, "world_size": fabric.world_size}
        self.loader = build_dataloader(config.train.data, trainer.seed, **shard)
        torch.manual_seed(trainer.seed)  # the same student everywhere
        self.task = self.build_task()
        self.valid_loader = None
        if config.train.data.valid:
            self.valid_loader = build_dataloader(config.train.data, trainer.seed, split="valid", **shard)
        fabric.to_device(self.task.teachers)
        loaders = {"train": self.loader, "valid": self.valid_loader}
        loaders = {split: loader for split, loader in loaders.items() if loader is not None}
        self.task.prepare(loaders, config.train.data.targets, **shard, barrier=fabric.barrier)
        epoch = len(self.loader.sampler.plan) / self.batches_an_update  # in updates
        self.steps = trainer.steps or math.ceil(trainer.epochs * epoch)
        self.valid_every = trainer.valid_every or math.ceil(epoch)

        fused = fabric.device.type == "cpu" or trainer.precision != "16-mixed"  # whose scaler could not be clipped
        self.task.learner.to(fabric.device).train()
        self.learner, self.optimizer = fabric.setup(self.task.learner, self.build_optimizer(fused))
        self.group = cpu_group(fabric)

        torch.manual_seed(trainer.seed + fabric.global_rank)  # other dropout in each process
        self.step = 0  # updates made
        self.best, self.waited = math.inf, 0  # the best validation, and how many have passed since
        self.pending: list[Tensor] = []  # (1 + N,) loss and layers' MSEs of each update since the last row
        self.watch = Stopwatch()
        if has_state(self.last):
            self.load()

    def build_task(self) -> Task:
        return build_task(self.config.model)

    def build_optimizer(self, fused: bool) -> torch.optim.Optimizer:
        return build_optimizer(self.task.learner, self.config.train.optimizer, fused)

    @property
    def last(self) -> Path:
        return self.folder / "last.ckpt"

    @property
    def batches_an_update(self) -> int:
        return self.fabric.world_size * self.trainer.accumulate

    def run(self) -> Path:
        """Train to the end, or to a signal; the student's file."""
        if self.fabric.is_global_zero:
            remove_temporaries(self.folder)
            write_text(self.folder / "config.yaml", self.config.to_yaml())
            self.log = TrainLog(self.folder, self.task.error_names, self.step, self.steps, self.job)
        try:
            with StopSignal() as stop:
                signal = self._loop(stop)
        finally:
            if self.fabric.is_global_zero:
                self.log.close()
        memory = peak_memory(self.fabric.device)
        self.fabric.print(
            f"step {self.step} of {self.steps}, {'' if math.isnan(memory) else f'peak memory {memory:.2f} GiB, '}"
            f"{self.watch.total(self.fabric.world_size):.2f} hours of audio an hour"
        )
        if signal:
            self.fabric.print(f"saved at step {self.step}; run the same command to resume", file=sys.stderr)
            raise SystemExit(128 + signal)
        student = self.folder / "student.safetensors"
        if self.fabric.is_global_zero:
            save_fithubert(self.finished(), student)
            draw_losses(self.folder)
            print(f"student: {student}")
        self.fabric.barrier()
        return student

    def finished(self) -> FitHubert:
        """The student that a run leaves."""
        return self.task.student

    def _loop(self, stop: StopSignal) -> int:
        """Update, validate, log and save till the end (0) or a signal to any of the processes (its number)."""
        batches = endless(self.loader, self.step * self.batches_an_update)
        is_saved = False
        signal = 0
        while not signal and self.step < self.steps and not self._is_out_of_patience():
            self.update(batches)
            is_last = self.step == self.steps
            is_validated = self.valid_loader is not None and (self.step % self.valid_every == 0 or is_last)
            valid = self.validate() if is_validated else None
            if self.step % self.trainer.log_every == 0 or is_validated or is_last:
                self.write_row(valid)
            if self.fabric.is_global_zero:
                self.log.bar.update()
            signal = highest(stop.number, self.group)
            is_saved = signal > 0 or self.step % self.trainer.save_every == 0
            if is_saved:
                self.save()
        if not is_saved:
            self.save()
        return signal

    def update(self, batches: Iterator[Batch]) -> None:
        """One step of the optimizer on `accumulate` batches of each process."""
        self.step += 1
        self.set_rates()
        count = self.trainer.accumulate
        record = 0.0
        for i in range(count):
            batch = next(batches)
            self.watch.add(int(batch.lengths.sum()) / SAMPLE_RATE)
            with self.fabric.no_backward_sync(self.learner, enabled=i < count - 1):
                with self.fabric.autocast():
                    loss, errors = self.task.loss(self.learner, *self._to_device(batch))
                self.fabric.backward(loss / count)
            record = record + torch.cat([loss.detach()[None], errors]) / count
        self.pending.append(record)
        if self.trainer.clip < math.inf:
            self.fabric.clip_gradients(
                self.learner, self.optimizer, max_norm=self.trainer.clip, error_if_nonfinite=False
            )
        self.optimizer.step()
        self.optimizer.zero_grad()

    def set_rates(self) -> None:
        """What update `step` learns with."""
        rate = learning_rate(self.config.train.optimizer, self.step, self.steps)
        for group in self.optimizer.param_groups:
            group["lr"] = rate

    @torch.no_grad()
    def validate(self) -> float:
        """The error that the task selects by, over all frames of the validation set: with hint heads the (first
        teacher's) last layer's, as the authors do."""
        self.learner.eval()
        total = torch.zeros(2, dtype=torch.float64)  # squared error x frames, frames
        for batch in self.valid_loader:
            frames = self.task.frames(batch.lengths).sum()
            with self.fabric.autocast():
                _, errors = self.task.loss(self.task.learner, *self._to_device(batch))
            total += torch.stack([errors[self.task.selected].cpu() * frames, frames])
        self.learner.train()
        error, frames = self.fabric.all_reduce(total, reduce_op="sum").tolist()
        valid = error / frames
        self.waited += 1
        if valid < self.best:
            self.best, self.waited = valid, 0
            if self.fabric.is_global_zero:
                self.keep_best()
        return valid

    def keep_best(self) -> None:
        save_fithubert(self.task.student, self.folder / "best.safetensors")

    def write_row(self, valid: float | None) -> None:
        """Log the means since the last row."""
        loss, *errors = self._settle().mean(0).tolist()
        self.pending = []
        if self.fabric.is_global_zero:
            row = {"step": self.step, "loss": loss}
            row |= dict(zip(self.task.error_names, errors, strict=True))
            row |= {"valid": valid, "lr": self.optimizer.param_groups[0]["lr"]}
            self.log.add(row | {"hours_per_hour": self.watch.row(self.fabric.world_size)})

    def save(self) -> None:
        """Write last.ckpt under another name, then put it in the place of the one before."""
        pending = self._settle().cpu() if self.pending else None
        if not all(bool(p.isfinite().all()) for p in self.task.learner.parameters()):
            raise self._not_finite(self.step, "weights")
        random_states = gather(get_random_state(self.fabric.device), self.group)
        if self.fabric.is_global_zero:
            state = {
                self.student_key: self.task.student.state_dict(),
                CONFIG_KEY: self.task.student.config.to_dict(),
                "further_heads": self.task.learner.beside(),
                "optimizer": self.optimizer.state_dict(),
                "precision": self.fabric.strategy.precision.state_dict(),  # the scaler of 16-mixed
                "precision_name": self.fabric.strategy.precision.precision,
                "step": self.step,
                "batches": self.step * self.batches_an_update,
                "batches_an_update": self.batches_an_update,
                "corpus": self.loader.corpus,
                "valid_corpus": self._valid_corpus,
                "best": self.best,
                "waited": self.waited,
                "pending": pending,
                "random_states": random_states,
            }
            write_state(state, self.last, self.trainer.keep)
        self.fabric.barrier()

    @property
    def _valid_corpus(self) -> str | None:
        return None if self.valid_loader is None else self.valid_loader.corpus

    def load(self) -> None:
        """Restore what `save` wrote."""
        state = read_state(self.last)
        found = state["batches_an_update"]
        if found != self.batches_an_update:
            raise FitHubertError(
                f"{self.folder}: expected {found} batches an update, as this run began with, found "
                f"{self.batches_an_update} ({self.fabric.world_size} processes x trainer.accumulate "
                f"{self.trainer.accumulate}); set trainer.accumulate so that they agree"
            )
        if found := misfit(self.task.student.state_dict(), state[self.student_key]):
            raise FitHubertError(f"{self.folder}: holds a run of another student: {found}; choose another name with -n")
        if state["step"] > self.steps:
            raise FitHubertError(
                f"{self.folder}: expected a run of {self.steps} updates at most, found one that has made "
                f"{state['step']}; raise trainer.steps, or choose another name with -n"
            )
        self.task.student.load_state_dict(state[self.student_key])
        self.task.learner.load_beside(state.get("further_heads", {}))
        self.optimizer.load_state_dict(state["optimizer"])
        self.fabric.strategy.precision.load_state_dict(state["precision"])
        self.step, self.best, self.waited = state["step"], state["best"], state["waited"]
        if self.fabric.is_global_zero:
            self.loader.compare(state.get("corpus"))
        if state.get("valid_corpus", self._valid_corpus) != self._valid_corpus:
            self.fabric.print(
                "data.valid has changed since the checkpoint: its losses are not comparable, so the best is reset"
            )
            self.best, self.waited = math.inf, 0
        then, now = state.get("precision_name"), self.fabric.strategy.precision.precision
        if then not in (None, now):
            self.fabric.print(
                f"precision {now} from here, {then} before: results will differ from an uninterrupted run"
            )
        if state["pending"] is not None:
            self.pending = list(state["pending"].to(self.fabric.device))
        if len(state["random_states"]) == self.fabric.world_size:
            set_random_state(state["random_states"][self.fabric.global_rank], self.fabric.device)
        else:
            self.fabric.print("the number of processes changed: dropout now differs from the original run")

    def _settle(self) -> Tensor:
        """(updates, 1 + N) records since the last row, means over the processes; all must be numbers.

        Looked at only now and then, so as not to wait for a GPU in every update, but always before weights are saved.
        """
        records = self.fabric.all_reduce(torch.stack(self.pending))
        self.pending = list(records)
        finite = records.isfinite().all(1).tolist()
        has_scaler = bool(self.fabric.strategy.precision.state_dict())  # 16-mixed leaves such updates out by itself
        if not all(finite) and not has_scaler:
            raise self._not_finite(self.step - len(finite) + 1 + finite.index(False), "loss")
        return records

    def _to_device(self, batch: Batch) -> Batch:
        """There, without lengths where nothing is padded."""
        padded = bool((batch.lengths != batch.waveforms.size(1)).any())
        return batch.to(self.fabric.device)._replace(lengths=batch.lengths if padded else None)

    def _not_finite(self, step: int, what: str) -> FitHubertError:
        sampler, end = self.loader.sampler, step * self.batches_an_update
        batches = [sampler.plan.batch(sampler.seed, n) for n in range(end - self.batches_an_update, end)]
        files = [self.loader.dataset.corpus.name(index) for batch in batches for index in batch.tolist()]
        return FitHubertError(
            f"step {step}: the {what} became NaN or infinite; saved checkpoints are intact. Check the "
            f"{len(files)} files of this step ({', '.join(files[:8])}{', ...' if len(files) > 8 else ''}), or restart "
            "under a new -n with a smaller optimizer.lr or trainer.clip"
        )

    def _is_out_of_patience(self) -> bool:
        return 0 < self.trainer.patience <= self.waited


if __name__ == "__main__":  # how torchrun was told to start it before version 0.2
    sys.exit(
        "fithubert distill: expected -m fithubert_upstream distill, found -m fithubert_upstream.distillation.train"
    )

"""Distillation as a pretrain task of s3prl: what its pretrain `Runner` builds, feeds and saves."""

import csv
from collections import defaultdict
from contextlib import nullcontext
from pathlib import Path

import torch
from torch import Tensor, nn

from ..checkpoints.student import CONFIG_KEY, STUDENT_KEY
from ..checkpoints.torch_files import misfit
from ..data.loader import DataConfig, build_dataloader
from ..distillation.config import DistillationConfig
from ..distillation.objectives.table import build_task
from ..distillation.remembered import with_absolute_paths
from ..errors import FitHubertError
from ..files import atomic_path
from ..runs.precision import choose_precision
from ..settings.files import from_dict

STATE_KEY = "FitHubert_State"


class UpstreamPretrainExpert(nn.Module):
    """The interface of s3prl's `pretrain/*/pretrain_expert.py` around a `Task` of distillation.

    Parameters
    ----------
    datarc : the `pretrain_expert.datarc` block of the runner config, see `DataConfig`.
    upstream_config : path of the model YAML, or its content (s3prl passes that when it resumes).
    """

    def __init__(self, datarc: dict, upstream_config: str | dict, device: str = "cuda", multi_gpu: bool = False):
        super().__init__()
        if isinstance(upstream_config, dict):
            self.config = DistillationConfig.from_dict(upstream_config)
        else:
            self.config = with_absolute_paths(DistillationConfig.from_yaml(upstream_config))
        self.device = device
        self.data_seed = torch.initial_seed()
        data, precision = _read_datarc(datarc)
        self.precision, why = choose_precision(precision, torch.device(device).type)
        if why:
            print(f"[pretrain] {why}")
        self.task = build_task(self.config)
        self.dataloader = build_dataloader(data, self.data_seed)
        if data.targets:
            self.task.teachers.to(device)
        self.task.prepare({"train": self.dataloader}, data.targets)
        self.parallel_task = nn.DataParallel(self.task) if multi_gpu else self.task
        self.consumed = 0  # batches
        self.random_state: dict | None = None

    @property
    def model(self) -> nn.Module:
        """What the runner optimises and clips: the student, and the heads for further teachers."""
        return self.task.learner

    def get_train_dataloader(self):
        return self.dataloader

    def forward(self, data, records=None, global_step=0, log_step=1000, **kwargs) -> tuple[Tensor, dict]:
        """The loss of a `Batch`, and the records with it appended."""
        if self.random_state is not None:  # the last moment before dropout draws
            _set_random_state(self.random_state)
            self.random_state = None
        batch = data.to(self.device)
        records = defaultdict(list) if records is None else records
        kind = torch.device(self.device).type
        bf16 = self.precision == "bf16-mixed" and not torch.is_autocast_enabled(kind)  # not within the runner's fp16
        with torch.autocast(kind, torch.bfloat16) if bf16 else nullcontext():
            loss, errors = self.parallel_task(*batch)
        loss, errors = loss.mean(), errors.view(-1, len(self.task.error_names)).mean(0)
        records["loss"].append(loss.detach())
        records["layers"].append(errors)
        self.consumed += 1
        return loss, records

    def on_before_zero_grad(self) -> None:
        pass

    def log_records(self, records, logger, prefix, global_step, **kwargs) -> None:
        """The loss and each layer's since the last log, to TensorBoard and to `losses.csv` beside it."""
        row = {"step": global_step, "loss": torch.stack(records["loss"]).mean().item()}
        for name, error in zip(self.task.error_names, torch.stack(records["layers"]).mean(0).tolist(), strict=True):
            row[name] = error
            logger.add_scalar(f"{prefix}{name}", error, global_step=global_step)
        _append_row(Path(logger.logdir) / "losses.csv", row)

    def add_state_to_save(self, all_states: dict) -> dict:
        """The student, its config, and what the next step depends on: the place in the data, the generators."""
        # The runner saves the step before it counts it; resuming would make that step twice.
        all_states["Step"] += 1
        all_states[STUDENT_KEY] = self.task.student.state_dict()
        all_states[CONFIG_KEY] = self.config.student.to_dict()
        all_states["Upstream_Config"] = self.config.to_dict()
        all_states[STATE_KEY] = {
            "consumed": self.consumed,
            "data_seed": self.data_seed,
            "corpus": self.dataloader.corpus,
            "random_state": _get_random_state(),
            "further_heads": self.task.learner.beside(),
        }
        return all_states

    def load_model(self, init_ckpt: dict) -> None:
        """Restore what `add_state_to_save` saved."""
        if found := misfit(self.task.student.state_dict(), init_ckpt[STUDENT_KEY]):
            raise FitHubertError(f"expected a checkpoint that fits its own config, found another: {found}")
        self.task.student.load_state_dict(init_ckpt[STUDENT_KEY])
        state = init_ckpt[STATE_KEY]
        self.task.learner.load_beside(state.get("further_heads", {}))
        self.consumed = self.dataloader.sampler.consumed = state["consumed"]
        self.data_seed = self.dataloader.sampler.seed = state["data_seed"]
        self.random_state = state["random_state"]
        self.dataloader.compare(state.get("corpus"))


def _read_datarc(datarc: dict) -> tuple[DataConfig, str]:
    """The data config and the precision, which s3prl's runner hands on in no other place; adds the name under which
    that looks up the batch size, to print it."""
    name = "train_batch_size"
    own = {key: value for key, value in datarc.items() if key not in (name, "precision")}
    data = from_dict(DataConfig, own, "pretrain_expert.datarc")
    size = data.batch_size or data.batch_seconds
    if datarc.setdefault(name, size) != size:
        raise FitHubertError(
            f"pretrain_expert.datarc: expected batch_size or batch_seconds only, found also {name} {datarc[name]} "
            f"beside {size}"
        )
    return data, str(datarc.get("precision", "auto"))


def _get_random_state() -> dict:
    return {
        "cpu": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
    }


def _set_random_state(state: dict) -> None:
    torch.set_rng_state(state["cpu"])
    if torch.cuda.is_available() and len(state["cuda"]) == torch.cuda.device_count():
        torch.cuda.set_rng_state_all(state["cuda"])


def _append_row(path: Path, row: dict) -> None:
    """Add a row to a CSV, dropping rows from the same step on: they are left from a run that was broken off."""
    rows = []
    if path.is_file():
        with path.open(newline="") as file:
            rows = [old for old in csv.DictReader(file) if int(old["step"]) < row["step"]]
    with atomic_path(path) as temporary, temporary.open("w", newline="") as file:
        writer = csv.DictWriter(file, fieldnames=list(row))
        writer.writeheader()
        writer.writerows([*rows, row])

"""Keyword spotting and speaker verification on one encoder, fine-tuned in turn: a DownstreamExpert for s3prl's runner.

Kerpicci et al. (2022), arXiv 2210.16611, section 2: one linear layer for each task on the mean of the frames,
cross-entropy for keywords, angular softmax for speakers, and an update of each task after the other. Pooling, the
embedding's width, the margin and batches are not in the paper and are the config's.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.distributed import get_rank, get_world_size, is_initialized
from torch.nn import functional as F
from torch.nn.parallel import DistributedDataParallel

from ...files import write_text
from .clips import read_corpora
from .config import JointConfig
from .loader import TrainBatches, TrainLoader, score_loader, train_parts
from .losses import build_loss
from .scoring import equal_error_rate

NAME = "joint_ks_sv"


class DownstreamExpert(nn.Module):
    """The interface of s3prl's `downstream/*/expert.py`.

    The best checkpoint, `dev-best.ckpt`, has the lowest mean of the tasks' errors on dev: 1 - accuracy and EER. Its
    `threshold` is the cosine at which dev has that EER.

    Parameters
    ----------
    upstream_dim : dimensions of the features.
    downstream_expert : what `JointConfig` takes.
    expdir : folder of the run.
    runner : s3prl's block of that name.
    seed : of the batches; s3prl's `--seed`.
    """

    def __init__(
        self, upstream_dim: int, downstream_expert: dict, expdir: str, runner: dict, seed: int = 1337, **kwargs
    ):
        super().__init__()
        self.config = JointConfig.from_dict(downstream_expert)
        self.expdir = Path(expdir)
        self.keywords, self.speakers = read_corpora(self.config)
        if self.keywords is not None:
            self.ks_head = nn.Linear(upstream_dim, len(self.keywords.classes))
        if self.speakers is not None:
            dim = self.config.sv.embedding_dim
            self.sv_head = nn.Linear(upstream_dim, dim)
            self.sv_loss = build_loss(self.config.sv.loss, dim, len(self.speakers.speakers))
        parallel = {"rank": get_rank(), "world_size": get_world_size()} if is_initialized() else {}
        parts = train_parts(self.config, self.keywords, self.speakers)
        self.train_batches = TrainBatches(parts, seed, **parallel)
        self.register_buffer("best_error", torch.tensor(float("inf")))  # percent
        self.register_buffer("threshold", torch.tensor(float("nan")))
        # s3prl scores in the first process alone, where a broadcast of buffers would wait for the others
        DistributedDataParallel._set_params_and_buffers_to_ignore_for_model(self, list(dict(self.named_buffers())))
        self.batches = runner["total_steps"] * runner["gradient_accumulate_steps"]  # of the whole run
        self.consumed = 0  # batches
        self.random_state: dict | None = None

    def get_dataloader(self, mode: str):
        """Training batches from where the run is to the epoch's end; or every recording of `dev` or `test` once."""
        if mode == "train":
            return TrainLoader(self.train_batches, self.consumed, self.config.num_workers, self._before_batch)
        return score_loader(mode, self.config, self.keywords, self.speakers)

    def forward(
        self, mode: str, features: Sequence[Tensor], task: str, labels: list, records: dict, **kwargs
    ) -> Tensor:
        """The loss of a training batch of one task; in `dev` and `test`, what is scored goes to `records`.

        features : (L_i, D) of each recording.
        """
        pooled = torch.stack([feature.mean(0) for feature in features])  # (B, D)
        if mode != "train":
            return self._score(pooled, task, labels, records)
        self.consumed += 1
        target = torch.tensor(labels, device=pooled.device)
        if task == "ks":
            loss = F.cross_entropy(self.ks_head(pooled), target)
        else:
            loss = self.sv_loss(self.sv_head(pooled), target)
        records[f"{task}-loss"].append(loss.item())
        return loss

    def _score(self, pooled: Tensor, task: str, labels: list, records: dict) -> Tensor:
        if task == "ks":
            records["found"] += self.ks_head(pooled).argmax(1).tolist()
            records["truth"] += labels
        else:
            records["embeddings"] += F.normalize(self.sv_head(pooled)).cpu().unbind()
            records["paths"] += labels
        return torch.zeros(())

    def log_records(self, mode: str, records: dict, logger, global_step: int, **kwargs) -> list[str]:
        """Log losses, accuracy and EER, and leave what they rest on in the run's folder; names the best checkpoint."""
        if mode == "train":
            scores = {name: float(np.mean(values)) for name, values in records.items()}
        else:
            scores = self._scores(mode, records)
        for name, value in scores.items():
            logger.add_scalar(f"{NAME}/{mode}-{name}", value, global_step=global_step)
        print(f"{NAME} {mode} at {global_step}: " + ", ".join(f"{name} {value:.4f}" for name, value in scores.items()))
        if mode != "dev":
            return []
        errors = [100 * (1 - value if name == "acc" else value) for name, value in scores.items()]
        error = sum(errors) / len(errors)
        if error >= self.best_error:
            return []
        self.best_error.fill_(error)
        return ["dev-best.ckpt"]

    def _scores(self, mode: str, records: dict) -> dict[str, float]:
        scores = {}
        if self.keywords is not None:
            clips, classes = getattr(self.keywords, mode), self.keywords.classes
            found, truth = records["found"], records["truth"]
            scores["acc"] = sum(f == t for f, t in zip(found, truth, strict=True)) / len(truth)
            lines = [f"{clip.path} {classes[f]} {classes[t]}" for clip, f, t in zip(clips, found, truth, strict=True)]
            write_text(self.expdir / f"{mode}_keywords.txt", "\n".join(["path found truth", *lines, ""]))
        if self.speakers is not None:
            embeddings = dict(zip(records["paths"], records["embeddings"], strict=True))
            trials = getattr(self.speakers, mode)
            cosines = [float(embeddings[str(t.enrolment)] @ embeddings[str(t.test)]) for t in trials]
            scores["eer"], threshold = equal_error_rate([t.target for t in trials], cosines)
            if mode == "dev":
                self.threshold.fill_(threshold)
            lines = [
                f"{int(t.target)} {cosine:.6f} {t.enrolment} {t.test}"
                for t, cosine in zip(trials, cosines, strict=True)
            ]
            write_text(self.expdir / f"{mode}_trials.txt", "\n".join(["label cosine path path", *lines, ""]))
        return scores

    def get_extra_state(self) -> dict:
        """What the next update depends on beside the weights: the place in the data, the generators."""
        cuda = torch.cuda.get_rng_state_all() if torch.cuda.is_available() else []
        return {"consumed": self.consumed, "cpu": torch.get_rng_state(), "cuda": cuda}

    def set_extra_state(self, state: dict) -> None:
        """Restore what `get_extra_state` returned; the generators only just before the next training batch."""
        self.consumed, self.random_state = state["consumed"], state

    def _before_batch(self) -> None:
        if self.train_batches.rank > 0 and self.consumed >= self.batches:
            raise SystemExit  # s3prl counts updates in the first process alone: the others would go on for ever
        if self.random_state is not None:
            torch.set_rng_state(self.random_state["cpu"])
            if len(self.random_state["cuda"]) == torch.cuda.device_count():
                torch.cuda.set_rng_state_all(self.random_state["cuda"])
            self.random_state = None

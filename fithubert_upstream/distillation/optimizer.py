"""The optimizer that the authors effectively ran: AdamW, weight decay on all but biases, linear warm-up and decay."""

from dataclasses import dataclass

import torch
from torch import nn

from ..errors import FitHubertError

# Parts of names that s3prl's `get_grouped_parameters` leaves without decay. Norms called layer_norm, as in
# fairseq, or feature_norm, as here, do not match: they are decayed.
NO_DECAY = ("bias", "LayerNorm.weight")


@dataclass(frozen=True)
class OptimizerConfig:
    """The `optimizer` block of a training recipe; the defaults are the authors'."""

    lr: float = 5e-4
    betas: tuple[float, float] = (0.9, 0.98)
    eps: float = 1e-6
    weight_decay: float = 0.01
    warmup_proportion: float = 0.05

    def __post_init__(self) -> None:
        if not all(0 <= beta < 1 for beta in self.betas):
            raise FitHubertError(f"expected betas in [0, 1), found {list(self.betas)}")
        if not 0 <= self.warmup_proportion < 1:
            raise FitHubertError(f"expected warmup_proportion in [0, 1), found {self.warmup_proportion}")
        for name in ("lr", "eps", "weight_decay"):
            if not 0 <= getattr(self, name) < float("inf"):
                raise FitHubertError(f"expected {name} of at least 0, found {getattr(self, name)}")


def build_optimizer(student: nn.Module, config: OptimizerConfig, fused: bool = False) -> torch.optim.AdamW:
    """AdamW over the student's parameters; the decayed ones are those that s3prl would decay.

    s3prl's `Lamb(adam=True)`, which the authors ran, is the same but for young moments: at update t its decay is
    sqrt(1 - beta2^t) / (1 - beta1^t) times and its eps 1 / sqrt(1 - beta2^t) times what it is here. In the slow
    warm-up of the published run that moves no weight by more than 1e-6.
    """
    named = list(student.named_parameters())
    decayed = [p for name, p in named if not any(part in name for part in NO_DECAY)]
    spared = [p for name, p in named if any(part in name for part in NO_DECAY)]
    groups = [
        {"params": decayed, "weight_decay": config.weight_decay},
        {"params": spared, "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=config.lr, betas=config.betas, eps=config.eps, fused=fused)


def learning_rate(config: OptimizerConfig, step: int, steps: int) -> float:
    """The rate of update `step`, counted from 1: a linear rise, then a linear fall that ends in 0, as s3prl has it."""
    progress = step / steps
    if progress < config.warmup_proportion:
        return config.lr * progress / config.warmup_proportion
    return config.lr * max(0.0, (1 - progress) / (1 - config.warmup_proportion))

"""What a pruned student learns: its teacher's layers, and to be small."""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from ..models.lengths import valid_mask


def l1_minus_cosine(student: Sequence[Tensor], teacher: Sequence[Tensor], lengths: Tensor | None) -> Tensor:
    """(N,) means of ||t - s||_1 / D - cos(t, s) over the frames that count (DPHuBERT, Peng et al., 2023).

    Parameters
    ----------
    student, teacher : N layers each, (B, L, D).
    lengths : (B,) frames that count; None when all do.
    """
    terms = [
        (s - t).abs().mean(2) - F.cosine_similarity(s, t, dim=2)  # (B, L)
        for s, t in zip(student, teacher, strict=True)
    ]
    errors = torch.stack(terms)  # (N, B, L)
    if lengths is None:
        return errors.mean((1, 2))
    valid = valid_mask(lengths, errors.size(2), errors.device)  # (B, L)
    return (errors * valid).sum((1, 2)) / lengths.sum()


def lagrangian(sparsity: Tensor, target: float, multipliers: Tensor) -> Tensor:
    """l1 (s - t) + l2 (s - t)^2 for the expected sparsity s and its target t (Wang et al., 2020, arXiv 1910.04732).

    It is minimised over the gates, which s depends on, and maximised over the (2,) multipliers l1, l2, which so
    grow until s is t.
    """
    difference = sparsity - target
    return multipliers[0] * difference + multipliers[1] * difference.square()


def target_at(updates: int, warmup: float, sparsity: float) -> float:
    """The sparsity to be reached after so many updates: a linear rise over `warmup` updates, then `sparsity`."""
    return sparsity * min(1.0, updates / warmup) if warmup else sparsity

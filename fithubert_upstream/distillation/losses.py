"""What the student learns from the teacher."""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from ..models.lengths import valid_mask


def hint_loss(
    student: Sequence[Tensor],
    teacher: Sequence[Tensor],
    lengths: Tensor | None,
    hint_weight: float = 0.1,
    kind: str = "mse",
) -> tuple[Tensor, Tensor]:
    """FitHuBERT's loss: the last layer's error plus `hint_weight` times the sum of the others'.

    L = MSE(head_N(s_N), t_N) + hint_weight * sum_{l<N} MSE(head_l(s_l), t_l), each MSE the mean over frames
    and dimensions (official train.py `calculate_loss`: `rec_loss_weight` 1, `random_layer_weight` 0.1 over
    all 11 lower layers). The official code also averages over padded frames; here they are left out.

    Parameters
    ----------
    student, teacher : N layers each, (B, L, D), layer l against layer l.
    lengths : (B,) frames that count; None when all do.
    kind : a name in `ERRORS`; what is written MSE above.

    Returns
    -------
    The loss, and the (N,) layers' errors, detached.
    """
    losses = ERRORS[kind](student, teacher, lengths)
    return losses[-1] + hint_weight * losses[:-1].sum(), losses.detach()


def prediction_loss(
    student: Sequence[Tensor], teacher: Sequence[Tensor], lengths: Tensor | None
) -> tuple[Tensor, Tensor]:
    """Kerpicci et al.'s loss (2022, arXiv 2210.16611), after DistilHuBERT's: the sum of `l1_cosine` over layers.

    The paper sums over the frames too; the mean, as s3prl's DistilHuBERT has it, leaves the loss alike for all lengths.

    Parameters
    ----------
    student, teacher : N predicted layers each, (B, L, K), prediction p against teacher layer p.
    lengths : (B,) frames that count; None when all do.

    Returns
    -------
    The loss, and the (N,) terms of the layers, detached.
    """
    losses = l1_cosine(student, teacher, lengths)
    return losses.sum(), losses.detach()


def pooled_loss(student: Sequence[Tensor], teacher: Sequence[Tensor], lengths: Tensor | None) -> tuple[Tensor, Tensor]:
    """The sum over layers of 1 - cos(mean over frames of s, t): what a whole utterance is, learned from frames.

    Parameters
    ----------
    student : N predicted layers, each (B, L, D).
    teacher : N targets, each (B, D).
    lengths : (B,) frames that count; None when all do.

    Returns
    -------
    The loss, and the (N,) terms of the layers, detached.
    """
    terms = []
    for s, t in zip(student, teacher, strict=True):
        if lengths is None:
            mean = s.mean(1)  # (B, D)
        else:
            mean = (s * valid_mask(lengths, s.size(1), s.device)[:, :, None]).sum(1)  # its length does not count
        terms.append(1 - F.cosine_similarity(mean, t, dim=1).mean())
    losses = torch.stack(terms)
    return losses.sum(), losses.detach()


def mse(student: Sequence[Tensor], teacher: Sequence[Tensor], lengths: Tensor | None) -> Tensor:
    """(N,) mean squared errors of N layers (B, L, D) over the frames that count."""
    if lengths is None:
        return torch.stack([F.mse_loss(s, t) for s, t in zip(student, teacher, strict=True)])
    valid = valid_mask(lengths, student[0].size(1), student[0].device)[:, :, None]  # (B, L, 1)
    count = lengths.sum() * student[0].size(2)
    return torch.stack([((s - t).square() * valid).sum() / count for s, t in zip(student, teacher, strict=True)])


def l1_cosine(student: Sequence[Tensor], teacher: Sequence[Tensor], lengths: Tensor | None) -> Tensor:
    """(N,) means of ||t - s||_1 / D - log sigmoid(cos(t, s)) of N layers (B, L, D) over the frames that count
    (DistilHuBERT, Chang et al., 2022, arXiv 2110.01900)."""
    terms = [
        (s - t).abs().mean(2) - F.logsigmoid(F.cosine_similarity(s, t, dim=2))  # (B, L)
        for s, t in zip(student, teacher, strict=True)
    ]
    losses = torch.stack(terms)  # (N, B, L)
    if lengths is None:
        return losses.mean((1, 2))
    valid = valid_mask(lengths, losses.size(2), losses.device)  # (B, L)
    return (losses * valid).sum((1, 2)) / lengths.sum()


# What `loss.kind` may name: student layers, teacher layers, lengths -> (N,) errors.
ERRORS = {"mse": mse, "l1_cosine": l1_cosine}

"""What the student learns from the teacher."""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from .lengths import valid_mask


def hint_loss(
    student: Sequence[Tensor], teacher: Sequence[Tensor], lengths: Tensor | None, hint_weight: float = 0.1
) -> tuple[Tensor, Tensor]:
    """FitHuBERT's loss: MSE of the last layer plus `hint_weight` times the sum of the others' MSEs.

    L = MSE(head_N(s_N), t_N) + hint_weight * sum_{l<N} MSE(head_l(s_l), t_l), each MSE the mean over frames
    and dimensions (official train.py `calculate_loss`: `rec_loss_weight` 1, `random_layer_weight` 0.1 over
    all 11 lower layers). The official code also averages over padded frames; here they are left out.

    Parameters
    ----------
    student, teacher : N layers each, (B, L, D), layer l against layer l.
    lengths : (B,) frames that count; None when all do.

    Returns
    -------
    The loss, and the (N,) layers' MSEs, detached.
    """
    if lengths is None:
        errors = [F.mse_loss(s, t) for s, t in zip(student, teacher, strict=True)]
    else:
        valid = valid_mask(lengths, student[0].size(1), student[0].device)[:, :, None]  # (B, L, 1)
        count = lengths.sum() * student[0].size(2)
        errors = [((s - t).square() * valid).sum() / count for s, t in zip(student, teacher, strict=True)]
    losses = torch.stack(errors)  # (N,)
    return losses[-1] + hint_weight * losses[:-1].sum(), losses.detach()

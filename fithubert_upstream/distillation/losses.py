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


def gram_loss(student: Sequence[Tensor], teacher: Sequence[Tensor], lengths: Tensor | None) -> tuple[Tensor, Tensor]:
    """STaRHuBERT's loss (Jang, Kim, Kim, 2024, arXiv 2312.09040): how alike frames are to each other, layer by layer.

    With F_l (L, D_l) an utterance's layer l, F_0 the features before positions are added:
    L = sum_{l=0..N} MSE(F_l F_l^T, teacher's) + sum_{l=1..N} MSE(F_{l-1} F_l^T, teacher's), the paper's layer-wise and
    intra-layer temporal Gram matrices (L, L). Each MSE is the mean over pairs of frames of an utterance.
    Formula and layers are those of a published re-implementation's code and report (github.com/Qingzheng-Wang/
    STaRHuBERT, train_starhubert.py); that code takes means over layers for the sums, which weighs the two parts as
    12 to 13, and padded frames count there. The products are not divided by the width, in either.

    Parameters
    ----------
    student : N + 1 layers, each (B, L, D).
    teacher : N + 1 layers, each (B, L, E); D and E may differ.
    lengths : (B,) frames that count; None when all do.

    Returns
    -------
    The loss, and its (2 N + 1,) terms, detached: those of layers 0 to N, then those of the pairs (l - 1, l).
    """
    batch, size, _ = student[0].shape
    if lengths is None:
        pairs = batch * size**2
    else:
        pairs = int(lengths.square().sum())
        valid = valid_mask(lengths, size, student[0].device)[:, :, None]  # (B, L, 1)
        student, teacher = ([layer * valid for layer in layers] for layers in (student, teacher))

    def gram(layers: Sequence[Tensor], a: int, b: int) -> Tensor:
        return layers[a] @ layers[b].transpose(1, 2)  # (B, L, L)

    count = len(student)
    both = [(layer, layer) for layer in range(count)] + [(layer - 1, layer) for layer in range(1, count)]
    with torch.autocast(student[0].device.type, enabled=False):  # sums of hundreds of products
        terms = [(gram(student, a, b) - gram(teacher, a, b)).square().sum() / pairs for a, b in both]
    losses = torch.stack(terms)
    return losses.sum(), losses.detach()


def cluster_loss(
    logits: Tensor, clusters: Tensor, mask: Tensor, lengths: Tensor | None, unmasked_weight: float = 0.0
) -> tuple[Tensor, Tensor]:
    """HuBERT's loss (Hsu et al., 2021, arXiv 2106.07447, equations 1 and 2), which DiceHuBERT takes for distillation.

    L = mean over masked frames of -log p(cluster) + unmasked_weight x the same of the other frames.

    Parameters
    ----------
    logits : (B, L, K).
    clusters : (B, L) int64, each frame's.
    mask : (B, L), True where the frame was hidden.
    lengths : (B,) frames that count; None when all do.

    Returns
    -------
    The loss, and (3,) detached: the masked frames' part, the others', the share of masked frames whose cluster is the
    likeliest.
    """
    valid = torch.ones_like(mask) if lengths is None else valid_mask(lengths, mask.size(1), mask.device)
    losses = F.cross_entropy(logits.transpose(1, 2), clusters, reduction="none")  # (B, L)
    found = (logits.detach().argmax(2) == clusters).to(losses.dtype)
    masked, seen, share = (
        values[frames].sum() / frames.sum().clamp(min=1)  # a short utterance may have all its frames masked
        for values, frames in ((losses, mask & valid), (losses, ~mask & valid), (found, mask & valid))
    )
    return masked + unmasked_weight * seen, torch.stack([masked, seen, share]).detach()


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

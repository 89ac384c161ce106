"""Speaker classification with a margin, on embeddings of any length (they are compared by their angle)."""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .config import SpeakerLossConfig


def build_loss(config: SpeakerLossConfig, dim: int, speakers: int) -> nn.Module:
    """The loss that a config names, for embeddings of `dim` and so many speakers."""
    if config.name == "am_softmax":
        return AMSoftmax(dim, speakers, config.margin, config.scale)
    return AngularSoftmax(dim, speakers, int(config.margin), config.lambda_max, config.lambda_min)


class AngularSoftmax(nn.Module):
    """A-softmax (Liu et al., SphereFace, 2017): the target's angle t counts as if it were `margin` times as large.

    Logits are |x| cos t_j; the target's is |x| psi(t), psi(t) = (-1)^k cos(m t) - 2 k on [k pi / m, (k + 1) pi / m],
    blended with |x| cos t as `SpeakerLossConfig` says.
    """

    def __init__(self, dim: int, speakers: int, margin: int, lambda_max: float, lambda_min: float):
        super().__init__()
        self.weight = nn.Parameter(nn.init.xavier_normal_(torch.empty(speakers, dim)))
        self.margin, self.lambda_max, self.lambda_min = margin, lambda_max, lambda_min
        self.register_buffer("updates", torch.zeros((), dtype=torch.long))

    def forward(self, embeddings: Tensor, labels: Tensor) -> Tensor:
        """(B, E) embeddings and (B,) speakers -> the mean loss."""
        length = embeddings.norm(dim=1, keepdim=True)  # (B, 1)
        cosine = F.linear(F.normalize(embeddings), F.normalize(self.weight))  # (B, S)
        target = cosine.gather(1, labels[:, None])  # (B, 1)
        blend = max(self.lambda_min, self.lambda_max / (1 + 0.1 * self.updates.item()))
        target = (blend * target + psi(target, self.margin)) / (blend + 1)
        if self.training:
            self.updates += 1
        return F.cross_entropy(length * cosine.scatter(1, labels[:, None], target), labels)


def psi(cosine: Tensor, margin: int) -> Tensor:
    """cos(m t), made to fall all the way from t = 0 to pi; cosine is cos t."""
    before, multiple = torch.ones_like(cosine), cosine  # cos 0 t, cos 1 t
    for _ in range(margin - 1):
        before, multiple = multiple, 2 * cosine * multiple - before
    angle = cosine.detach().clamp(-1, 1).acos()
    k = (angle * margin / math.pi).floor().clamp(max=margin - 1)
    return (1 - 2 * (k % 2)) * multiple - 2 * k


class AMSoftmax(nn.Module):
    """AM-softmax (Wang et al., 2018): `scale` (cos t_j), from the target's cosine `margin` is taken first."""

    def __init__(self, dim: int, speakers: int, margin: float, scale: float):
        super().__init__()
        self.weight = nn.Parameter(nn.init.xavier_normal_(torch.empty(speakers, dim)))
        self.margin, self.scale = margin, scale

    def forward(self, embeddings: Tensor, labels: Tensor) -> Tensor:
        """(B, E) embeddings and (B,) speakers -> the mean loss."""
        cosine = F.linear(F.normalize(embeddings), F.normalize(self.weight))  # (B, S)
        margin = F.one_hot(labels, len(self.weight)) * self.margin
        return F.cross_entropy(self.scale * (cosine - margin), labels)

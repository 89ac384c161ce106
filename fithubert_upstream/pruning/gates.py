"""Gates that training opens or closes: one for each convolution channel, attention head and FFN unit.

A gate multiplies what its unit gives. Where it is closed, the unit can be taken out.
"""

import copy
import math
from typing import NamedTuple

import torch
from torch import Tensor, nn

from ..models.config import FitHubertConfig

TEMPERATURE = 2 / 3  # beta of the paper
LOW, HIGH = -0.1, 1.1  # gamma and zeta: what lies beyond 0 and 1 is cut, so that both have a probability
EPS = 1e-6
BOUND = 20.0  # of log alpha: from here on a gate is open, or closed, for good
# How log alpha begins, as log((1 - c) / c): channels and heads as good as open, FFN units undecided. DPHuBERT's.
CLOSED_CHANNELS = CLOSED_HEADS = 0.01
CLOSED_UNITS = 0.5


class HardConcrete(nn.Module):
    """Gates in [0, 1] with the hard concrete distribution (Louizos et al., 2018, arXiv 1712.01312).

    In training each call draws, with u uniform in (0, 1),

        s = sigmoid((log u - log(1 - u) + log alpha) / beta)
        z = min(1, max(0, s (zeta - gamma) + gamma))

    so that P(z > 0) = sigmoid(log alpha - beta log(-gamma / zeta)). In eval the gates are fixed: of n gates, those
    round(sum of P(z > 0)) that are most probably open stay so, with z = sigmoid(0.8 log alpha / beta), which is close
    to their mean, and the others are 0 (Wang et al., 2020, arXiv 1910.04732, which DPHuBERT follows).
    """

    def __init__(self, units: int, closed: float):
        super().__init__()
        start = math.log((1 - closed) / closed)
        self.log_alpha = nn.Parameter(torch.empty(units).normal_(start, 0.01))

    @property
    def logits(self) -> Tensor:
        """(U,), the sigmoids of which are the probabilities of an open gate."""
        return self.log_alpha - TEMPERATURE * math.log(-LOW / HIGH)

    def forward(self) -> Tensor:
        """(U,) gates: drawn in training, fixed in eval."""
        if not self.training:
            return self.fixed()
        u = torch.empty_like(self.log_alpha).uniform_(EPS, 1 - EPS)
        s = torch.sigmoid((u.logit() + self.log_alpha) / TEMPERATURE)
        return (s * (HIGH - LOW) + LOW).clamp(0, 1)

    @torch.no_grad()
    def fixed(self) -> Tensor:
        """(U,) gates of eval."""
        values = torch.sigmoid(0.8 * self.log_alpha / TEMPERATURE)
        open_ones = values.topk(round(self.logits.sigmoid().sum().item())).indices
        return torch.zeros_like(values).index_copy(0, open_ones, values[open_ones])


class Masks(NamedTuple):
    """The gates of a model, (U,) each: of every convolution, of every layer's attention heads and FFN units."""

    convs: list[Tensor]
    heads: list[Tensor]
    ffns: list[Tensor]


class Gates(nn.Module):
    """Gates for all that is pruned in a model of this config: convolution channels, heads and FFN units.

    A layer without attention or FFN has none there.
    """

    def __init__(self, config: FitHubertConfig):
        super().__init__()
        self.config = config
        channels = [channels for channels, _, _ in config.conv_layers]
        self.convs = nn.ModuleList(HardConcrete(units, CLOSED_CHANNELS) for units in channels)
        self.heads = nn.ModuleList(HardConcrete(units, CLOSED_HEADS) for units in config.layer_heads)
        self.ffns = nn.ModuleList(HardConcrete(units, CLOSED_UNITS) for units in config.layer_ffn_dims)

    def forward(self) -> Masks:
        """One draw of all gates in training, their fixed values in eval."""
        return Masks(*([gate() for gate in part] for part in (self.convs, self.heads, self.ffns)))

    def expected_size(self) -> Tensor:
        """(), the expected number of parameters of the model that is left.

        Gates are independent, so it is `size_of` the expected counts, with the probability that a layer keeps any
        head, or any unit, in the place of whether it does.
        """
        convs, heads, ffns = (
            [gate.logits.sigmoid().sum() for gate in part] for part in (self.convs, self.heads, self.ffns)
        )
        attends, feeds = ([_any_open(gate.logits) for gate in part] for part in (self.heads, self.ffns))
        return size_of(self.config, convs, heads, ffns, attends, feeds)

    def fixed_size(self) -> int:
        """Parameters of the model that the gates of eval leave."""
        counts = [[int((gate.fixed() > 0).sum()) for gate in part] for part in (self.convs, self.heads, self.ffns)]
        attends, feeds = ([int(count > 0) for count in part] for part in counts[1:])
        return size_of(self.config, *counts, attends, feeds)

    def moved_to(self, size: float) -> "Gates":
        """A copy whose `fixed_size` is as near to `size` as can be: every log alpha is moved by the same number."""
        low, high = -BOUND, BOUND
        for _ in range(50):
            middle = (low + high) / 2
            low, high = (low, middle) if self._moved_by(middle).fixed_size() > size else (middle, high)
        return min(map(self._moved_by, (low, high)), key=lambda gates: abs(gates.fixed_size() - size))

    @torch.no_grad()
    def _moved_by(self, shift: float) -> "Gates":
        moved = copy.deepcopy(self)
        for log_alpha in moved.parameters():
            log_alpha += shift
        return moved


def _any_open(logits: Tensor) -> Tensor:
    """1 - prod (1 - P), the probability that not all of these gates are closed."""
    return -torch.expm1(nn.functional.logsigmoid(-logits).sum())


def size_of(config: FitHubertConfig, convs: list, heads: list, ffns: list, attends: list, feeds: list):
    """Parameters of a pruned model without heads for distillation.

    config : the model's before it was pruned.
    convs, heads, ffns : how many channels, heads and units are left in each layer.
    attends, feeds : 1 where a layer keeps any of them, else 0.
    """
    dim, width = config.embed_dim, config.width_of_head
    total, before = 0, 1
    for channels, (_, kernel, _) in zip(convs, config.conv_layers, strict=True):
        total, before = total + before * channels * kernel, channels
    total = total + 2 * convs[0]  # the first norm
    total = total + before * (1 + 2 * config.feature_norm)  # a factor for each channel, and the norm
    total = total + (before + 1) * dim  # the projection
    total = total + (dim // config.pos_conv_groups * dim + 1) * config.pos_conv_kernel + dim + 2 * dim
    if config.time_reduction > 1:
        total = total + (config.time_reduction * dim + 1) * dim
    for count, units, has_heads, has_units in zip(heads, ffns, attends, feeds, strict=True):
        total = total + count * width * (4 * dim + 3) + has_heads * dim  # queries, keys, values, output
        total = total + units * (2 * dim + 1) + has_units * dim + 4 * dim  # FFN, and both norms
    return total

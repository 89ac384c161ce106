"""Which inputs a linear layer can do without, when least squares make up for them from the others.

A unit of a model, such as an attention head, is a group of inputs of the linear layer that reads it. Of inputs x with
second moments C = E x x^T and weights W, the layer keeps the inputs S, with the weights V that give the least
E ||W^T x - V^T x_S||^2. Nothing is trained.

C inputs, D outputs, G groups of S inputs each; everything is float64.
"""

from typing import NamedTuple

import torch
from torch import Tensor

RIDGE = 1e-3  # of the mean square, added to each: in a little speech there are directions in which nothing happens


class Moments:
    """First and second moments of rows, a batch at a time."""

    def __init__(self, channels: int, device: torch.device | str = "cpu"):
        self.count = 0
        self._sum = torch.zeros(channels, dtype=torch.float64, device=device)
        self._products = torch.zeros(channels, channels, dtype=torch.float64, device=device)

    def add(self, rows: Tensor) -> None:
        """Count (N, C) rows in."""
        rows = rows.to(self._sum)
        self.count += len(rows)
        self._sum += rows.sum(0)
        self._products += rows.T @ rows

    @property
    def mean(self) -> Tensor:
        """(C,)"""
        return self._sum / self.count

    def second(self, centred: bool) -> Tensor:
        """(C, C), with the ridge: the covariance for a reader whose bias takes the means, else E x x^T."""
        moments = self._products / self.count
        if centred:
            moments = moments - self.mean.outer(self.mean)
        return moments + RIDGE * moments.diagonal().mean() * torch.eye(len(moments)).to(moments)


class Removal(NamedTuple):
    """Groups in the order in which they go; errors[n] is the squared error with n of them gone."""

    order: list[int]
    errors: list[float]


def removal_order(moments: Tensor, weight: Tensor, size: int) -> Removal:
    """Take one group after the other, each time the one that the others make up for best.

    This is the optimal brain surgeon (Hassibi and Stork, 1993) on the output of one layer, by groups. With H the
    inverse of the second moments of what is left, group g costs tr(W_g^T (H_gg)^-1 W_g); when it goes, W becomes
    W - H_:g (H_gg)^-1 W_g and H becomes H - H_:g (H_gg)^-1 H_g:.

    Parameters
    ----------
    moments : (C, C), positive definite.
    weight : (C, D), W.
    size : S; inputs g S to (g + 1) S are group g.
    """
    inverse, weight = torch.linalg.inv(moments), weight.clone()
    inputs = torch.arange(len(moments), device=moments.device).view(-1, size)  # (G, S)
    gone = torch.zeros(len(inputs), dtype=torch.bool, device=moments.device)
    order, errors = [], [0.0]
    for _ in range(len(inputs)):
        costs = _costs(inverse, weight, inputs).masked_fill(gone, torch.inf)
        group = int(costs.argmin())
        order.append(group)
        errors.append(errors[-1] + float(costs[group]))
        gone[group] = True
        at = inputs[group]
        columns = inverse[:, at]  # (C, S)
        solved = torch.linalg.solve(inverse[at][:, at], torch.cat([columns.T, weight[at]], 1))  # (S, C + D)
        inverse.addmm_(columns, solved[:, : len(inverse)], alpha=-1)
        weight.addmm_(columns, solved[:, len(inverse) :], alpha=-1)
        inverse[at], inverse[:, at], weight[at] = 0.0, 0.0, 0.0  # as they are but for rounding
        inverse[at, at] = 1.0  # so that all groups can be solved for together
    return Removal(order, errors)


def _costs(inverse: Tensor, weight: Tensor, inputs: Tensor) -> Tensor:
    """(G,) what the removal of each group costs."""
    if inputs.size(1) == 1:
        return weight.square().sum(1) / inverse.diagonal()
    blocks, weights = inverse[inputs[:, :, None], inputs[:, None]], weight[inputs]  # (G, S, S), (G, S, D)
    return (weights * torch.linalg.solve(blocks, weights)).sum((1, 2))


def refit(moments: Tensor, weight: Tensor, kept: Tensor) -> Tensor:
    """(C, D) weights that read the inputs `kept` alone, with which the output is as near to what it was as can be."""
    fitted = torch.zeros_like(weight)
    fitted[kept] = torch.linalg.solve(moments[kept][:, kept], moments[kept] @ weight)
    return fitted

"""Layers that work with something computed from their parameters, and keep it."""

from typing import Any

import torch
from torch import nn


class Folding(nn.Module):
    """A layer with `fold`, whose result `folded` keeps while the parameters stand still.

    It is kept in eval and without gradients only, and computed anew after anything that changed a parameter.
    """

    def __init__(self) -> None:
        super().__init__()
        self._kept: tuple[list[int], Any] | None = None

    def fold(self) -> Any:
        """What the layer computes with."""
        raise NotImplementedError

    def folded(self) -> Any:
        """The result of `fold`, cached in eval mode without gradients."""
        if self.training or torch.is_grad_enabled():
            return self.fold()
        versions = [0 if p.is_inference() else p._version for p in self.parameters()]  # counts of changes in place
        if not versions:  # a replica of DataParallel has no parameters()
            return self.fold()
        if self._kept is None or self._kept[0] != versions:
            with torch.autocast(next(self.parameters()).device.type, enabled=False):  # it is kept for calls without
                self._kept = versions, self.fold()
        return self._kept[1]

    def train(self, mode: bool = True) -> "Folding":
        self._kept = None
        return super().train(mode)

    def _apply(self, *args, **kwargs):  # .to(), .half(), .cuda()
        self._kept = None
        return super()._apply(*args, **kwargs)

    def _load_from_state_dict(self, *args, **kwargs):
        self._kept = None
        return super()._load_from_state_dict(*args, **kwargs)

    def __getstate__(self) -> dict:  # a copy folds for itself
        return self.__dict__ | {"_kept": None}

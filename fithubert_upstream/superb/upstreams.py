"""Upstreams by their names, built by s3prl's hub."""

import argparse
from typing import NamedTuple

import torch
from torch import nn

from ..audio import SAMPLE_RATE
from ..downstream.flags import DEFAULTS
from ..downstream.upstream_checks import check_upstream
from ..errors import FitHubertError
from ..models.inference import Feature
from ..upstream.hubconf import register
from .names import Upstream


def build(upstream: Upstream) -> nn.Module:
    """Build an upstream from s3prl's hub, in eval mode. Raises FitHubertError if it has no such feature."""
    register()
    from s3prl import hub

    check_upstream(argparse.Namespace(**DEFAULTS | {"upstream": upstream.name, "upstream_ckpt": upstream.ckpt}), hub)
    model = getattr(hub, upstream.name)(**({} if upstream.ckpt is None else {"ckpt": upstream.ckpt})).eval()
    if upstream.feature is not None:  # s3prl would take hidden_states instead
        with torch.no_grad():
            features = model([torch.zeros(SAMPLE_RATE)])
        if upstream.feature not in features:
            found = ", ".join(map(str, features))
            raise FitHubertError(f"-u {upstream.name}: expected a feature named {upstream.feature}, found {found}")
    return model


class Size(NamedTuple):
    """What an upstream holds, and what it gives."""

    parameters: int
    feature_bytes: int  # for each second of speech


@torch.no_grad()
def size_of(upstream: Upstream) -> Size:
    """The size of an upstream. Raises FitHubertError as `build`."""
    model = build(upstream)
    one, two = (model([torch.zeros(seconds * SAMPLE_RATE)]) for seconds in (1, 2))
    feature = upstream.feature or "hidden_states"
    return Size(sum(p.numel() for p in model.parameters()), _bytes(two[feature]) - _bytes(one[feature]))


def _bytes(feature: Feature) -> int:
    layers = feature.values() if isinstance(feature, dict) else [feature] if torch.is_tensor(feature) else feature
    return sum(layer.numel() * layer.element_size() for layer in layers)

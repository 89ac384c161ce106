"""Keywords of s3prl's functions and classes that take them from a config, each with the rule for its values."""

import inspect
from collections.abc import Callable
from typing import Any

import torch

from ..errors import FitHubertError
from ..settings.rules import (
    Rule,
    Section,
    above_zero,
    anything,
    choice,
    list_of,
    one_or_list_of,
    optional,
    pair_of,
    up_to_one,
    within,
)
from ..settings.values import boolean, real, text, whole

COUNT, NATURAL = within(whole, 1), within(whole, 0)
AMOUNT, SHARE = within(real, 0), within(real, 0, 1)
PART = up_to_one(AMOUNT)
_RULES: dict[str, Any] = {
    "adaptive_number_ratio": PART,
    "adaptive_size_ratio": PART,
    "activation": choice(name for name in dir(torch.nn) if name[0].isupper()),
    "agg_dim": COUNT,
    "batch_norm": boolean,
    "betas": pair_of(SHARE),
    "bidirection": boolean,
    "dim": list_of(COUNT),
    "dropout": list_of(SHARE),
    "dropout_p": SHARE,
    "eps": AMOUNT,
    "hiddens": optional(list_of(COUNT)),
    "freq_mask_width_range": one_or_list_of(NATURAL),
    "last_epoch": whole,
    "layer_norm": list_of(boolean),
    "lr": AMOUNT,
    "m": AMOUNT,
    "max_n_time_masks": NATURAL,
    "module": text,
    "momentum": AMOUNT,
    "num_freq_mask": NATURAL,
    "num_time_mask": NATURAL,
    "num_warmup_steps": NATURAL,
    "pooling": choice(("MeanPooling", "AttentivePooling")),
    "proj": list_of(boolean),
    "s": above_zero,
    "sample_rate": list_of(COUNT),
    "sample_style": choice(("drop", "concat")),
    "time_mask_width_range": one_or_list_of(NATURAL),
    "time_warp_window": COUNT,
    "total_rate": whole,
    "warmup_proportion": SHARE,
    "weight_decay": AMOUNT,
}


def keywords(function: Callable, *given: str) -> Section:
    """The keywords of a function or class, of the kinds of their defaults; without those that s3prl itself gives."""
    parameters = inspect.signature(function).parameters.values()
    named = [p for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY) and p.name not in given]
    return {p.name: _rule(p) for p in named}


def _rule(p: inspect.Parameter) -> Rule:
    if p.name == "eps" and isinstance(p.default, tuple):  # Adafactor's two
        return anything
    return _RULES.get(p.name) or _like(p.default)


def _like(default: Any) -> Rule:
    for kinds, rule in ((bool, boolean), ((int, float), real), (str, text), ((list, tuple), one_or_list_of(real))):
        if isinstance(default, kinds):
            return rule
    return anything


def require(function: Callable, block: Any, where: str, *given: str) -> None:
    """Raise FitHubertError when a function's keyword without a default is not in a block."""
    for name, p in inspect.signature(function).parameters.items():
        if p.default is p.empty and p.kind is p.POSITIONAL_OR_KEYWORD and name not in given and name not in block:
            raise FitHubertError(f"{where}: expected {name} beside name {block['name']}, found none")

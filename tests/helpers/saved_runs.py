"""Checkpoints as s3prl's downstream runner leaves them, but made in no time."""

import argparse
from pathlib import Path

import torch

from fithubert_upstream.downstream import past_run
from fithubert_upstream.downstream.flags import read_flags


def save_run(path: Path, *flags: str, step: int = 2, **entries) -> Path:
    """What `fithubert downstream -m train FLAGS` would have saved; its weights are `entries`."""
    args, config = past_run.begin(read_flags(["-m", "train", *flags]))
    states = {"Args": args, "Config": config, "Step": step, "Epoch": 0, "Optimizer": {}}
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save(states | {"Featurizer": {}, "Downstream": {}} | entries, path)
    return path


def cut_short(path: Path) -> Path:
    """As after a full disk or a power cut."""
    path.write_bytes(path.read_bytes()[:-100])
    return path


def older_than(path: Path) -> Path:
    """A checkpoint as earlier versions wrote it: it remembers no content of files."""
    states = torch.load(path, weights_only=True)
    states["Args"] = argparse.Namespace(**{k: v for k, v in vars(states["Args"]).items() if k != "begun"})
    torch.save(states, path)
    return path

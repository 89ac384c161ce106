"""A run of `fithubert distill`: its command line, and what it left."""

import torch
import yaml

from fithubert_upstream.checkpoints.load import load_fithubert
from fithubert_upstream.distillation.log import read_losses

from .tiny import STUDENT

NO_DROPOUT = {name: 0.0 for name in ("dropout_input", "dropout", "attention_dropout", "activation_dropout")}


def flags(world, folder, *words: str, student: dict | None = None, blocks: dict | None = None, **trainer) -> list[str]:
    """The command line of a run in `folder`; `blocks` are further ones of the model's file."""
    model, recipe = folder.with_suffix(".model.yaml"), folder.with_suffix(".train.yaml")
    content = {"student": STUDENT | (student or {}), "teacher": {"model": str(world / "teacher")}, **(blocks or {})}
    model.write_text(yaml.safe_dump(content))
    data = {"train": [str(world / "corpus" / "train")], "valid": [str(world / "corpus" / "train" / "0")]}
    trainer = {"steps": 6, "precision": "32-true", "log_every": 1, "save_every": 3, "valid_every": 3, **trainer}
    content = {"data": {**data, "batch_size": 2}, "optimizer": {"lr": 1e-3}, "trainer": trainer}
    recipe.write_text(yaml.safe_dump(content))
    return ["-g", str(model), "-c", str(recipe), "-p", str(folder), *words]


def losses(folder) -> list[dict]:
    """All columns that do not depend on the clock."""
    return [{k: v for k, v in row.items() if k != "hours_per_hour"} for row in read_losses(folder / "losses.csv")]


def weights(folder) -> torch.Tensor:
    return torch.cat([p.flatten() for p in load_fithubert(folder / "student.safetensors").parameters()])

"""Which layers a task listens to: s3prl's learned weights of hidden states, and their picture. No torch at the top."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ..report import INK, figure, save


def layer_weights(checkpoint: str | Path) -> list[float] | None:
    """The weights of a run's hidden states, which sum to 1; None where it used a single feature.

    Raises
    ------
    FitHubertError
        The checkpoint cannot be read.
    """
    import torch

    from ..checkpoints.torch_files import read_torch

    featurizer = read_torch(checkpoint).get("Featurizer")
    weights = featurizer.get("weights") if isinstance(featurizer, Mapping) else None
    if not isinstance(weights, torch.Tensor) or len(weights) < 2:
        return None
    return [round(weight, 6) for weight in weights.float().softmax(0).tolist()]


def draw_layers(weights: Mapping[str, Mapping[str, Sequence[float]]], path: str | Path) -> None:
    """A heat map for each upstream, tasks by entries of `hidden_states`, as PNG.

    Parameters
    ----------
    weights
        Upstream -> task -> its weights.
    path
        Where the picture goes.
    """
    lines = max(len(tasks) for tasks in weights.values())
    picture = figure(max(5.0, 4.2 * len(weights)), 1.5 + 0.45 * lines)
    for axes, (label, tasks) in zip(picture.subplots(1, len(weights), squeeze=False)[0], weights.items(), strict=True):
        depth = max(map(len, tasks.values()))
        rows: list[list[Any]] = [[*row, *[float("nan")] * (depth - len(row))] for row in tasks.values()]
        image = axes.imshow(rows, aspect="auto", cmap="Blues", vmin=0)
        axes.set_yticks(range(len(tasks)), [key.upper() for key in tasks])
        axes.set_xticks(range(0, depth, max(1, depth // 8)))
        axes.set_xlabel("index in hidden_states", fontsize=9)
        axes.set_title(label, fontsize=10.5, color=INK, loc="left")
        axes.tick_params(length=0, labelsize=9)
        picture.colorbar(image, ax=axes, shrink=0.9).ax.tick_params(labelsize=8)
    picture.suptitle("Learned weights of hidden states", fontsize=11, color=INK)
    save(picture, path)

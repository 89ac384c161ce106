"""Layers that were compared on dev, as a table and a picture. Imports no torch."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..report import BARS, INK, QUIET, aligned_table, figure, save
from .metrics import METRICS

Choices = Mapping[str, Mapping[str, Any]]  # upstream -> {"layer": chosen, "dev": {layer: result}}


def choice_table(choices: Choices, key: str) -> str:
    """A line for each upstream: the result on dev of each layer; the chosen one is in bold."""
    depth = max(len(choice["dev"]) for choice in choices.values())
    body = []
    for label, choice in choices.items():
        cells = [f"{choice['dev'][str(k)]:.2f}" if str(k) in choice["dev"] else "-" for k in range(depth)]
        cells[choice["layer"]] = f"**{cells[choice['layer']]}**"
        body.append([label, METRICS[key].column, *cells])
    head = ["upstream", "on dev", *(f"layer {k}" for k in range(depth))]
    title = f"The layer of {METRICS[key].title.lower()}, chosen on dev (in bold; a feature without layers is layer 0):"
    return "\n".join([title, "", *aligned_table(head, body, {0, 1})])


def draw_choice(choices: Choices, key: str, path: str | Path) -> None:
    """The result on dev over the layers, a line for each upstream, as PNG."""
    picture = figure(6, 3.4)
    axes = picture.subplots()
    for colour, (label, choice) in zip(BARS * len(choices), choices.items(), strict=False):
        layers = sorted(map(int, choice["dev"]))
        values = [choice["dev"][str(layer)] for layer in layers]
        axes.plot(layers, values, "o-", color=colour, markerfacecolor="white", ms=5, lw=1.2, label=label)
        axes.plot(choice["layer"], choice["dev"][str(choice["layer"])], "o", color=colour, ms=6)
    axes.set_title(f"{METRICS[key].title}, {METRICS[key].unit} % on dev; filled: chosen", fontsize=10.5, color=INK)
    axes.set_xlabel("layer", fontsize=9, color=QUIET)
    axes.xaxis.get_major_locator().set_params(integer=True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, fontsize=8.5)
    save(picture, path)

"""How reports look: aligned Markdown tables, CSV files, and the colours and axes of pictures. No torch."""

import csv
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from .files import atomic_path

INK, QUIET, PALE = "#22313f", "#7f8c8d", "#c3cbd1"
BARS = ("#2a6f97", "#e07a5f", "#81b29a", "#f2b155", "#8e7dbe", "#5b8e7d")


def aligned_table(head: Sequence[str], body: Sequence[Sequence[str]], left: set[int]) -> list[str]:
    """The lines of a Markdown table that can also be read as it is; columns not in `left` are right-aligned."""
    widths = [max(len(line[i]) for line in [head, *body]) for i in range(len(head))]

    def text(line: Sequence[str]) -> str:
        cells = (c.ljust(w) if i in left else c.rjust(w) for i, (c, w) in enumerate(zip(line, widths, strict=True)))
        return f"| {' | '.join(cells)} |"

    rule = "|".join("-" * (w + 2) if i in left else "-" * (w + 1) + ":" for i, w in enumerate(widths))
    return [text(head), f"|{rule}|", *map(text, body)]


def write_csv(path: str | Path, names: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> None:
    """Write rows with these columns, whole or not at all, in UTF-8; None prints "-"."""
    with atomic_path(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, names)
        writer.writeheader()
        writer.writerows({name: "-" if value is None else value for name, value in row.items()} for row in rows)


def figure(width: float, height: float):
    """An empty matplotlib figure, in inches, that makes room for labels and legends."""
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained")


def save(figure, path: str | Path) -> None:
    """Write a figure as PNG, whole or not at all."""
    with atomic_path(path) as temporary:
        figure.savefig(temporary, format="png", dpi=150)


def quiet_axes(axes) -> None:
    """Bars with a few round numbers below them, and no frame."""
    axes.tick_params(length=0, labelcolor=QUIET, labelsize=8)
    axes.tick_params(axis="y", labelsize=9.5, labelcolor=INK)
    axes.locator_params(axis="x", nbins=4, steps=[1, 2, 5, 10])
    axes.spines[["top", "right", "bottom"]].set_visible(False)
    axes.spines["left"].set_color(QUIET)

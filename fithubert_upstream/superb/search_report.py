"""Which learning rate each task chose on dev, as a table and a picture. Imports no torch."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ..report import BARS, INK, QUIET, aligned_table, figure, save
from .metrics import METRICS
from .report import PANELS

Searches = Mapping[str, Mapping[str, Sequence[Mapping[str, Any]]]]  # upstream -> task -> an entry for each rate


def search_table(searches: Searches) -> str:
    """A line for each upstream and task: the best result on dev with each rate; the chosen one is in bold."""
    rates = sorted(
        {entry["lr"] for tasks in searches.values() for tried in tasks.values() for entry in tried}, reverse=True
    )
    body = []
    for label, tasks in searches.items():
        for key, tried in tasks.items():
            by_rate = {entry["lr"]: entry for entry in tried}
            body.append([label, METRICS[key].column, *(_cell(by_rate.get(rate)) for rate in rates)])
    head = ["upstream", "on dev", *(f"lr {rate:g}" for rate in rates)]
    return "\n".join(
        [
            "The learning rate of each task, chosen on dev (in bold; (n): stopped after n evaluations):",
            "",
            *aligned_table(head, body, {0, 1}),
        ]
    )


def _cell(entry: Mapping[str, Any] | None) -> str:
    if entry is None or entry["dev"] is None:
        return "-"
    text = f"{entry['dev']:.2f}"
    if entry["stopped"]:
        return f"{text} ({len(entry['curve'])})"
    return f"**{text}**" if entry["chosen"] else text


def draw_search(searches: Searches, path: str | Path) -> None:
    """A panel for each task: the best result on dev over the learning rate, a line for each upstream, as PNG."""
    keys = list(dict.fromkeys(key for tasks in searches.values() for key in tasks))
    wide = min(PANELS, len(keys))
    picture = figure(3.2 * wide, 2.9 * -(-len(keys) // wide))
    panels = list(picture.subplots(-(-len(keys) // wide), wide, squeeze=False).flat)
    for key, axes in zip(keys, panels, strict=False):
        for colour, (label, tasks) in zip(BARS * len(searches), searches.items(), strict=False):
            tried = sorted((entry for entry in tasks.get(key, ()) if entry["dev"] is not None), key=lambda e: e["lr"])
            axes.plot([e["lr"] for e in tried], [e["dev"] for e in tried], color=colour, lw=1.2, label=label)
            for entry in tried:
                filled = colour if entry["chosen"] else "white"
                axes.plot(entry["lr"], entry["dev"], "o", color=colour, markerfacecolor=filled, ms=6)
        axes.set_xscale("log")
        axes.set_title(f"{METRICS[key].title}, {METRICS[key].unit} %", fontsize=10.5, color=INK, loc="left")
        axes.set_xlabel("learning rate", fontsize=9, color=QUIET)
        axes.spines[["top", "right"]].set_visible(False)
    for axes in panels[len(keys) :]:
        axes.set_axis_off()
    panels[0].legend(frameon=False, fontsize=8.5)
    picture.suptitle("Results on dev; filled: chosen", fontsize=11, color=INK)
    save(picture, path)

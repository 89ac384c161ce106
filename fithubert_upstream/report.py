"""How reports look: aligned Markdown tables, and the colours and axes of their pictures. No torch."""

from collections.abc import Sequence

INK, QUIET = "#22313f", "#7f8c8d"
BARS = ("#2a6f97", "#e07a5f", "#81b29a", "#f2b155", "#8e7dbe", "#5b8e7d")


def aligned_table(head: Sequence[str], body: Sequence[Sequence[str]], left: set[int]) -> list[str]:
    """The lines of a Markdown table that can also be read as it is; columns not in `left` are right-aligned."""
    widths = [max(len(line[i]) for line in [head, *body]) for i in range(len(head))]

    def text(line: Sequence[str]) -> str:
        cells = (c.ljust(w) if i in left else c.rjust(w) for i, (c, w) in enumerate(zip(line, widths, strict=True)))
        return f"| {' | '.join(cells)} |"

    rule = "|".join("-" * (w + 2) if i in left else "-" * (w + 1) + ":" for i, w in enumerate(widths))
    return [text(head), f"|{rule}|", *map(text, body)]


def quiet_axes(axes) -> None:
    """Bars with a few round numbers below them, and no frame."""
    axes.tick_params(length=0, labelcolor=QUIET, labelsize=8)
    axes.tick_params(axis="y", labelsize=9.5, labelcolor=INK)
    axes.locator_params(axis="x", nbins=4, steps=[1, 2, 5, 10])
    axes.spines[["top", "right", "bottom"]].set_visible(False)
    axes.spines["left"].set_color(QUIET)

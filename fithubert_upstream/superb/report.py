"""SUPERB results of four tasks as a table and a picture, beside the published ones. Pure functions, no torch."""

import itertools
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import yaml

from ..downstream.tasks import TASKS
from ..errors import FitHubertError
from ..report import BARS, INK, PALE, QUIET, aligned_table, figure, quiet_axes, save
from ..report import write_csv as write_rows

# SUPERB's reference points in percent (baseline = FBANK, top), from `reference_points` of its leaderboard.
REFERENCE = {"pr": (82.01, 3.53), "asr": (23.18, 3.62), "ks": (41.3826674, 96.66), "sv": (9.56, 5.11)}
# Published rows that the picture marks, each with its line.
_MARKS = {"FBANK": ":", "FitHuBERT, 960 h": "--", "HuBERT Base, 960 h": "-"}


@dataclass(frozen=True)
class Row:
    """An upstream's results: error rates (PER, WER, EER) and accuracy (KS) in percent; None where not measured.

    `comparable` says whether they come from SUPERB's own settings on the real corpora.
    """

    name: str
    parameters: int | None
    pr: float | None = None
    asr: float | None = None
    ks: float | None = None
    sv: float | None = None
    source: str = "this run"
    note: str = ""
    comparable: bool = False

    @property
    def score(self) -> float | None:
        """superb_s over the four tasks; None unless all are there, and below 0, where it means nothing."""
        values = {task: getattr(self, task) for task in REFERENCE}
        score = None if None in values.values() else superb_score(values)
        return None if score is None or round(score) < 0 else score


def superb_score(values: dict[str, float]) -> float:
    """superb_s: the mean over tasks of 1000 * (value - baseline) / (top - baseline).

    Parameters
    ----------
    values
        Task (`pr`, `asr`, `ks`, `sv`) -> result in percent. SUPERB's site first turns error rates into 100 - value;
        the ratio stays the same without that.

    Raises
    ------
    FitHubertError
        No task is given, or one without reference points.
    """
    if not values or not set(values) <= set(REFERENCE):
        raise FitHubertError(
            f"superb_s: expected results of {', '.join(REFERENCE)}, found {', '.join(values) or 'none'}"
        )
    parts = []
    for task, value in values.items():
        baseline, top = REFERENCE[task]
        parts.append(1000 * (value - baseline) / (top - baseline))
    return sum(parts) / len(parts)


def published_rows() -> list[Row]:
    """The published results of published.yaml; the hours of training become part of the name."""
    file = Path(__file__).with_name("published.yaml")
    return [
        Row(
            name=row["name"] if row["hours"] is None else f"{row['name']}, {row['hours']} h",
            parameters=round(row["params_m"] * 1e6),
            **{task: row[task] for task in REFERENCE},
            source=f"published ({row['source']})",
            note=row.get("note", ""),
            comparable=True,
        )
        for row in yaml.safe_load(file.read_text(encoding="utf-8"))["rows"]
    ]


def markdown_table(rows: Sequence[Row], published: Sequence[Row]) -> str:
    """Our rows and the published ones: in one table where they compare, else the latter in a block of their own."""
    lines = [
        "In percent; lower is better except for KS. superb_s is over these four tasks: FBANK = 0, SUPERB's top = 1000."
    ]
    if _comparable(rows):
        lines += ["", *_table([*rows, *published])]
    else:
        lines += [
            "Measured on other corpora or in other settings than SUPERB's own: the numbers of the first table compare "
            "with each other and not with published ones, superb_s too.",
            "",
            *_table(rows),
        ]
        if published:
            lines += ["", "Published, on the real corpora, for orientation:", "", *_table(published)]
    notes = [f"- {row.name}: {row.note}" for row in [*rows, *published] if row.note]
    return "\n".join([*lines, "", *notes] if notes else lines)


def _comparable(rows: Sequence[Row]) -> bool:
    return all(row.comparable for row in rows)


def _table(rows: Sequence[Row]) -> list[str]:
    head = ["upstream", "parameters (M)", "PR (PER)", "ASR (WER)", "KS (acc.)", "SV (EER)", "superb_s", "source"]
    body = [
        [
            row.name,
            _number(None if row.parameters is None else row.parameters / 1e6),
            *(_number(getattr(row, task)) for task in REFERENCE),
            _number(row.score, 0),
            row.source,
        ]
        for row in rows
    ]
    return aligned_table(head, body, {0, len(head) - 1})


def _number(value: float | None, digits: int = 2) -> str:
    return "-" if value is None else f"{round(value, digits) + 0.0:.{digits}f}"  # + 0.0: no -0


def write_csv(rows: Sequence[Row], published: Sequence[Row], path: str | Path) -> None:
    """All rows, ours first, with exact numbers; what was not measured prints "-"."""
    names = ["name", "parameters", *REFERENCE, "superb_s", "source", "comparable", "note"]
    lines = [
        asdict(row) | {"superb_s": None if row.score is None else round(row.score, 1)} for row in [*rows, *published]
    ]
    write_rows(path, names, lines)


def plot(rows: Sequence[Row], published: Sequence[Row], path: str | Path) -> None:
    """A panel for each task with a bar for each of our rows; where they compare, marks of three published ones."""
    picture = figure(12, 1.7 + 0.42 * max(len(rows), 2))
    picture.get_layout_engine().set(wspace=0.09)  # so that a number is seen to belong to the panel at its left
    draw_tasks(picture, rows, published)
    title = "SUPERB, frozen upstreams"
    if not _comparable(rows):
        title += " (other corpora or settings than SUPERB's own: not comparable with published numbers)"
    picture.suptitle(title, color=INK, fontsize=11)
    save(picture, path)


def draw_tasks(picture, rows: Sequence[Row], published: Sequence[Row] = ()) -> None:
    """The four panels, on a matplotlib figure or sub-figure."""
    marks = [row for row in published if row.name in _MARKS] if _comparable(rows) else []
    panels = picture.subplots(1, len(REFERENCE), sharey=True)
    for task, axes in zip(REFERENCE, panels, strict=True):
        _panel(axes, task, rows, marks)
    panels[0].set_yticks(range(len(rows)), [_label(row) for row in rows])
    panels[0].invert_yaxis()
    if marks:
        lines = [panels[0].plot([], [], _MARKS[row.name], color=INK, lw=1.2)[0] for row in marks]
        names = [f"{row.name} (published)" for row in marks]
        picture.legend(lines, names, loc="outside lower center", ncols=len(marks), frameon=False, labelcolor=INK)


def _panel(axes, task: str, rows: Sequence[Row], marks: Sequence[Row]) -> None:
    values = [getattr(row, task) for row in rows]
    shown = [value for value in [*values, *(getattr(row, task) for row in marks)] if value is not None]
    axes.barh(range(len(rows)), [value or 0 for value in values], height=0.62, color=_colours(rows), zorder=2)
    for mark in marks:
        axes.axvline(getattr(mark, task), ls=_MARKS[mark.name], color=INK, lw=1.2, zorder=3)
    for y, value in enumerate(values):  # at the end of its bar, over a mark that may be there
        box = {"facecolor": "white", "edgecolor": "none", "alpha": 0.8, "pad": 1}
        place = {"xytext": (4, 0), "textcoords": "offset points", "va": "center", "bbox": box, "zorder": 4}
        axes.annotate(_number(value), (value or 0, y), fontsize=9.5, color=INK, **place)
    axes.set_xlim(0, 1.3 * (max(shown, default=0) or 75))
    axes.set_title(TASKS[task].title, fontsize=10.5, color=INK, loc="left")
    direction = "higher" if TASKS[task].higher_is_better else "lower"
    axes.set_xlabel(f"{TASKS[task].metric}, {direction} is better", fontsize=9, color=QUIET)
    quiet_axes(axes)


def _colours(rows: Sequence[Row]) -> list[str]:
    """A colour for each model; what has no parameters is the baseline, in grey."""
    palette = itertools.cycle(BARS)
    return [PALE if row.parameters == 0 else next(palette) for row in rows]


def _label(row: Row) -> str:
    if not row.parameters:  # unknown, or FBANK, which has none
        return row.name
    millions = row.parameters / 1e6
    return f"{row.name}\n{millions:.{1 if millions >= 1 else 2}f} M parameters"

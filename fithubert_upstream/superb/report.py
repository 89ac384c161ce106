"""SUPERB results as a table and a picture, beside the published ones. Pure functions, no torch."""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import yaml

from ..report import BARS, INK, PALE, QUIET, aligned_table, figure, quiet_axes, save
from ..report import write_csv as write_rows
from .metrics import METRICS, superb_score, task_names

PANELS = 4  # side by side
# Published rows that the picture marks, each with its line.
_MARKS = {"FBANK": ":", "FitHuBERT, 960 h": "--", "HuBERT Base, 960 h": "-"}


@dataclass(frozen=True)
class Row:
    """An upstream's results, each under its key of `METRICS`, in percent; None where not measured.

    `spread` is the sample standard deviation over seeds, where there are several. `comparable` says whether the results
    come from SUPERB's own settings on the real corpora.
    """

    name: str
    parameters: int | None
    pr: float | None = None
    asr: float | None = None
    ks: float | None = None
    sv: float | None = None
    ic: float | None = None
    sid: float | None = None
    er: float | None = None
    sf: float | None = None
    sf_cer: float | None = None
    sd: float | None = None
    qbe: float | None = None
    spread: Mapping[str, float] = field(default_factory=dict)
    source: str = "this run"
    note: str = ""
    comparable: bool = False

    def score(self, columns: Sequence[str]) -> float | None:
        """superb_s over these metrics; None if a result is missing, and below 0, where it means nothing."""
        values = {key: getattr(self, key) for key in columns}
        score = None if None in values.values() else superb_score(values)
        return None if score is None or round(score) < 0 else score


def measured(rows: Sequence[Row]) -> list[str]:
    """The metrics of which a row has a result; all if none has."""
    return [key for key in METRICS if any(getattr(row, key) is not None for row in rows)] or list(METRICS)


def published_rows() -> list[Row]:
    """The published results of published.yaml; the hours of training become part of the name."""
    file = Path(__file__).with_name("published.yaml")
    return [
        Row(
            name=row["name"] if row["hours"] is None else f"{row['name']}, {row['hours']} h",
            parameters=round(row["params_m"] * 1e6),
            **row["results"],
            source=f"published ({row['source']})",
            note=row.get("note", ""),
            comparable=True,
        )
        for row in yaml.safe_load(file.read_text(encoding="utf-8"))["rows"]
    ]


def markdown_table(rows: Sequence[Row], published: Sequence[Row], columns: Sequence[str] | None = None) -> str:
    """Our rows and the published ones; `columns` are keys of `METRICS`, by default those of which a row has a result.

    They share a table where they compare; otherwise the published ones follow in a block of their own.
    """
    columns = columns or measured(rows)
    better = [METRICS[key].column for key in columns if METRICS[key].higher_is_better]
    lines = [
        f"In percent; {'higher is better for ' + ', '.join(better) if better else 'lower is better'}. "
        f"superb_s is over {task_names(columns)}: FBANK = 0, SUPERB's top = 1000."
    ]
    if _comparable(rows):
        lines += ["", *_table([*rows, *published], columns)]
    else:
        lines += [
            "Measured on other corpora or in other settings than SUPERB's own: the numbers of the first table compare "
            "with each other and not with published ones, superb_s too.",
            "",
            *_table(rows, columns),
        ]
        if published:
            lines += ["", "Published, on the real corpora, for orientation:", "", *_table(published, columns)]
    notes = [f"- {row.name}: {row.note}" for row in [*rows, *published] if row.note]
    return "\n".join([*lines, "", *notes] if notes else lines)


def _comparable(rows: Sequence[Row]) -> bool:
    return all(row.comparable for row in rows)


def _table(rows: Sequence[Row], columns: Sequence[str]) -> list[str]:
    head = ["upstream", "parameters (M)", *(METRICS[key].column for key in columns), "superb_s", "source"]
    body = [
        [
            row.name,
            _number(None if row.parameters is None else row.parameters / 1e6),
            *(_cell(row, key) for key in columns),
            _number(row.score(columns), 0),
            row.source,
        ]
        for row in rows
    ]
    return aligned_table(head, body, {0, len(head) - 1})


def _cell(row: Row, key: str) -> str:
    spread = f" \N{PLUS-MINUS SIGN} {row.spread[key]:.2f}" if key in row.spread else ""
    return _number(getattr(row, key)) + spread


def _number(value: float | None, digits: int = 2) -> str:
    return "-" if value is None else f"{round(value, digits) + 0.0:.{digits}f}"  # + 0.0: no -0


def write_csv(rows: Sequence[Row], published: Sequence[Row], path: str | Path) -> None:
    """All rows, ours first, with exact numbers; what was not measured prints "-"."""
    columns = measured(rows)
    spreads = [key for key in columns if any(key in row.spread for row in rows)]
    names = [
        "name",
        "parameters",
        *columns,
        *(f"{key}_spread" for key in spreads),
        "superb_s",
        "source",
        "comparable",
        "note",
    ]
    lines = []
    for row in [*rows, *published]:
        score = row.score(columns)
        line = asdict(row) | {"superb_s": None if score is None else round(score, 1)}
        line |= {f"{key}_spread": row.spread.get(key) for key in spreads}
        lines.append({name: line[name] for name in names})
    write_rows(path, names, lines)


def plot(rows: Sequence[Row], published: Sequence[Row], path: str | Path) -> None:
    """A panel for each metric with a bar for each of our rows; where they compare, marks of three published ones."""
    lines = -(-len(measured(rows)) // PANELS)
    picture = figure(12, 0.7 + lines * (1 + 0.42 * max(len(rows), 2)))
    picture.get_layout_engine().set(wspace=0.09)  # so that a number is seen to belong to the panel at its left
    draw_tasks(picture, rows, published)
    title = "SUPERB, frozen upstreams"
    if not _comparable(rows):
        title += " (other corpora or settings than SUPERB's own: not comparable with published numbers)"
    picture.suptitle(title, color=INK, fontsize=11)
    save(picture, path)


def draw_tasks(picture, rows: Sequence[Row], published: Sequence[Row] = ()) -> None:
    """The panels, four side by side, on a matplotlib figure or sub-figure."""
    marks = [row for row in published if row.name in _MARKS] if _comparable(rows) else []
    columns = measured(rows)
    side_by_side = min(PANELS, len(columns))
    grid = picture.subplots(-(-len(columns) // side_by_side), side_by_side, sharey=True, squeeze=False)
    panels = list(grid.flat)
    for key, axes in zip(columns, panels, strict=False):
        _panel(axes, key, rows, marks)
    for axes in panels[len(columns) :]:
        axes.set_axis_off()
    for axes in grid[:, 0]:
        axes.set_yticks(range(len(rows)), [_label(row) for row in rows])
    panels[0].invert_yaxis()
    if marks:
        lines = [panels[0].plot([], [], _MARKS[row.name], color=INK, lw=1.2)[0] for row in marks]
        names = [f"{row.name} (published)" for row in marks]
        picture.legend(lines, names, loc="outside lower center", ncols=len(marks), frameon=False, labelcolor=INK)


def _panel(axes, key: str, rows: Sequence[Row], marks: Sequence[Row]) -> None:
    values = [getattr(row, key) for row in rows]
    shown = [value for value in [*values, *(getattr(row, key) for row in marks)] if value is not None]
    axes.barh(range(len(rows)), [value or 0 for value in values], height=0.62, color=_colours(rows), zorder=2)
    for mark in marks:
        if getattr(mark, key) is not None:
            axes.axvline(getattr(mark, key), ls=_MARKS[mark.name], color=INK, lw=1.2, zorder=3)
    for y, value in enumerate(values):  # at the end of its bar, over a mark that may be there
        box = {"facecolor": "white", "edgecolor": "none", "alpha": 0.8, "pad": 1}
        place = {"xytext": (4, 0), "textcoords": "offset points", "va": "center", "bbox": box, "zorder": 4}
        axes.annotate(_number(value), (value or 0, y), fontsize=9.5, color=INK, **place)
    axes.set_xlim(0, 1.3 * (max(shown, default=0) or 75))
    axes.set_title(METRICS[key].title, fontsize=10.5, color=INK, loc="left")
    direction = "higher" if METRICS[key].higher_is_better else "lower"
    axes.set_xlabel(f"{METRICS[key].unit} %, {direction} is better", fontsize=9, color=QUIET)
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

"""Runs of keyword spotting and speaker verification as Kerpicci et al.'s two tables and a picture. No torch."""

import itertools
import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path

import yaml

from ..report import BARS, INK, QUIET, aligned_table, figure, quiet_axes, save
from ..report import write_csv as write_rows

# table -> what it says, and the kind of run that each of its columns is taken from
TABLES = {
    "single": ("Each task alone (as Table 2 of Kerpicci et al.)", {"ks": "ks", "sv": "sv"}),
    "joint": ("Both tasks in turn (as Table 3 of Kerpicci et al.)", {"ks": "joint", "sv": "joint"}),
}
_COLUMNS = {"ks": "KS (acc. %)", "sv": "SV (EER %)"}
_BYTES = 4  # of a 32-bit weight
# Published rows that the picture marks, where ours compare: (table, mode) of _MARKED -> line
_MARKED = "DistilledHuBERT"
_MARKS = {("single", None): ":", ("joint", "frozen"): "--", ("joint", "fine-tuned"): "-"}


@dataclass(frozen=True)
class Run:
    """A finished run: `tasks` is ks, sv or joint; the results `ks` (accuracy) and `sv` (EER) are in percent."""

    upstream: str
    parameters: int
    mode: str
    tasks: str
    seed: int
    ks: float | None
    sv: float | None
    steps: int
    note: str = ""


@dataclass(frozen=True)
class Row:
    """A line of a table: the results of an upstream in a mode, one for each seed; () where not measured."""

    name: str
    parameters: int
    mode: str | None
    ks: tuple[float, ...]
    sv: tuple[float, ...]
    source: str = "this run"


def published_rows(table: str) -> list[Row]:
    """The published rows of a table (`single` or `joint`), of published.yaml."""
    file = Path(__file__).with_name("published.yaml")
    return [
        Row(
            name=row["name"],
            parameters=round(row["params_m"] * 1e6),
            mode=row["mode"],
            **{task: () if row[task] is None else (row[task],) for task in _COLUMNS},
            source=f"published ({row['source']})",
        )
        for row in yaml.safe_load(file.read_text(encoding="utf-8"))["rows"]
        if row["table"] == table
    ]


def rows_of(runs: Sequence[Run], table: str) -> list[Row]:
    """A table's rows, one for each upstream and mode that has results in it, in the order of the runs."""
    columns = TABLES[table][1]
    rows = []
    for name, mode in dict.fromkeys((run.upstream, run.mode) for run in runs if run.tasks in columns.values()):
        mine = [run for run in runs if (run.upstream, run.mode) == (name, mode)]
        results = {
            task: tuple(getattr(run, task) for run in mine if run.tasks == kind) for task, kind in columns.items()
        }
        rows.append(Row(name, mine[0].parameters, mode, **results))
    return rows


def mean_and_deviation(values: Sequence[float]) -> tuple[float, float | None]:
    """Mean, and sample standard deviation (n - 1 below the line); None for the latter of a single value."""
    return statistics.fmean(values), statistics.stdev(values) if len(values) > 1 else None


def markdown(runs: Sequence[Run], about: str, comparable: bool) -> str:
    """Both tables; the published rows stand in ours where they compare, else in a block below."""
    lines = [
        about,
        "",
        "Results: mean \N{PLUS-MINUS SIGN} sample standard deviation (n seeds). Parameters are the upstream's, its "
        "prediction heads included, the linear layers of KS and SV not; MB are computed: 4 bytes (fp32) a parameter.",
    ]
    if not comparable:
        lines += [
            "Measured on other corpora or with other settings than the paper's: compare our rows with each other and "
            "not with the published ones.",
        ]
    for table, (title, _) in TABLES.items():
        ours, published = rows_of(runs, table), published_rows(table)
        lines += ["", f"## {title}", ""]
        if comparable:
            lines += _table([*ours, *published])
        else:
            lines += _table(ours) if ours else ["No run is finished."]
            lines += ["", "Published, on Speech Commands and VoxCeleb1, for orientation:", "", *_table(published)]
    notes = [f"- {run.upstream}, {run.mode}, {run.tasks}, seed {run.seed}: {run.note}" for run in runs if run.note]
    return "\n".join([*lines, "", *notes] if notes else lines)


def _table(rows: Sequence[Row]) -> list[str]:
    head = ["upstream", "mode", "parameters (M)", "MB", *_COLUMNS.values(), "source"]
    body = [
        [
            row.name,
            row.mode or "-",
            f"{round(row.parameters / 1e6, 2):g}",
            f"{round(row.parameters * _BYTES / 1e6, 1):g}",
            *(_cell(getattr(row, task), row.source == "this run") for task in _COLUMNS),
            row.source,
        ]
        for row in rows
    ]
    return aligned_table(head, body, {0, 1, len(head) - 1})


def _cell(values: Sequence[float], counted: bool) -> str:
    if not values:
        return "-"
    mean, deviation = mean_and_deviation(values)
    spread = "" if deviation is None else f" \N{PLUS-MINUS SIGN} {deviation:.2f}"
    return f"{mean:.2f}{spread}" + (f" (n={len(values)})" if counted else "")


def write_csv(runs: Sequence[Run], path: str | Path) -> None:
    """Every single run, with exact numbers; what it does not measure prints "-"."""
    write_rows(path, [field.name for field in fields(Run)], map(asdict, runs))


def plot(runs: Sequence[Run], path: str | Path, comparable: bool) -> None:
    """A panel for each task, alone and joint: bars of means, lines of deviations, a dot for each seed."""
    rows = {table: {(row.name, row.mode): row for row in rows_of(runs, table)} for table in TABLES}
    names = list(dict.fromkeys((run.upstream, run.mode) for run in runs))
    picture = figure(13, 1.7 + 0.42 * max(len(names), 2))
    picture.get_layout_engine().set(wspace=0.09)  # so that a number is seen to belong to the panel at its left
    panels = picture.subplots(1, len(_COLUMNS) * len(TABLES), sharey=True)
    marked = {t: [r for r in published_rows(t) if r.name == _MARKED] if comparable else [] for t in TABLES}
    shown = {task: [getattr(run, task) or 0 for run in runs] for task in _COLUMNS}
    for task, rows_marked in itertools.product(_COLUMNS, marked.values()):
        shown[task] += [getattr(row, task)[0] for row in rows_marked]
    for axes, (task, table) in zip(panels, itertools.product(_COLUMNS, TABLES), strict=True):
        values = [getattr(rows[table].get(name), task, ()) for name in names]
        marks = {_MARKS[table, row.mode]: getattr(row, task)[0] for row in marked[table]}
        axes.set_title(
            f"{_COLUMNS[task]}, {'alone' if table == 'single' else table}", fontsize=10.5, color=INK, loc="left"
        )
        axes.set_xlabel("higher is better" if task == "ks" else "lower is better", fontsize=9, color=QUIET)
        _panel(axes, values, _colours(names), marks)
        right = 1.7 * (max(shown[task], default=0) or 60)  # one scale for alone and joint
        axes.set_xlim(0, right)
        axes.set_xticks([tick for tick in axes.get_xticks() if tick <= min(right, 100)])  # no more than all percent
    panels[0].set_yticks(range(len(names)), [f"{name}\n{mode}" for name, mode in names])
    panels[0].invert_yaxis()
    if comparable:
        lines = [panels[0].plot([], [], line, color=INK, lw=1.2)[0] for line in _MARKS.values()]
        labels = [f"{_MARKED}, {'alone' if t == 'single' else f'{t}, {mode}'} (published)" for t, mode in _MARKS]
        picture.legend(lines, labels, loc="outside lower center", ncols=len(lines), frameon=False, labelcolor=INK)
    title = "Keyword spotting and speaker verification by one linear layer each"
    if not comparable:
        title += " (other corpora or settings: not comparable with published numbers)"
    picture.suptitle(title, color=INK, fontsize=11)
    save(picture, path)


def _panel(axes, results: Sequence[Sequence[float]], colours: Sequence[str], marks: dict[str, float]) -> None:
    """One bar for each of `results` (one number a seed); `marks`: line style -> published result."""
    means = [statistics.fmean(values) if values else 0 for values in results]
    axes.barh(range(len(results)), means, height=0.62, color=colours, zorder=2)
    for line, value in marks.items():
        axes.axvline(value, ls=line, color=INK, lw=1.2, zorder=3)
    for y, values in enumerate(results):
        if len(values) > 1:
            mean, deviation = mean_and_deviation(values)
            axes.errorbar(mean, y, xerr=deviation, color=INK, lw=1.2, capsize=3, zorder=4)
            axes.scatter(values, [y] * len(values), s=7, color="white", edgecolors=INK, linewidths=0.6, zorder=5)
        place = {"transform": axes.get_yaxis_transform(), "ha": "right", "va": "center"}
        axes.text(1, y, _cell(values, False), fontsize=9, color=INK, **place)  # at the edge, where no bar ends
    quiet_axes(axes)


def _colours(names: Sequence[tuple[str, str]]) -> list[str]:
    """A colour for each upstream, paler where it is frozen."""
    palette = itertools.cycle(BARS)
    colours = {name: next(palette) for name in dict.fromkeys(name for name, _ in names)}
    return [f"{colours[name]}{'80' if mode == 'frozen' else 'ff'}" for name, mode in names]

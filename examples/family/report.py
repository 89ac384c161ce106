"""The family's recipes side by side, of what run.sh measured: family.md and family.png.

python examples/family/report.py FOLDER [OTHER ...]

OTHER are folders of other budgets. Their ranking of the recipes is compared with this one's, by Kendall's tau: 1 where
all pairs of recipes are in the same order, -1 where all are in the opposite one.
"""

import argparse
import json
import math
import statistics
import time
from collections import defaultdict
from pathlib import Path

import torch
from safetensors import safe_open
from scipy.stats import kendalltau

from fithubert_upstream.files import write_text
from fithubert_upstream.joint.tables import mean_and_deviation
from fithubert_upstream.report import BARS, INK, QUIET, aligned_table, figure, save
from fithubert_upstream.superb.names import parse_upstream
from fithubert_upstream.superb.upstreams import build

ROUNDS = 15
TASKS = {"pr": "PR PER %", "ks": "KS accuracy %", "few": "few-shot KS accuracy %", "sv": "SV EER %"}
GIVEN = ("fbank", "hubert_mini")  # no recipes, but what they are compared with


def results(folder: Path) -> tuple[dict[str, dict[str, list[float]]], dict[str, int]]:
    """Upstream -> task -> the results of the seeds; and upstream -> parameters."""
    found: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    sizes = {}
    paths = [(path, {}) for path in sorted(folder.glob("table-*/results.json"))]
    paths += [(path, {"few": "ks"}) for path in sorted(folder.glob("few-*/results.json"))]
    for path, columns in paths:
        for row in json.loads(path.read_text(encoding="utf-8"))["rows"]:
            students = sorted(folder.glob(f"{row['name']}-*/student.safetensors"))
            sizes[row["name"]] = size_without_heads(students[0]) if students else row["parameters"]
            for task, column in (columns or {task: task for task in TASKS}).items():
                if row.get(column) is not None:
                    found[row["name"]][task].append(row[column])
    return found, sizes


def size_without_heads(path: Path) -> int:
    """Parameters of a student's file but for its heads, which the hidden states do not go through."""
    with safe_open(path, "pt") as file:
        names = [name for name in file.keys() if not name.startswith("heads.")]  # noqa: SIM118
        return sum(math.prod(file.get_slice(name).get_shape()) for name in names)


def means(found: dict[str, dict[str, list[float]]], task: str) -> dict[str, float]:
    """Recipe -> mean result of a task, where there is one."""
    return {name: statistics.fmean(tasks[task]) for name, tasks in found.items() if tasks[task] and name not in GIVEN}


def agreement(found: dict[str, dict[str, list[float]]], other: Path) -> str:
    """Kendall's tau of this ranking and that of another folder, for each task."""
    there, parts = results(other)[0], []
    for task, title in TASKS.items():
        one, two = means(found, task), means(there, task)
        both = sorted(one.keys() & two.keys())
        if len(both) > 2:
            tau = kendalltau([one[name] for name in both], [two[name] for name in both]).statistic
            parts.append(f"{title} {tau:.2f} ({len(both)} recipes)")
    return f"ranking beside {other.name}, Kendall's tau: {', '.join(parts)}"


def milliseconds(folder: Path, names: list[str]) -> dict[str, float]:
    """For 10 s of audio, the median of rounds in which every upstream has its turn."""
    models = {}
    for name in names:
        files = sorted(folder.glob(f"{name}-*/student.safetensors"))
        models[name] = build(parse_upstream(f"{name}=fithubert:{files[0]}" if files else name))
    audio, times = 0.1 * torch.randn(160000), {name: [] for name in names}
    for number in range(ROUNDS + 2):
        for name, model in models.items():
            start = time.perf_counter()
            with torch.inference_mode():
                model([audio])
            if number >= 2:  # the first ones warm up
                times[name].append(1000 * (time.perf_counter() - start))
    return {name: statistics.median(found) for name, found in times.items()}


def cell(values: list[float]) -> str:
    if not values:
        return ""
    mean, deviation = mean_and_deviation(values)
    return f"{mean:.1f}" if deviation is None else f"{mean:.1f} ± {deviation:.1f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("others", type=Path, nargs="*")
    args = parser.parse_args()
    folder = args.folder
    found, sizes = results(folder)
    times = milliseconds(folder, list(found))
    body = [
        [name, f"{sizes[name]:,}", *(cell(tasks[task]) for task in TASKS), f"{times[name]:.0f}"]
        for name, tasks in found.items()
    ]
    table = aligned_table(["recipe", "parameters", *TASKS.values(), "ms for 10 s"], body, {0})
    table += ["", *(agreement(found, other) for other in args.others)] if args.others else []
    write_text(folder / "family.md", "\n".join(table) + "\n")
    measured = {task: title for task, title in TASKS.items() if any(tasks[task] for tasks in found.values())}
    picture = figure(5 * len(measured), 3.6)
    plots = picture.subplots(1, len(measured), squeeze=False)[0]
    for axes, (task, title) in zip(plots, measured.items(), strict=True):
        for number, (name, tasks) in enumerate(found.items()):
            if not (values := tasks[task]):
                continue
            axes.errorbar(times[name], statistics.fmean(values), yerr=statistics.stdev(values) if values[1:] else None,
                          marker="o", color=BARS[number % len(BARS)], capsize=3)  # fmt: skip
            axes.annotate(name, (times[name], statistics.fmean(values)), (6, 4), textcoords="offset points", fontsize=8)
        axes.set_title(title, loc="left", fontsize=10.5, color=INK)
        axes.set_xlabel("ms for 10 s of audio", fontsize=9, color=QUIET)
        axes.spines[["top", "right"]].set_visible(False)
    save(picture, folder / "family.png")
    print("\n".join(table))


if __name__ == "__main__":
    main()

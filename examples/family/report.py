"""The family's recipes side by side, of what run.sh measured: family.md and family.png.

python examples/family/report.py FOLDER
"""

import argparse
import json
import statistics
import time
from collections import defaultdict
from pathlib import Path

import torch

from fithubert_upstream.files import write_text
from fithubert_upstream.joint.tables import mean_and_deviation
from fithubert_upstream.report import BARS, INK, QUIET, aligned_table, figure, save
from fithubert_upstream.superb.names import parse_upstream
from fithubert_upstream.superb.upstreams import build

ROUNDS = 15
TASKS = {"pr": "PR PER %", "ks": "KS accuracy %"}


def results(folder: Path) -> tuple[dict[str, dict[str, list[float]]], dict[str, int]]:
    """Upstream -> task -> the results of the seeds; and upstream -> parameters."""
    found: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    sizes = {}
    for path in sorted(folder.glob("table-*/results.json")):
        for row in json.loads(path.read_text(encoding="utf-8"))["rows"]:
            sizes[row["name"]] = row["parameters"]
            for task in TASKS:
                if row[task] is not None:
                    found[row["name"]][task].append(row[task])
    return found, sizes


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
    mean, deviation = mean_and_deviation(values)
    return f"{mean:.1f}" if deviation is None else f"{mean:.1f} ± {deviation:.1f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    folder = parser.parse_args().folder
    found, sizes = results(folder)
    times = milliseconds(folder, list(found))
    body = [
        [name, f"{sizes[name]:,}", *(cell(tasks[task]) for task in TASKS), f"{times[name]:.0f}"]
        for name, tasks in found.items()
    ]
    table = aligned_table(["recipe", "parameters", *TASKS.values(), "ms for 10 s"], body, {0})
    write_text(folder / "family.md", "\n".join(table) + "\n")
    picture = figure(10, 3.6)
    for axes, (task, title) in zip(picture.subplots(1, 2), TASKS.items(), strict=True):
        for number, (name, tasks) in enumerate(found.items()):
            values = tasks[task]
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

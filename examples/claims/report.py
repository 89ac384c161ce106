"""The claims of FitHuBERT and of Kerpicci et al., of what run.sh measured: claims.md and claims.png.

    python examples/claims/report.py FOLDER

A claim holds if every seed says so, and does not hold if their mean says the opposite; else it is open.
"""

import argparse
import csv
import json
import statistics
import time
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

import torch

from fithubert_upstream.checkpoints.load import load_fithubert
from fithubert_upstream.files import write_text
from fithubert_upstream.joint.tables import mean_and_deviation
from fithubert_upstream.models.fithubert import FitHubert
from fithubert_upstream.report import BARS, INK, aligned_table, figure, quiet_axes, save

STUDENTS = {
    "thin_deep": "thin and deep, hints at six layers, time reduction",
    "wide_shallow": "wide and shallow",
    "last_layer": "a hint at the last layer alone",
    "no_reduction": "no time reduction",
}
TEACHER, STUDENT, BASELINE = "hubert_mini", "fithubert_mini", "fbank"
ROUNDS = 15


def results(folder: Path) -> dict[str, dict[str, list[float]]]:
    """Upstream -> task -> the results in percent, one for each seed."""
    found: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    for path in sorted([*folder.glob("pair-*/results.json"), *folder.glob("students-*/results.json")]):
        for row in json.loads(path.read_text(encoding="utf-8"))["rows"]:
            for task in ("pr", "ks"):
                if row[task] is not None:
                    found[row["name"]][task].append(row[task])
    return found


def joint_results(folder: Path) -> dict[tuple[str, str], dict[str, list[float]]]:
    """(mode, kind of run) -> task -> the results of the seeds."""
    found: dict[tuple[str, str], dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    with (folder / "joint" / "runs.csv").open(encoding="utf-8", newline="") as file:
        for line in csv.DictReader(file):
            for task in ("ks", "sv"):
                if line[task] != "-":
                    found[line["mode"], line["tasks"]][task].append(float(line[task]))
    return found


def verdict(gains: Sequence[float]) -> str:
    """Of what each seed gains."""
    if statistics.fmean(gains) <= 0:
        return "does not hold"
    return "holds" if min(gains) > 0 else "open: not with every seed"


def cell(values: Sequence[float]) -> str:
    mean, deviation = mean_and_deviation(values)
    return f"{mean:.1f}" if deviation is None else f"{mean:.1f} ± {deviation:.1f}"


def load(folder: Path, name: str) -> FitHubert:
    """A student of any seed, with its last head."""
    model = load_fithubert(sorted(folder.glob(f"{name}-*/student.safetensors"))[0])
    return model.keep_heads((model.config.num_layers,))


def count_parameters(folder: Path, name: str) -> int:
    return sum(p.numel() for p in load(folder, name).parameters())


def milliseconds(folder: Path, names: Sequence[str]) -> dict[str, float]:
    """For 10 s of audio, the median of rounds in which every student has its turn."""
    models = {name: load(folder, name) for name in names}
    audio, times = torch.randn(1, 160000) * 0.1, {name: [] for name in names}
    for number in range(ROUNDS + 2):
        for name, model in models.items():
            start = time.perf_counter()
            with torch.inference_mode():
                model.encode(audio, torch.tensor([160000]))
            if number >= 2:  # the first ones warm up
                times[name].append(1000 * (time.perf_counter() - start))
    return {name: statistics.median(found) for name, found in times.items()}


def claims(found: dict, joint: dict, ms: dict[str, float]) -> list[tuple[str, str, str]]:
    """(claim, what was measured, verdict)."""

    def gains(worse: str) -> list[float]:
        return [w - g for w, g in zip(found[worse]["pr"], found["thin_deep"]["pr"], strict=True)]

    def against(worse: str) -> str:
        return f"PER {cell(found['thin_deep']['pr'])} against {cell(found[worse]['pr'])}"

    cost, saved = statistics.fmean(gains("no_reduction")), 1 - ms["thin_deep"] / ms["no_reduction"]
    lines = [
        ("(a) thin and deep beats wide and shallow", against("wide_shallow"), verdict(gains("wide_shallow"))),
        ("(b) hints at all depths beat the last layer alone", against("last_layer"), verdict(gains("last_layer"))),
        (
            "(c) time reduction saves time and costs little",
            f"{against('no_reduction')} without; {100 * saved:.0f} % of the time saved "
            f"({ms['thin_deep']:.0f} and {ms['no_reduction']:.0f} ms for 10 s of audio)",
            f"{-cost:+.1f} points of PER for {100 * saved:.0f} % less time",
        ),
    ]
    for task, name, sign in (("ks", "keywords, accuracy", 1), ("sv", "speakers, EER", -1)):
        frozen, tuned = (joint[mode, "joint"][task] for mode in ("frozen", "fine-tuned"))
        gained = [sign * (t - f) for f, t in zip(frozen, tuned, strict=True)]
        text = f"{cell(frozen)} frozen, {cell(tuned)} fine-tuned"
        lines.append((f"(d) joint fine-tuning beats frozen: {name}", text, verdict(gained)))
    for task, name in (("pr", "PR"), ("ks", "KS")):
        rows = zip(*(found[upstream][task] for upstream in (BASELINE, STUDENT, TEACHER)), strict=True)
        shares = [100 * (student - none) / (teacher - none) for none, student, teacher in rows]
        values = ", ".join(f"{upstream} {cell(found[upstream][task])}" for upstream in (BASELINE, STUDENT, TEACHER))
        lines.append(
            (
                f"(e) the student keeps 90 % of its teacher's gain: {name}",
                f"{cell(shares)} % ({values})",
                verdict([share - 90 for share in shares]),
            )
        )
    return lines


def plot(found: dict, joint: dict, path: Path) -> None:
    """Bars of means with their numbers, a dot for each seed."""
    picture = figure(12, 2.9)
    left, middle, right = picture.subplots(1, 3, width_ratios=[2, 1, 1])
    groups = [(left, "PR, PER % (lower is better)", {text: found[name]["pr"] for name, text in STUDENTS.items()})]
    for axes, task, title in ((middle, "ks", "KS, accuracy % (higher)"), (right, "sv", "SV, EER % (lower)")):
        groups.append((axes, title, {mode: joint[mode, "joint"][task] for mode in ("frozen", "fine-tuned")}))
    for axes, title, bars in groups:
        means = [statistics.fmean(values) for values in bars.values()]
        axes.barh(range(len(bars)), means, color=BARS[: len(bars)], height=0.6)
        for place, values in enumerate(bars.values()):
            axes.plot(values, [place] * len(values), "o", color=INK, ms=3.5)
            axes.annotate(
                cell(values),
                (max(values), place),
                (6, 0),
                textcoords="offset points",
                va="center",
                fontsize=9,
                color=INK,
            )
        axes.set_yticks(range(len(bars)), bars)
        axes.set_ylim(len(STUDENTS) - 0.5, -0.5)
        axes.set_xlim(0, 1.35 * max(map(max, bars.values())))
        axes.set_title(title, loc="left", fontsize=10.5, color=INK)
        quiet_axes(axes)
    save(picture, path)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    folder = parser.parse_args().folder
    found, joint, ms = results(folder), joint_results(folder), milliseconds(folder, list(STUDENTS))
    sizes = {name: count_parameters(folder, name) for name in STUDENTS}
    students = aligned_table(
        ["student", "parameters", "PR PER %", "ms for 10 s"],
        [[text, f"{sizes[name]:,}", cell(found[name]["pr"]), f"{ms[name]:.0f}"] for name, text in STUDENTS.items()],
        {0},
    )
    table = aligned_table(["claim", "measured", ""], claims(found, joint, ms), {0, 1, 2})
    text = "\n".join([*students, "", *table, ""])
    write_text(folder / "claims.md", text)
    plot(found, joint, folder / "claims.png")
    print(text)


if __name__ == "__main__":
    main()

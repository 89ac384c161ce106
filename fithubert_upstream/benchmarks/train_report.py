"""A benchmark's rounds as a table and a picture."""

import os
import platform
import statistics
from collections.abc import Sequence
from pathlib import Path

import torch

from ..report import BARS, INK, PALE, QUIET, aligned_table, figure, quiet_axes, save

PARTS = ("data", "teacher", "student", "backward", "optimizer")
SIDES = {"ours": "fithubert distill", "plain": "straightforward loop"}


def machine(device: torch.device) -> dict[str, str | int]:
    """What was measured on."""
    if device.type == "cuda":
        hardware = torch.cuda.get_device_name(device)
    else:
        hardware = _processor()
    return {
        "device": device.type,
        "hardware": hardware,
        "threads": torch.get_num_threads(),
        "cores": os.cpu_count(),
        "torch": torch.__version__,
        "python": platform.python_version(),
        "system": platform.platform(),
    }


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.is_file() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def summarise(rounds: Sequence[dict]) -> dict:
    """Medians over rounds: speed and the parts' milliseconds per second of audio of each side, and their ratio.

    A round is {side: {"audio": seconds, "seconds": {part: seconds}, "processor_seconds": number, ...}} of both sides.
    """
    summary = {}
    for side in SIDES:
        speeds = [_speed(row[side]) for row in rounds]
        parts = {part: [1000 * row[side]["seconds"][part] / row[side]["audio"] for row in rounds] for part in PARTS}
        summary[side] = {
            "audio_seconds_per_second": statistics.median(speeds),
            "lowest": min(speeds),
            "highest": max(speeds),
            "ms_per_audio_second": {part: statistics.median(values) for part, values in parts.items()},
        }
    ratios = [_speed(row["ours"]) / _speed(row["plain"]) for row in rounds]
    used = {side: [row[side]["processor_seconds"] / row[side]["audio"] for row in rounds] for side in SIDES}
    ratios_used = [plain / ours for plain, ours in zip(used["plain"], used["ours"], strict=True)]
    summary["processor_time_ratio"] = statistics.median(ratios_used)
    summary["ratio"] = {"median": statistics.median(ratios), "lowest": min(ratios), "highest": max(ratios)}
    return summary


def _speed(row: dict) -> float:
    return row["audio"] / sum(row["seconds"].values())


def markdown(results: dict) -> str:
    """The table, with what it was measured on and what bounds the ratio."""
    summary, where, ratio = results["summary"], results["machine"], results["summary"]["ratio"]
    head = ["", "audio-s / s", *(f"{part} (ms)" for part in PARTS), "sum (ms)"]
    lines = []
    for side, name in SIDES.items():
        row = summary[side]
        times = row["ms_per_audio_second"]
        numbers = [row["audio_seconds_per_second"], *times.values(), sum(times.values())]
        lines.append([name, *(f"{number:.{2 if number < 100 else 0}f}" for number in numbers)])
    times = summary["ours"]["ms_per_audio_second"]
    most = sum(summary["plain"]["ms_per_audio_second"].values()) / times["teacher"]
    losses, precision = results["loss_of_one_batch"], results["precision"]
    shapes = {side: _shapes(results["rounds"], side) for side in SIDES}
    share = times["teacher"] / sum(times.values())
    memory = results["peak_memory_gib"]
    count = len(results["rounds"])
    by_processor = ""
    if where["device"] == "cpu":
        by_processor = (
            f"By processor time, which other programs do not change: {summary['processor_time_ratio']:.2f}.\n"
        )
    text = f"""
Ratio {ratio["median"]:.2f}, the median of {count} rounds ({ratio["lowest"]:.2f} to {ratio["highest"]:.2f}).
{by_processor}Times are medians, per second of audio. The teacher is {share:.0%} of our step;
if all the rest were free, the ratio would be {most:.2f}.

{where["hardware"]}, {where["device"]}, {where["threads"]} CPU thread(s), torch {where["torch"]}
precision: {precision["ours"]} and {precision["plain"]}; seed {results["seed"]}
teacher: {results["teacher"]}; student: {results["student"]}; audio: {results["audio"]}
batches: {shapes["ours"]} and {shapes["plain"]} samples
loss of the same batch: {losses["ours"]:.6f} and {losses["plain"]:.6f}
peak memory: {memory["ours"]:.1f} and {memory["plain"]:.1f} GiB"""
    return "\n".join([*aligned_table(head, lines, set()), text])


def _shapes(rounds: Sequence[dict], side: str) -> str:
    """For instance `3 x 68,000..268,000`."""
    shapes = [shape for row in rounds for shape in row[side]["shapes"]]
    sizes, lengths = sorted({size for size, _ in shapes}), [length for _, length in shapes]
    return f"{'/'.join(map(str, sizes))} x {min(lengths):,}..{max(lengths):,}"


def draw(results: dict, path: str | Path) -> None:
    """A bar for each side: where the time of a second of audio goes."""
    summary, where = results["summary"], results["machine"]
    picture = figure(9, 2.9)
    axes = picture.subplots()
    left = [0.0] * len(SIDES)
    for part, colour in zip(PARTS, (PALE, *BARS[:4]), strict=True):
        widths = [summary[side]["ms_per_audio_second"][part] for side in SIDES]
        axes.barh(range(len(SIDES)), widths, left=left, height=0.6, color=colour, label=part)
        left = [a + b for a, b in zip(left, widths, strict=True)]
    for y, (side, end) in enumerate(zip(SIDES, left, strict=True)):
        speed = summary[side]["audio_seconds_per_second"]
        axes.text(end, y, f"  {speed:.3g} audio-s / s", va="center", color=INK, fontsize=9.5)
    axes.set_yticks(range(len(SIDES)), SIDES.values())
    axes.invert_yaxis()
    axes.set_xlim(0, 1.22 * max(left))
    axes.set_xlabel("ms for a second of audio, lower is better", fontsize=9, color=QUIET)
    ratio = summary["ratio"]
    title = (
        f"A distillation step: {ratio['median']:.2f} times as fast ({ratio['lowest']:.2f} to {ratio['highest']:.2f})"
    )
    subtitle = f"{where['hardware']}, {where['threads']} thread(s), {results['precision']['ours']}, {results['audio']}"
    axes.set_title(f"{title}\n{subtitle}", fontsize=10, color=INK, loc="left")
    quiet_axes(axes)
    picture.legend(loc="outside lower center", ncols=len(PARTS), frameon=False, fontsize=9, labelcolor=INK)
    save(picture, path)

"""The inference benchmark's numbers as tables and a picture. Pure functions of what its JSON file holds, no torch."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ..report import BARS, INK, QUIET, aligned_table, figure, save

_MARKS = {"fp32": "o", "fp32-compiled": "s", "bf16": "^", "bf16-compiled": "D", "onnx-fp32": "P", "onnx-int8": "X"}


def summarise(work: dict[str, dict], reference: str) -> dict[str, dict[str, dict]]:
    """What each input cost each row: medians over rounds with their spread.

    Parameters
    ----------
    work : input -> `audio_seconds`, `padded_seconds`, and `times`: row -> seconds of each round.
    reference : the row of which the others' time is a part: the median of the ratios of each round.

    Returns
    -------
    input -> row -> `seconds` (`median`, `lowest`, `highest`, and quartiles `lower`, `upper`), `real_time_factor`,
    `audio_per_second`, `padded_per_second` (seconds of audio, without and with padding), and `ratio` (`median`,
    `lowest`, `highest`; None where the reference took no part).
    """
    return {
        name: {
            row: {
                "seconds": _spread(seconds),
                "real_time_factor": float(np.median(seconds)) / this["audio_seconds"],
                "audio_per_second": this["audio_seconds"] / float(np.median(seconds)),
                "padded_per_second": this["padded_seconds"] / float(np.median(seconds)),
                "ratio": _ratio(seconds, this["times"].get(reference)),
            }
            for row, seconds in this["times"].items()
        }
        for name, this in work.items()
    }


def _spread(values: Sequence[float]) -> dict[str, float]:
    names = ("lowest", "lower", "median", "upper", "highest")
    return dict(zip(names, np.percentile(values, (0, 25, 50, 75, 100)).tolist(), strict=True))


def _ratio(seconds: Sequence[float], reference: Sequence[float] | None) -> dict[str, float] | None:
    if reference is None:
        return None
    spread = _spread([own / other for own, other in zip(seconds, reference, strict=False)])  # slow rows stop earlier
    return {name: spread[name] for name in ("median", "lowest", "highest")}


def alone(results: dict) -> list[str]:
    """The inputs of one utterance."""
    return [name for name, this in results["work"].items() if this["utterances"] == 1]


def main_input(results: dict) -> str:
    """The input that models are compared on: 10 s, or the longest where it was not measured."""
    inputs = alone(results)
    return "10 s" if "10 s" in inputs else inputs[-1]


def markdown(results: dict) -> str:
    """Four tables and what was measured on."""
    where, reference = results["machine"], _title(results, results["reference"])
    main = main_input(results)
    mixed = [name for name in results["work"] if name not in alone(results)]
    parts = [
        f"**{main} of audio, batch 1**",
        "",
        *_main_table(results, main),
        "",
        f"**Size, operations, memory** (in brackets, of {reference}'s)",
        "",
        *_size_table(results),
        "",
        f"**Milliseconds by length, batch 1** (in brackets, of {reference}'s)",
        "",
        *_length_table(results),
        "",
        f"**{results['work'][mixed[0]]['utterances']} utterances of mixed lengths, "
        f"{results['work'][mixed[0]]['audio_seconds']:.0f} s**",
        "",
        *_batch_table(results, mixed),
        "",
        f"{where['hardware']}, {where['device']}, {where['threads']} of {where['cores']} CPU core(s), "
        f"torch {where['torch']}",
        f"{results['rounds']} alternating rounds (fewer of batches, emulated rows) after {results['warm_up']} passes",
        "ratios: the median of those of each round; with padding: the zeros that fill a batch up count as audio",
        f"differences are from the same model in plain fp32, on {results['compared_on']}",
    ]
    if any(row["emulated"] for row in results["rows"].values()):
        parts.append("emulated: this processor has no units for products of bfloat16")
    parts += [f"not measured: {name} ({why})" for name, why in results["skipped"].items()]
    return "\n".join(parts)


def _main_table(results: dict, name: str) -> list[str]:
    head = ["model", "variant", "ms", "quartiles", "lowest", "highest", "real-time factor"]
    head += [f"of {_title(results, results['reference'])}"] + ["largest diff.", "lowest cosine"]
    body = []
    for row, found in results["summary"][name].items():
        seconds, off = found["seconds"], results["rows"][row]["difference"]
        body.append(
            [
                *_names(results, row),
                _ms(seconds["median"]),
                f"{_ms(seconds['lower'])} to {_ms(seconds['upper'])}",
                _ms(seconds["lowest"]),
                _ms(seconds["highest"]),
                f"{found['real_time_factor']:.2g}",
                _part(found["ratio"]),
                "-" if off is None else f"{off['largest']:.1e}",
                "-" if off is None else f"{off['lowest_cosine']:.6f}",
            ]
        )
    return aligned_table(head, body, {0, 1})


def _size_table(results: dict) -> list[str]:
    rows = results["rows"]
    reference = rows[results["reference"]]
    profiled = all(row["superb_macs"] for row in rows.values())
    measured = next((row["memory"] for row in rows.values() if row["memory"]), {})
    head = ["model", "variant", "parameters (M)", "file (MB)", *(f"GMAC, {length}" for length in reference["macs"])]
    head += ["GMAC, SUPERB's profile"] * profiled + [f"memory, {name} (MiB)" for name in measured]
    body = []
    for name, row in rows.items():
        sizes = [row["bytes"] / 1e6, *(macs / 1e9 for macs in row["macs"].values())]
        others = [reference["bytes"] / 1e6, *(macs / 1e9 for macs in reference["macs"].values())]
        line = [*_names(results, name), f"{row['parameters'] / 1e6:.2f}"]
        line += [f"{size:.2f} ({size / other:.3f})" for size, other in zip(sizes, others, strict=True)]
        line += [f"{row['superb_macs']['total'] / 1e9:.0f}"] if profiled else []
        line += ["-" if row["memory"] is None else f"{row['memory'][kind]:.0f}" for kind in measured]
        body.append(line)
    return aligned_table(head, body, {0, 1})


def _length_table(results: dict) -> list[str]:
    inputs = alone(results)
    body = []
    for row in results["rows"]:
        found = [results["summary"][name].get(row) for name in inputs]
        cells = (f"{_ms(this['seconds']['median'])} ({_part(this['ratio'])})" if this else "-" for this in found)
        body.append([*_names(results, row), *cells])
    return aligned_table(["model", "variant", *inputs], body, {0, 1})


def _batch_table(results: dict, inputs: Sequence[str]) -> list[str]:
    head = ["model", "variant", "how", "s", "lowest", "highest", "audio-s / s", "with padding"]
    head += [f"of {_title(results, results['reference'])}"]
    body = []
    for row in results["rows"]:
        for name in inputs:
            if row in results["summary"][name]:
                found = results["summary"][name][row]
                seconds = (f"{found['seconds'][kind]:.3g}" for kind in ("median", "lowest", "highest"))
                speeds = (f"{found[f'{kind}_per_second']:.3g}" for kind in ("audio", "padded"))
                body.append([*_names(results, row), name, *seconds, *speeds, _part(found["ratio"])])
    return aligned_table(head, body, {0, 1, 2})


def _names(results: dict, row: str) -> list[str]:
    this = results["rows"][row]
    return [this["model"], f"{this['variant']} (emulated)" if this["emulated"] else this["variant"]]


def _title(results: dict, row: str) -> str:
    return f"{results['rows'][row]['model']} {results['rows'][row]['variant']}"


def _ms(seconds: float) -> str:
    return f"{1000 * seconds:.3g}" if seconds < 1 else f"{1000 * seconds:.0f}"


def _part(ratio: dict[str, float] | None) -> str:
    return "-" if ratio is None else f"{ratio['median']:.3f}"


def draw(results: dict, path: str | Path) -> None:
    """Size of the file against time, a colour for each model and a mark for each variant; left and down is better."""
    from matplotlib.ticker import LogLocator, NullLocator

    name, where = main_input(results), results["machine"]
    picture = figure(8.5, 4.6)
    axes = picture.subplots()
    colours, marks = {}, {}
    for row, found in results["summary"][name].items():
        this = results["rows"][row]
        _, way = _names(results, row)
        colour = colours.setdefault(this["model"], BARS[len(colours) % len(BARS)])
        marks[way] = _MARKS[this["variant"]]
        x, y = this["bytes"] / 1e6, found["ratio"]["median"]
        axes.plot(x, y, marks[way], color=colour, markersize=9, markeredgecolor="white")
    styles = [("o", colour) for colour in colours.values()] + [(mark, QUIET) for mark in marks.values()]
    handles = [axes.plot([], [], mark, color=colour, markersize=7)[0] for mark, colour in styles]
    picture.legend(handles, [*colours, *marks], loc="outside right center", frameon=False, fontsize=9, labelcolor=INK)
    axes.set_xscale("log")
    axes.set_yscale("log")
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axis.set_major_formatter("{x:g}")
        axis.set_minor_locator(NullLocator())
    axes.set_xlabel("file (MB), lower is better", fontsize=9, color=QUIET)
    axes.set_ylabel(f"time for {name}, {_title(results, results['reference'])} = 1", fontsize=9, color=QUIET)
    subtitle = f"{where['hardware']}, {where['device']}, {where['threads']} thread(s)"
    axes.set_title(f"Size and time of a forward pass\n{subtitle}", fontsize=10, color=INK, loc="left")
    axes.tick_params(which="both", length=0, labelcolor=QUIET, labelsize=8)
    axes.grid(which="major", color="#ecf0f1")
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(QUIET)
    save(picture, path)

"""How well the layers of upstreams tell phones apart, without training: ABX errors, in minutes.

Every finished upstream leaves its result in OUTPUT/<label>.json and is not run again.
"""

import argparse
import hashlib
import json
import shlex
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

from ..corpora.items import Item, read_items, recordings_of, usable
from ..corpora.state import DIGEST, state_of
from ..downstream.upstream_checks import check_device
from ..errors import FitHubertError
from ..files import write_json, write_text
from ..models.inference import inference_settings
from ..report import BARS, INK, QUIET, aligned_table, figure, save, write_csv
from ..runs.outputs import check_output_folder
from ..runs.provenance import commit, device_name, hardware
from ..runs.versions import versions
from ..superb.names import UPSTREAM, Upstream, check_labels, digest_of, parse_upstream
from ..superb.upstreams import build
from .frames import extract
from .score import MODES, abx_error, check_fastabx


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="fithubert abx",
        description="Measure how well each layer of upstreams tells phones apart: the ABX error of triphones, within "
        "and across speakers, as ZeroSpeech 2021 takes it (chance is 50 %%). Nothing is trained. Finished upstreams "
        "are skipped.",
        epilog="example: fithubert synth data --minutes 10; "
        "fithubert abx -u fbank -u fithubert_mini --items data/LibriSpeech/test",
    )
    parser.add_argument(
        "-u",
        "--upstream",
        action="append",
        default=[],
        metavar=UPSTREAM,
        help="an upstream on s3prl's hub, with its checkpoint and the feature to use (default: every layer of its "
        "hidden_states); repeat to compare several",
    )
    parser.add_argument(
        "--items",
        required=True,
        metavar="PATH",
        help="file of items (#file onset offset #phone prev-phone next-phone speaker), such as Libri-Light's for "
        "LibriSpeech's dev-clean, or a folder with such files",
    )
    parser.add_argument("--audio", metavar="DIR", help="folder of the recordings (default: that of --items)")
    parser.add_argument("--seed", type=int, default=0, help="of what is drawn from large groups (default: %(default)s)")
    parser.add_argument("--device", help="default: cuda where there is a GPU")
    parser.add_argument("-o", "--output", default="result/abx", help="output folder (default: %(default)s)")
    return parser


def main(argv: list[str]) -> dict[str, dict[str, list[float]]]:
    """Measure what is not measured yet, print the table and write it with the picture."""
    parser = build_parser()
    args = parser.parse_args(argv)
    upstreams = [parse_upstream(text) for text in args.upstream]
    if not upstreams:
        raise FitHubertError("-u: expected at least one upstream, found none; give for example fithubert abx -u fbank")
    check_fastabx()
    items = Path(args.items)
    audio = args.audio or (items.parent if items.is_file() else items)
    command = f"{parser.prog} {shlex.join(argv)}"
    errors = run(upstreams, items, audio, args.output, seed=args.seed, device=args.device, command=command)
    print(f"\n{Path(args.output, 'table.md').read_text(encoding='utf-8')}\nResults are in {args.output}.")
    return errors


def run(
    upstreams: Sequence[Upstream],
    items: str | Path,
    audio: str | Path,
    output: str | Path,
    seed: int = 0,
    device: str | None = None,
    command: str = "",
) -> dict[str, dict[str, list[float]]]:
    """Measure the upstreams as far as `output` does not hold the results yet, and write the report.

    Parameters
    ----------
    upstreams
        With different labels.
    items
        A file, or a folder with files.
    audio
        The folder of the recordings.
    output
        Folder of <label>.json, table.md, table.csv and abx.png.
    seed
        Of what is drawn from large groups.
    device
        Default: cuda where there is a GPU.
    command
        Noted in the results.

    Returns
    -------
    dict
        Label -> mode ("within", "across") -> error in percent of each layer.

    Raises
    ------
    FitHubertError
        Items, recordings or an upstream are not usable, or `output` holds results of others.
    """
    check_output_folder(output)
    check_labels(upstreams)
    output = Path(output)
    device = device or ("cuda" if torch.cuda.is_available() else "cpu")
    check_device(device)
    given = sorted(read_items(items), key=lambda item: item.file)
    recordings = recordings_of(given, audio)
    kept = usable(given, recordings)
    speakers = len({item.speaker for item in kept})
    about = f"{len(kept):,} triphones of {speakers} speakers in {len({item.file for item in kept}):,} recordings"
    print(f"{about}; left out as shorter than a frame, or at the end of a recording: {len(given) - len(kept):,}")
    recordings = {name: recordings[name] for name in dict.fromkeys(item.file for item in kept)}
    listing = hashlib.blake2b("\n".join(map(str, kept)).encode(), digest_size=16).hexdigest()
    heard = {"items": listing, "recordings": state_of(recordings)[DIGEST], "seed": seed}
    heard |= inference_settings()
    for upstream in upstreams:  # a mistake in the last is told before the first is measured
        build(upstream)
    errors: dict[str, dict[str, list[float]]] = {}
    for upstream in upstreams:
        identity = {
            "upstream": upstream.name,
            "ckpt": digest_of(upstream.ckpt),
            "feature": upstream.feature,
            **heard,
        }
        file = output / f"{upstream.label}.json"
        result = _stored(file, identity)
        if result is None:
            print(f"\n== {upstream.label}", flush=True)
            started = time.time()
            result = {**_measure(upstream, kept, recordings, output, seed, device), "settings": identity}
            result |= {"command": command, "versions": versions(), "commit": commit(), "about": about}
            result |= {
                "device": hardware() if device == "cpu" else device_name(),
                "seconds": round(time.time() - started, 1),
            }
            write_json(file, result)
        errors[upstream.label] = {mode: result[mode] for mode in MODES}
        _report(errors, about, seed, output)
    return errors


def _stored(file: Path, identity: Mapping[str, Any]) -> dict[str, Any] | None:
    """The result that a file holds. Raises FitHubertError if it is one of others."""
    if not file.is_file():
        return None
    result = json.loads(file.read_text(encoding="utf-8"))
    there = result["settings"]
    other = [key for key in {**there, **identity} if there.get(key) != identity.get(key)]
    if other:
        raise FitHubertError(
            f"{file}: already holds a result with other settings: {', '.join(other)}; remove it or choose another "
            "folder with -o"
        )
    return result


def _measure(
    upstream: Upstream, items: Sequence[Item], recordings: Mapping[str, Path], output: Path, seed: int, device: str
) -> dict[str, list[float]]:
    model = build(upstream).to(device)
    output.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=output, prefix=".frames-") as folder:
        frames = extract(model, upstream.feature or "hidden_states", items, recordings, Path(folder), device)
        errors: dict[str, list[float]] = {mode: [] for mode in MODES}
        for number in tqdm(range(len(frames)), desc="ABX", unit="layer", dynamic_ncols=True):
            layer = frames.layer(number).to(device)
            for mode in MODES:
                errors[mode].append(abx_error(items, layer, frames.ends, mode, seed))
    return errors


def _report(errors: Mapping[str, Mapping[str, list[float]]], about: str, seed: int, output: Path) -> None:
    """Write table.md, table.csv and abx.png."""
    depth = max(len(layers) for modes in errors.values() for layers in modes.values())
    body = []
    for label, modes in errors.items():
        for mode, layers in modes.items():
            best = min(layers)
            cells = [f"**{error:.2f}**" if error == best else f"{error:.2f}" for error in layers]
            body.append([label, mode, *cells, *["-"] * (depth - len(cells))])
    table = "\n".join(aligned_table(["upstream", "speakers", *map(str, range(depth))], body, {0, 1}))
    write_text(
        output / "table.md",
        f"ABX error of triphones in percent, by index in hidden_states; chance is 50, the best layer is bold. {about}, "
        f"seed {seed}.\n\n{table}\n",
    )
    rows = [
        {"upstream": label, "speakers": mode, "layer": number, "error": error}
        for label, modes in errors.items()
        for mode, layers in modes.items()
        for number, error in enumerate(layers)
    ]
    write_csv(output / "table.csv", ["upstream", "speakers", "layer", "error"], rows)
    _draw(errors, output / "abx.png")


def _draw(errors: Mapping[str, Mapping[str, list[float]]], path: Path) -> None:
    picture = figure(8.0, 4.2)
    axes = picture.subplots()
    for number, (label, modes) in enumerate(errors.items()):
        for mode, layers in modes.items():
            style = {"color": BARS[number % len(BARS)], "linestyle": "-" if mode == "within" else "--"}
            axes.plot(range(len(layers)), layers, marker="o", markersize=4, label=f"{label}, {mode} speakers", **style)
    axes.set_xlabel("index in hidden_states", fontsize=9)
    axes.set_ylabel("ABX error, %", fontsize=9)
    axes.set_ylim(bottom=0)
    axes.tick_params(labelsize=9, colors=INK)
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="y", color=QUIET, alpha=0.25)
    axes.legend(fontsize=8, frameon=False)
    save(picture, path)

"""`fithubert benchmark inference`: size, operations, time and memory of a forward pass, side by side with HuBERT's.

All models see the same waveforms in one process, in turn: every round measures each of them once, and every other
round goes the other way about. Memory is measured in a process for each.
"""

import argparse
import tempfile
from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from torch import Tensor
from tqdm import tqdm

from ..audio import SAMPLE_RATE
from ..audio.waveforms import load_waveform
from ..distillation.log import peak_memory
from ..errors import FitHubertError
from ..files import write_json, write_text
from ..runs.precision import bf16_is_native
from ..runs.workers import SpawnContext
from .inference_report import draw, markdown, summarise
from .inputs import SORTED, Work, lengths_alone, mixed_lengths, noise
from .machine import timer
from .macs import count_macs, superb_macs, superb_samples
from .train_report import machine
from .variants import (
    MODELS,
    SEED,
    VARIANTS,
    Forward,
    build,
    count_parameters,
    file_bytes,
    import_code,
    onnx_file,
    shape_of,
)

WARM_UP = 2  # passes of each model on each input that are not timed
BATCH_ROUNDS = 3  # at most, of batches
SLOW_ROUNDS, SLOW_SECONDS = 3, 10  # at most, of what the processor only emulates, which takes part in no batch
MEMORY_SECONDS = 10.0
MIXED, SHORT_MIXED = (1, 10), (1, 3)  # seconds: the lengths in a batch lie between


@dataclass(frozen=True)
class Row:
    """A model in one of its variants."""

    model: str
    variant: str

    @property
    def name(self) -> str:
        return f"{self.model} {self.variant}"


def add_flags(parser: argparse.ArgumentParser) -> None:
    names, variants = ", ".join(MODELS), ", ".join(VARIANTS)
    default = [name for name, model in MODELS.items() if not model.family]
    hint = f"of {names} (default: {' '.join(default)})"
    parser.add_argument("--models", nargs="+", choices=MODELS, default=default, metavar="NAME", help=hint)
    parser.add_argument(
        "--variants",
        nargs="+",
        choices=VARIANTS,
        metavar="NAME",
        help=f"any of {variants} (default: all for students, fp32 for other models; no ONNX on cuda)",
    )
    parser.add_argument("--seconds", nargs="+", type=float, help="audio lengths in s, batch 1 (default: 1 5 10 30)")
    parser.add_argument("--batch", type=int, help="utterances of mixed lengths; default: 16")
    parser.add_argument("--rounds", type=int, help="default: 11")
    parser.add_argument("--device", choices=("cpu", "cuda"), help="default: cuda where there is one")
    parser.add_argument("--threads", type=int, help="CPU threads (default: PyTorch's)")
    parser.add_argument("--librispeech", metavar="ROOT", help="also count MACs on SUPERB's part of its test-clean")
    parser.add_argument("--audio", metavar="FILE", help="speech to compare the variants' features on; default: noise")
    parser.add_argument("--short", action="store_true", help="1 and 5 s, fp32, 5 rounds, batch 8, no memory: a minute")
    parser.add_argument("-o", "--output", default="result/benchmark-inference", help="folder (%(default)s)")


def run(args: argparse.Namespace) -> dict:
    """Measure, print and write `inference.json`, `inference.md` and `inference.png`; returns what is in the first.

    Raises
    ------
    FitHubertError
        There is no such device; the flags or the audio do not suffice.
    """
    check_flags(args)
    device, threads = torch.device(args.device), torch.get_num_threads()
    try:
        torch.set_num_threads(args.threads or threads)
        with tempfile.TemporaryDirectory(prefix="fithubert-benchmark-") as folder:
            results = measure(args, device, Path(folder))
    finally:
        torch.set_num_threads(threads)
    output, text = Path(args.output), markdown(results)
    write_json(output / "inference.json", results)
    write_text(output / "inference.md", text + "\n")
    draw(results, output / "inference.png")
    print(f"\n{text}\n\nin {output}: inference.png, inference.md, inference.json")
    return results


def check_flags(args: argparse.Namespace) -> None:
    """Fill in the defaults. Raises FitHubertError for what cannot be measured."""
    args.device = args.device or ("cuda" if torch.cuda.is_available() else "cpu")
    args.seconds = sorted(set(args.seconds or ([1.0, 5.0] if args.short else [1.0, 5.0, 10.0, 30.0])))
    if args.rounds is None:
        args.rounds = 5 if args.short else 11
    if args.batch is None:
        args.batch = 8 if args.short else 16
    if args.device == "cuda" and not torch.cuda.is_available():
        raise FitHubertError("--device cuda: expected a CUDA GPU, found none")
    if not all(0.01 <= seconds <= 600 for seconds in args.seconds):
        raise FitHubertError(f"--seconds: expected numbers from 0.01 to 600, found {args.seconds}")
    if args.batch < SORTED or args.batch % SORTED:
        raise FitHubertError(f"--batch: expected a multiple of {SORTED}, found {args.batch}")
    if args.rounds < 1 or (args.threads is not None and args.threads < 1):
        raise FitHubertError("--rounds, --threads: expected at least 1, found less")


def measure(args: argparse.Namespace, device: torch.device, folder: Path) -> dict:
    """All that the report is made of."""
    rows = choose_rows(args)
    slow = set() if bf16_is_native(device.type) else {row for row in rows if VARIANTS[row.variant][0] == "bf16"}
    samples = superb_samples(args.librispeech) if args.librispeech else None
    compared = load_waveform(args.audio)[: 10 * SAMPLE_RATE] if args.audio else noise(5 * SAMPLE_RATE)

    forwards, differences, skipped = try_rows(rows, compared[None].to(device), device, folder)
    rows = list(forwards)
    described = {}
    for row in tqdm(rows, desc="sizes", unit="model"):
        described[row.name] = describe(row, folder, samples) | {
            "emulated": row in slow,
            "difference": differences.get(row),
            "memory": None if args.short or row in slow else memory(row, args, device, folder),
        }

    plan = plan_work(args, rows, slow, device)
    measured = {}
    with tqdm(total=sum(WARM_UP * len(rounds) + sum(rounds.values()) for _, rounds in plan), unit="pass") as bar:
        for work, rounds in plan:
            bar.set_description(work.name)
            times = alternate(forwards, work, rounds, timer(device), bar.update)
            measured[work.name] = {
                "utterances": work.utterances,
                "audio_seconds": work.seconds,
                "padded_seconds": work.padded_seconds,
                "times": {row.name: seconds for row, seconds in times.items()},
            }
    reference = "hubert_base fp32" if "hubert_base fp32" in described else rows[0].name
    return {
        "machine": machine(device),
        "warm_up": WARM_UP,
        "rounds": args.rounds,
        "seed": SEED,
        "compared_on": Path(args.audio).name if args.audio else "noise",
        "reference": reference,
        "rows": described,
        "skipped": skipped,
        "work": measured,
        "summary": summarise(measured, reference),
    }


def choose_rows(args: argparse.Namespace) -> list[Row]:
    """The models in the variants that are asked for and that they have. Raises FitHubertError where there is none."""
    variants = args.variants or (["fp32"] if args.short else list(VARIANTS))
    rows = [
        Row(model, variant)
        for model in args.models
        for variant in MODELS[model].variants(args.device)
        if variant in variants
    ]
    if not rows:
        models = ", ".join(args.models)
        raise FitHubertError(f"--variants: expected one of those of {models} on {args.device}, found {variants}")
    return rows


def plan_work(
    args: argparse.Namespace, rows: Sequence[Row], slow: Collection[Row], device: torch.device
) -> list[tuple[Work, dict[Row, int]]]:
    """What is timed, and in how many rounds each row that takes part."""
    fast = [row for row in rows if row not in slow]
    batched = [row for row in fast if MODELS[row.model].student or not args.short]
    plan = []
    for work in lengths_alone(args.seconds, device):
        rounds = dict.fromkeys(rows if work.seconds <= SLOW_SECONDS else fast, args.rounds)
        plan.append((work, {row: min(count, SLOW_ROUNDS) if row in slow else count for row, count in rounds.items()}))
    rounds = dict.fromkeys(batched, min(args.rounds, BATCH_ROUNDS))
    mixed = mixed_lengths(args.batch, SHORT_MIXED if args.short else MIXED, device)
    return plan + [(work, rounds) for work in mixed]


def try_rows(
    rows: Sequence[Row], waveforms: Tensor, device: torch.device, folder: Path
) -> tuple[dict[Row, Forward], dict[Row, dict[str, float]], dict[str, str]]:
    """Build every row and run it once.

    Returns
    -------
    The rows that run; how their features differ from those of the same model in plain fp32; and by name why the others
    do not run: no compiler, no onnxruntime.
    """
    lengths = torch.tensor([waveforms.size(1)])
    forwards, differences, skipped, plain = {}, {}, {}, {}
    for row in tqdm(rows, desc="models", unit="model"):
        if row.model not in plain:
            plain[row.model] = build(row.model, "fp32", device, folder)
        try:
            forward = plain[row.model] if row.variant == "fp32" else build(row.model, row.variant, device, folder)
            features = forward(waveforms, lengths)
        except (FitHubertError, RuntimeError) as error:  # what the compiler says is a RuntimeError
            if row.variant in ("fp32", "bf16"):
                raise
            skipped[row.name] = f"{type(error).__name__}: {str(error).strip().partition(chr(10))[0]}"
            continue
        forwards[row] = forward
        if row.variant != "fp32":
            differences[row] = difference(features, plain[row.model](waveforms, lengths))
    return forwards, differences, skipped


def difference(features: Tensor, plain: Tensor) -> dict[str, float]:
    """The largest difference of an element, and the lowest cosine of a frame; both (B, L, D)."""
    features, plain = features.double(), plain.double()
    return {
        "largest": (features - plain).abs().max().item(),
        "lowest_cosine": torch.cosine_similarity(features, plain, dim=-1).min().item(),
    }


def describe(row: Row, folder: Path, samples: Sequence[int] | None) -> dict:
    """What needs no clock: names, parameters, bytes of the file, multiply-accumulates."""
    module = MODELS[row.model].module()
    shape = shape_of(module)
    if row.variant.startswith("onnx"):
        size = onnx_file(row.model, row.variant, folder).stat().st_size
    else:
        size = file_bytes(module, VARIANTS[row.variant][0])
    return {
        "model": MODELS[row.model].label,
        "variant": row.variant,
        "parameters": count_parameters(module),
        "bytes": size,
        "macs": {f"{seconds} s": count_macs(shape, seconds * SAMPLE_RATE) for seconds in (1, 10)},
        "superb_macs": None if samples is None else superb_macs(shape, samples),
    }


def alternate(
    forwards: Mapping[Row, Forward],
    work: Work,
    rounds: Mapping[Row, int],
    seconds: Callable[[Callable[[], None]], float],
    done: Callable[[], object] = lambda: None,
) -> dict[Row, list[float]]:
    """Seconds of each row of `rounds` in each of its rounds, after the warm-up; every other one begins with the last.

    `seconds` times a call; `done` is told after each pass.
    """
    for row in rounds:
        for _ in range(WARM_UP):
            work.run(forwards[row])
            done()
    times = {row: [] for row in rounds}
    for number in range(max(rounds.values(), default=0)):
        for row in reversed(rounds) if number % 2 else rounds:
            if number < rounds[row]:
                times[row].append(seconds(partial(work.run, forwards[row])))
                done()
    return times


def memory(row: Row, args: argparse.Namespace, device: torch.device, folder: Path) -> dict[str, float] | None:
    """MiB that a process of its own held for the model and a pass; None of what is compiled, whose compiler counts too.

    Raises
    ------
    FitHubertError
        The process ended before its time.
    """
    if VARIANTS[row.variant][1]:
        return None
    with ProcessPoolExecutor(1, SpawnContext()) as pool:
        try:
            return pool.submit(memory_here, row, args.batch, device, folder, torch.get_num_threads()).result()
        except BrokenProcessPool as error:
            raise FitHubertError(
                f"{row.name}: the process that measures memory died (out of memory?); lower --batch"
            ) from error


def memory_here(row: Row, batch: int, device: torch.device, folder: Path, threads: int) -> dict[str, float]:
    """The same of this process, from now on: of 10 s alone, then of the padded batch."""
    torch.set_num_threads(threads)
    import_code(row.model, row.variant)
    inputs = [*lengths_alone([MEMORY_SECONDS], device), mixed_lengths(batch, MIXED, device)[0]]
    before = peak_memory(device)
    forward = build(row.model, row.variant, device, folder)
    found = {}
    for work in inputs:
        work.run(forward)
        found[work.name] = 1024 * (peak_memory(device) - before)
    return found

"""The main job end to end: speech, a teacher, a distilled student, and phone recognition on all three.

Every stage leaves its result in the output folder and is skipped when it lies there, so a demo that
was interrupted goes on where it stopped.
"""

import argparse
import csv
import json
import statistics
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
import yaml
from torch import Tensor

from .audio import find_audio
from .checkpoint import load_fithubert, save_checkpoint
from .config import find_config, read_yaml
from .errors import FitHubertError
from .files import atomic_path
from .lengths import SAMPLE_RATE

SYNTHETIC_MINUTES = {"train": 20.0, "dev": 1.5, "test": 4.0}


@dataclass(frozen=True)
class Settings:
    """What a demo's numbers depend on; a folder of results belongs to one of these."""

    librispeech: str | None
    train: list[str]
    dev: list[str]
    test: list[str]
    minutes: dict[str, float]
    teacher: str | None
    teacher_steps: int
    student_steps: int
    pr_steps: int
    seed: int


@dataclass(frozen=True)
class Row:
    """A line of the results table; time is that of 10 s of speech, as a ratio to the teacher's."""

    name: str
    parameters: int
    megabytes: float
    time_ratio: float
    per: float


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="fithubert demo",
        description="Synthesise speech (or take a LibriSpeech-layout corpus), pretrain a small HuBERT teacher, distil "
        "it into a small FitHuBERT student and compare FBANK, student and teacher on phone recognition.",
        epilog="example: fithubert demo --librispeech LibriSpeech --train train-clean-100 --dev dev-clean "
        "--test test-clean",
    )
    parser.add_argument("--librispeech", metavar="DIR", help="real speech in LibriSpeech layout instead of synthetic")
    for split in ("train", "dev", "test"):
        parser.add_argument(f"--{split}", nargs="+", default=[split], metavar="FOLDER", help=f"folder(s) to {split} on")
    parser.add_argument(
        "--teacher", metavar="DIR_OR_ID", help="a transformers HuBERT of 4 layers and width 192 instead"
    )
    parser.add_argument(
        "--teacher-steps", type=int, default=500, help="updates of the teacher's pretraining (%(default)s)"
    )
    parser.add_argument("--student-steps", type=int, default=600, help="updates of the distillation (%(default)s)")
    parser.add_argument("--pr-steps", type=int, default=500, help="updates of each phone recogniser (%(default)s)")
    parser.add_argument("--seed", type=int, default=1337)
    parser.add_argument("-o", "--output", default="result/demo", help="folder of everything (default: %(default)s)")
    return parser


def main(argv: list[str]) -> list[Row]:
    """Run what is not done yet, print the table and write it with the picture."""
    args = build_parser().parse_args(argv)
    minutes = {} if args.librispeech else SYNTHETIC_MINUTES
    settings = {name: value for name, value in vars(args).items() if name != "output"}
    return run(Settings(**settings, minutes=minutes), Path(args.output))


def run(settings: Settings, output: Path) -> list[Row]:
    """The demo in `output`. Raises FitHubertError when the folder holds a demo of other settings."""
    started = time.time()
    if settings.librispeech is not None:  # a mistake is told before anything is written
        for split in ("train", "dev", "test"):
            find_audio(settings.librispeech, getattr(settings, split))
    _claim(output, settings)
    corpus = _corpus(settings, output)
    teacher = _teacher(settings, corpus, output)
    student = _student(settings, corpus, teacher, output)

    upstreams = {
        "FBANK": ("fbank", None),
        "student": ("fithubert", student),
        "teacher": ("hf_hubert_custom", teacher),
    }
    built = {name: _build(*upstream) for name, upstream in upstreams.items()}
    times = _forward_times(built)
    rows = []
    for name, (upstream, ckpt) in upstreams.items():
        per = _phone_error_rate(settings, corpus, upstream, ckpt, output / f"pr_{name.lower()}")
        parameters = sum(p.numel() for p in built[name].parameters())
        rows.append(Row(name, parameters, parameters * 4 / 2**20, times[name] / times["teacher"], per))
    _report(rows, settings, output)
    print(f"\nEverything lies in {output} ({(time.time() - started) / 60:.1f} min).")
    return rows


def _claim(output: Path, settings: Settings) -> None:
    file = output / "settings.json"
    if file.is_file() and json.loads(file.read_text()) != asdict(settings):
        raise FitHubertError(f"{output}: holds a demo of other settings; remove it or choose another folder with -o")
    with atomic_path(file) as temporary:
        temporary.write_text(json.dumps(asdict(settings), indent=2))


def _corpus(settings: Settings, output: Path) -> Path:
    if settings.librispeech is not None:
        return Path(settings.librispeech)
    from .corpora import synthesise_librispeech

    _say("Speech: eSpeak NG reads sentences of a small grammar")
    synthesise_librispeech(output / "corpus", settings.minutes, seed=settings.seed)
    return output / "corpus"


def _teacher(settings: Settings, corpus: Path, output: Path) -> str:
    if settings.teacher is not None:
        return settings.teacher
    from .mini_hubert import pretrain_mini_hubert

    folder = output / "teacher"
    if not folder.is_dir():
        _say("Teacher: a small HuBERT, pretrained briefly on k-means clusters of MFCCs")
        pretrain_mini_hubert(find_audio(corpus, settings.train), folder, settings.teacher_steps, settings.seed)
    return str(folder)


def _student(settings: Settings, corpus: Path, teacher: str, output: Path) -> str:
    """Distil with s3prl's pretrain runner; keep the last head, which is what the paper counts."""
    from .run_pretrain import main as pretrain

    student = output / "student.safetensors"
    if not student.is_file():
        _say("Student: a small FitHuBERT, distilled from it with s3prl's pretrain runner")
        model = read_yaml(find_config("fithubert_mini.yaml"))
        model["teacher"] = {"source": "transformers", "model": teacher}
        runner = read_yaml(find_config("fithubert_mini_runner.yaml"))
        runner["runner"] |= {
            "total_steps": settings.student_steps,
            "log_step": max(1, settings.student_steps // 50),
            "save_step": max(1, settings.student_steps // 2),
        }
        runner["pretrain_expert"]["datarc"] |= {"libri_root": str(corpus), "sets": settings.train}
        configs = output / "student_model.yaml", output / "student_runner.yaml"
        for path, config in zip(configs, (model, runner), strict=True):
            path.write_text(yaml.safe_dump(config, sort_keys=False))
        flags = ["-u", "fithubert", "-g", str(configs[0]), "-c", str(configs[1]), "--seed", str(settings.seed)]
        distilled = pretrain([*flags, "-p", str(output / "pretrain"), "-a"])
        model = load_fithubert(distilled)
        save_checkpoint(model.keep_heads(model.config.head_layers[-1:]), student)
    return str(student)


def _phone_error_rate(settings: Settings, corpus: Path, upstream: str, ckpt: str | None, expdir: Path) -> float:
    """Train and test a phone recogniser on frozen features with s3prl's run_downstream; PER in [0, 1]."""
    from .run_downstream import main as downstream

    result = expdir / "result.json"
    if not result.is_file():
        _say(f"Phone recognition on {upstream}")
        override = {
            "downstream_expert.corpus.path": str(corpus),
            **{f"downstream_expert.corpus.{split}": getattr(settings, split) for split in ("train", "dev", "test")},
            "runner.total_steps": settings.pr_steps,
            "runner.eval_step": max(1, settings.pr_steps // 2),
            "runner.save_step": max(1, settings.pr_steps // 2),
        }
        flags = ["-u", upstream, "-d", "ctc", "-c", "mini/pr.yaml", "-p", str(expdir), "--seed", str(settings.seed)]
        flags += ["-k", ckpt] if ckpt else []
        flags += ["-s", "last_hidden_state"] if upstream == "fithubert" else []  # as the authors evaluated
        flags += ["-o", ",,".join(f"config.{key}={value}" for key, value in override.items())]
        downstream(["-m", "train", *flags, "--skip-oov", "-a"])
        scores = downstream(["-m", "evaluate", "-t", "test", "-e", str(expdir / "dev-best.ckpt")])
        with atomic_path(result) as temporary:
            temporary.write_text(json.dumps({"per": scores["ctc-libriphone/test-per"]}))
    return json.loads(result.read_text())["per"]


def _build(upstream: str, ckpt: str | None) -> torch.nn.Module:
    from .hubconf import register

    register()
    from s3prl import hub

    return getattr(hub, upstream)(**({} if ckpt is None else {"ckpt": ckpt})).eval()


@torch.no_grad()
def _forward_times(upstreams: dict[str, Callable[[list[Tensor]], dict]], rounds: int = 7) -> dict[str, float]:
    """Median seconds for 10 s of sound, alternating between the upstreams after one round of warm-up."""
    wav = torch.randn(10 * SAMPLE_RATE, generator=torch.Generator().manual_seed(0)) * 0.1
    times: dict[str, list[float]] = {name: [] for name in upstreams}
    for _ in range(rounds + 1):
        for name, upstream in upstreams.items():
            start = time.perf_counter()
            upstream([wav])
            times[name].append(time.perf_counter() - start)
    return {name: statistics.median(seconds[1:]) for name, seconds in times.items()}


def format_table(rows: list[Row]) -> str:
    """The results as a Markdown table."""
    lines = [
        "| upstream | parameters | size (fp32) | time for 10 s, teacher = 1 | PER % |",
        "|---|---:|---:|---:|---:|",
    ]
    for row in rows:
        size = f"{row.megabytes:.1f} MB" if row.parameters else "-"
        lines.append(f"| {row.name} | {row.parameters:,} | {size} | {row.time_ratio:.2f} | {100 * row.per:.2f} |")
    return "\n".join(lines)


def _report(rows: list[Row], settings: Settings, output: Path) -> None:
    table = format_table(rows)
    speech = settings.librispeech or f"synthetic speech, {settings.minutes['train']:g} min of training"
    about = f"Phone recognition (s3prl `ctc`, frozen, {settings.pr_steps} steps, seed {settings.seed}) on {speech}"
    with atomic_path(output / "table.md") as temporary:
        temporary.write_text(f"{about}\n\n{table}\n")
    with atomic_path(output / "results.json") as temporary:
        temporary.write_text(
            json.dumps({"settings": asdict(settings), "rows": [asdict(row) for row in rows]}, indent=2)
        )
    with atomic_path(output / "demo.png") as temporary:
        _plot(rows, read_losses(output / "pretrain"), about, temporary)
    print(f"\n{about}\n\n{table}")


def read_losses(expdir: Path) -> list[tuple[int, float]]:
    """(step, loss) of a `fithubert pretrain` experiment."""
    with (expdir / "losses.csv").open(newline="") as file:
        return [(int(row["step"]), float(row["loss"])) for row in csv.DictReader(file)]


def _plot(rows: list[Row], curve: list[tuple[int, float]], title: str, path: Path) -> None:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 3.8), layout="constrained")
    left, right = figure.subplots(1, 2)
    left.plot(*zip(*curve, strict=True), color="C0")
    left.set(xlabel="step", ylabel="hint loss", title="Distillation", ylim=(0, None))
    colours = ["0.7", "C0", "C1"]
    bars = right.barh([row.name for row in rows], [100 * row.per for row in rows], color=colours[: len(rows)])
    right.bar_label(bars, [f"{100 * row.per:.1f} %" for row in rows], padding=3)
    right.invert_yaxis()
    right.margins(x=0.15)
    right.set(xlabel="phone error rate %", title="Phone recognition, frozen features")
    figure.suptitle(title, fontsize=9)
    figure.savefig(path, format="png", dpi=130)


def _say(text: str) -> None:
    print(f"\n== {text}", flush=True)

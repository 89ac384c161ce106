"""The main job end to end: speech, a student distilled on it, and SUPERB's four tasks beside the embedded pair.

Every stage writes its result to the output folder and is skipped if the result exists, so an interrupted
demo resumes where it stopped.
"""

import argparse
import json
import statistics
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from .audio import SAMPLE_RATE
from .audio.walk import find_audio
from .checkpoints.load import load_fithubert
from .checkpoints.student import save_fithubert
from .corpora.state import changed, state_of
from .corpora.synthetic.espeak import library_paths
from .distillation.log import read_losses
from .downstream.tasks import TASKS
from .errors import FitHubertError
from .files import write_json, write_text
from .report import BARS, aligned_table, figure, save
from .runs.folders import check_free
from .runs.outputs import check_output_folder
from .settings.files import find_config, read_yaml
from .settings.values import dump_yaml
from .superb.report import Row, draw_tasks

# Minutes of synthetic speech in each layout.
SYNTHETIC_MINUTES = {
    "librispeech": {"train": 20.0, "dev": 1.5, "test": 4.0},
    "speech_commands": {"train": 10.0, "test": 2.0},
    "voxceleb1": {"dev": 10.0, "test": 6.0},
}
TASK_STEPS = {"pr": 250, "asr": 300, "ks": 150, "sv": 100}


@dataclass(frozen=True)
class Settings:
    """What a demo's numbers depend on; a folder of results belongs to one of these."""

    librispeech: str | None
    speech_commands: str | None
    voxceleb1: str | None
    train: list[str]
    dev: list[str]
    test: list[str]
    minutes: dict[str, dict[str, float]]
    student_steps: int
    task_steps: list[int]
    seed: int


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="fithubert demo",
        description="Synthesise speech (or take real corpora), distil the embedded hubert_mini into a fresh student "
        "and compare FBANK, that student, fithubert_mini and hubert_mini on phone and speech recognition, keyword "
        "spotting and speaker verification.",
        epilog="example: fithubert demo --librispeech LibriSpeech --train train-clean-100 --dev dev-clean "
        "--test test-clean",
    )
    parser.add_argument("--librispeech", metavar="DIR", help="real speech in LibriSpeech layout instead of synthetic")
    parser.add_argument("--speech-commands", metavar="DIR", help="the same for keyword spotting; holds train and test")
    parser.add_argument("--voxceleb1", metavar="DIR", help="the same for speaker verification; with *_trials.txt")
    for split in ("train", "dev", "test"):
        parser.add_argument(
            f"--{split}", nargs="+", default=[split], metavar="FOLDER", help=f"{split} subfolder(s) of --librispeech"
        )
    parser.add_argument("--student-steps", type=int, default=500, help="updates of the distillation (%(default)s)")
    steps = list(TASK_STEPS.values())
    parser.add_argument(
        "--task-steps",
        type=int,
        nargs=4,
        default=steps,
        metavar=tuple(map(str.upper, TASK_STEPS)),
        help=f"updates of each task's head ({' '.join(map(str, steps))})",
    )
    parser.add_argument("--seed", type=int, default=1337)
    parser.add_argument("-o", "--output", default="result/demo", help="output folder (default: %(default)s)")
    return parser


def main(argv: list[str]) -> list[Row]:
    """Run what is not done yet, print the table and write it with the picture."""
    args = build_parser().parse_args(argv)
    check_output_folder(args.output)
    settings = {name: value for name, value in vars(args).items() if name != "output"}
    minutes = {name: size for name, size in SYNTHETIC_MINUTES.items() if settings[name] is None}
    return run(Settings(**settings, minutes=minutes), Path(args.output))


def run(settings: Settings, output: Path) -> list[Row]:
    """The demo in `output`. Raises FitHubertError when the folder holds a demo of other settings."""
    from .pretrain import expert as pretrain_expert  # noqa: F401  what distillation lacks is told before anything is written
    from .superb import run as superb
    from .superb.upstreams import build

    if settings.minutes:
        library_paths()
    started = time.time()
    if settings.librispeech is not None:  # a mistake is told before anything is written
        for split in ("train", "dev", "test"):
            find_audio(settings.librispeech, getattr(settings, split))
    for name in ("speech_commands", "voxceleb1"):
        folder = getattr(settings, name)
        if folder is not None and not Path(folder).is_dir():
            raise FitHubertError(
                f"--{name.replace('_', '-')} {folder}: expected a folder, found none; correct the path"
            )
    _claim(output, settings)
    corpora = _corpora(settings, output)
    student = _student(settings, corpora["librispeech"], output)

    # What is said stands in the last hidden state of a student that has learned for long, as the authors evaluated;
    # in so few updates as here the layers below it have learned more, and the weighted sum takes all.
    upstreams = [
        superb.Upstream("FBANK", "fbank"),
        superb.Upstream("student", "fithubert", student),
        superb.Upstream("fithubert_mini", "fithubert_mini", None, "last_hidden_state"),
        superb.Upstream("hubert_mini", "hubert_mini", None, "last_hidden_state"),
    ]
    steps = dict(zip(TASK_STEPS, settings.task_steps, strict=True))

    def evaluate(upstreams: list[superb.Upstream], tasks: list[str], folder: str) -> list[Row]:
        return superb.run(
            upstreams,
            tasks,
            superb.Settings(
                **{name: str(corpora[name]) for name in corpora},
                overrides=tuple((key, "runner.total_steps", steps[key]) for key in tasks),
                splits=(settings.train, settings.dev, settings.test),
                skip_oov=True,
                seed=settings.seed,
            ),
            output / folder,
        )

    rows = evaluate(upstreams, ["pr", "asr", "ks"], "superb")
    # who says it stands in lower layers
    voices = evaluate([replace(upstream, feature=None) for upstream in upstreams], ["sv"], "superb_sv")
    rows = [replace(row, sv=voice.sv) for row, voice in zip(rows, voices, strict=True)]
    times = _forward_times({upstream.label: build(upstream) for upstream in upstreams})
    _report(rows, times, settings, output)
    print(f"\nResults are in {output} ({(time.time() - started) / 60:.1f} min).")
    return rows


def _claim(output: Path, settings: Settings) -> None:
    file = output / "settings.json"
    advice = "remove it or choose another folder with -o"
    splits = settings.train if settings.librispeech is not None else []  # of a real corpus: the student's
    corpus = state_of({split: Path(settings.librispeech, split) for split in splits})
    if file.is_file():
        there = json.loads(file.read_text())
        then = {key: there.pop(key) for key in corpus if key in there}
        if there != asdict(settings):
            raise FitHubertError(f"{output}: holds a demo of other settings; {advice}")
        if corpus and not then:
            print(f"{output}: an older version recorded no corpus; cannot check that the student belongs to this one")
            corpus = {}
        if corpus and (what := changed(then, corpus)):
            raise FitHubertError(f"{output}: {what}; {advice}")
    if not file.is_file():
        check_free(output, advice)
        check_free(output / "pretrain", advice)
    write_json(file, asdict(settings) | corpus)


def _corpora(settings: Settings, output: Path) -> dict[str, Path]:
    """The three corpora, synthesised where no real one was given."""
    from .corpora.synthetic.run import synthesise

    if settings.minutes:
        _say("Speech: eSpeak NG reads sentences of a small grammar and the words of Speech Commands")
    for name, minutes in settings.minutes.items():
        synthesise(name, output / "corpora" / name, minutes, seed=settings.seed)
    return {name: Path(getattr(settings, name) or output / "corpora" / name) for name in SYNTHETIC_MINUTES}


def _student(settings: Settings, corpus: Path, output: Path) -> str:
    """Distil hubert_mini with s3prl's pretrain runner; keep the last head, which is what the paper counts."""
    from .pretrain.run import main as pretrain

    student = output / "student.safetensors"
    if not student.is_file():
        _say("Student: a small FitHuBERT, distilled from hubert_mini with s3prl's pretrain runner")
        runner = read_yaml(find_config("fithubert_mini_runner.yaml"))
        runner["runner"] |= {
            "total_steps": settings.student_steps,
            "log_step": max(1, settings.student_steps // 50),
            "save_step": max(1, settings.student_steps // 2),
        }
        runner["pretrain_expert"]["datarc"] |= {"train": [str(corpus / split) for split in settings.train]}
        config = output / "student_runner.yaml"
        write_text(config, dump_yaml(runner))
        flags = ["-u", "fithubert", "-g", "fithubert_mini.yaml", "-c", str(config), "--seed", str(settings.seed)]
        distilled = pretrain([*flags, "-p", str(output / "pretrain"), "-a"])
        model = load_fithubert(distilled)
        save_fithubert(model.keep_heads(model.config.head_layers[-1:]), student)
    return str(student)


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


def format_table(rows: list[Row], times: dict[str, float]) -> str:
    """The results as a Markdown table; times are those of 10 s of speech."""
    head = ["upstream", "parameters", "size (fp32)", "time for 10 s, hubert_mini = 1"]
    head += [f"{key.upper()} {TASKS[key].metric}" for key in TASK_STEPS]
    body = []
    for row in rows:
        size = f"{row.parameters * 4 / 2**20:.1f} MB" if row.parameters else "-"
        ratio = times[row.name] / times["hubert_mini"]
        results = (f"{getattr(row, key):.2f}" for key in TASK_STEPS)
        body.append([row.name, f"{row.parameters:,}", size, f"{ratio:.2f}", *results])
    return "\n".join(aligned_table(head, body, {0}))


def _report(rows: list[Row], times: dict[str, float], settings: Settings, output: Path) -> None:
    table = f"{format_table(rows, times)}\n{_heard(output / 'superb' / 'hubert_mini' / 'asr')}"
    steps = ", ".join(f"{key.upper()} {count}" for key, count in zip(TASK_STEPS, settings.task_steps, strict=True))
    speech = "real and synthetic" if settings.minutes else "real"
    speech = "synthetic" if settings.minutes.keys() == SYNTHETIC_MINUTES.keys() else speech
    about = f"Frozen upstreams in s3prl's runner, {speech} speech, updates of the heads: {steps}; seed {settings.seed}"
    write_text(output / "table.md", f"{about}\n\n{table}\n")
    content = {"settings": asdict(settings), "rows": [asdict(row) for row in rows], "seconds": times}
    write_json(output / "results.json", content)
    _plot(rows, read_losses(output / "pretrain" / "losses.csv"), about, output / "demo.png")
    print(f"\n{about}\n\n{table}\n\nBeside published results: {output / 'superb' / 'table.md'}")


def _heard(run: Path, count: int = 3) -> str:
    """A few sentences as they were read and as the recogniser wrote them; s3prl leaves both beside its states."""
    read, written = (
        dict(line.partition(" ")[::2] for line in file.read_text(encoding="utf-8").splitlines())
        for file in (run / "test-clean-noLM-ref.ark", run / "test-clean-noLM-hyp.ark")
    )
    lines = [f"read:    {read[name]}\nwritten: {written[name]}" for name in list(read)[:count]]
    return "\n".join(["", "What the recogniser on hubert_mini wrote:", "", *lines])


def _plot(rows: list[Row], losses: list[dict[str, float | None]], title: str, path: Path) -> None:
    picture = figure(15, 3.4)
    left, right = picture.subfigures(1, 2, width_ratios=[1, 4])
    axes = left.subplots()
    axes.plot([row["step"] for row in losses], [row["loss"] for row in losses], color=BARS[0])
    axes.set(xlabel="step", ylabel="hint loss", ylim=(0, None))
    axes.set_title("Distillation", fontsize=10.5, loc="left")
    draw_tasks(right, rows)
    picture.suptitle(title, fontsize=10)
    save(picture, path)


def _say(text: str) -> None:
    print(f"\n== {text}", flush=True)

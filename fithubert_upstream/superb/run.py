"""Four SUPERB tasks (PR, ASR, KS, SV) on any number of upstreams with s3prl's runner, and one table of the results.

Every finished task leaves its result in OUTPUT/<label>/<task>/result.json and is not run again; one that was
interrupted goes on from its last checkpoint.
"""

import argparse
import copy
import os
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ..downstream import checks
from ..downstream.asr import prepare_librispeech
from ..downstream.tasks import TASKS
from ..errors import FitHubertError
from ..files import write_json, write_text
from .configs import CORPORA, Settings, corpora, task_changes, task_config
from .job import Job
from .jobs import Jobs, add_flags
from .jobs import parse_override as read_override
from .report import Row, markdown_table, plot, published_rows, write_csv
from .upstreams import Upstream, parse_upstream

OVERRIDE = "TASK:KEY=VALUE"


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="fithubert superb",
        description="Train and test SUPERB's heads for phone recognition (pr), speech recognition (asr), keyword "
        "spotting (ks) and speaker verification (sv) on frozen upstreams; write one table and picture of the results "
        "beside the published ones. Finished jobs are skipped.",
        epilog="example: fithubert superb -u fbank -u student=fithubert:student.safetensors@last_hidden_state "
        "--tasks pr ks --librispeech LibriSpeech --speech-commands speech_commands",
    )
    parser.add_argument("--tasks", nargs="+", choices=list(TASKS), default=list(TASKS), help="default: all four")
    parser.add_argument(
        "--configs", choices=["mini", "full"], default="mini", help="full: SUPERB's own settings (default: %(default)s)"
    )
    for name in dict.fromkeys(CORPORA.values()):
        flag = f"--{name.lower().replace('_', '-')}"
        parser.add_argument(flag, metavar="DIR", help=f"folder of the corpus (default: ${name})")
    parser.add_argument(
        "--splits",
        nargs=3,
        metavar=("TRAIN", "DEV", "TEST"),
        help="subfolders of --librispeech to use instead of the config's; separate several with commas",
    )
    parser.add_argument(
        "--override",
        action="append",
        default=[],
        metavar=OVERRIDE,
        help="change a task's config, for example asr:runner.total_steps=100",
    )
    parser.add_argument(
        "--skip-oov", action="store_true", help="pr: leave out utterances with words not in the lexicon"
    )
    parser.add_argument("--seed", type=int, default=1337, help="default: %(default)s")
    add_flags(parser, "result/superb")
    return parser


def main(argv: list[str]) -> list[Row]:
    """Run what is not done yet, print the table and write it with the picture."""
    args = vars(build_parser().parse_args(argv))
    upstreams = [parse_upstream(text) for text in args.pop("upstream")]
    tasks, output = args.pop("tasks"), args.pop("output")
    args["overrides"] = tuple(parse_override(text) for text in args.pop("override"))
    if args["splits"] is not None:
        args["splits"] = tuple(folders.split(",") for folders in args["splits"])
    rows = run(upstreams, tasks, Settings(**args), output)
    print(f"\n{Path(output, 'table.md').read_text(encoding='utf-8')}\nResults are in {output}.")
    return rows


def parse_override(text: str) -> tuple[str, str, Any]:
    """Read `TASK:KEY=VALUE`. Raises FitHubertError when it is not of that form."""
    return read_override(text, OVERRIDE, list(TASKS), "asr:runner.total_steps=100")


def run(upstreams: Sequence[Upstream], tasks: Sequence[str], settings: Settings, output: str | Path) -> list[Row]:
    """Run the tasks on every upstream, as far as `output` does not hold the results yet, and write the report.

    Parameters
    ----------
    upstreams
        With different labels.
    tasks
        Keys of `TASKS`.
    settings
        Of all tasks.
    output
        Folder of everything: <label>/<task>/ with s3prl's experiment and result.json, table.md, table.csv,
        superb.png, results.json.

    Returns
    -------
    list[Row]
        One for each upstream.

    Raises
    ------
    FitHubertError
        A corpus, config, upstream or checkpoint is not there, `output` holds results of other settings, or a task
        failed; what was finished before stays.
    """
    jobs = Jobs(upstreams, output, settings.feature_cache)
    for task, key, _ in settings.overrides:
        if task not in tasks:
            raise FitHubertError(f"--override {task}:{key}: expected one of the tasks that run, {', '.join(tasks)}")
    variables = {**os.environ, **corpora(tasks, settings)}
    configs = {key: task_config(key, settings, task_changes(key, settings, jobs.output), variables) for key in tasks}
    for upstream in upstreams:
        for key, config in configs.items():
            skip_oov = settings.skip_oov and key == "pr"
            jobs.add(
                f"{key.upper()} on {upstream.label}",
                upstream,
                TASKS[key],
                config,
                Path(upstream.label, key),
                seed=settings.seed,
                flags=["--skip-oov"] if skip_oov else [],
                skip_oov=skip_oov,
            )
    return jobs.run(
        _check_corpora, lambda parameters: _report(jobs.by_title.values(), parameters, settings, jobs.output)
    )


def _check_corpora(jobs: Sequence[Job]) -> None:
    """Raise FitHubertError for what is wrong with a task's corpus: in the last task it would show after days.

    Speech recognition gets its tables of lengths and characters.
    """
    for job in {job.task.key: job for job in jobs}.values():
        config = copy.deepcopy(job.config)
        checks.complete(config)
        if job.task.key == "asr":
            data = config["downstream_expert"]["datarc"]
            splits = [folder for split in ("train", "dev-clean", "test-clean") for folder in data[split]]
            prepare_librispeech(data["libri_root"], output=data["bucket_file"], splits=list(dict.fromkeys(splits)))
        for mode in ("train", "evaluate"):
            args = argparse.Namespace(mode=mode, downstream=job.task.downstream, evaluate_split=job.task.split)
            checks.check_corpus(args, config)


def _report(jobs: Iterable[Job], parameters: dict[str, int], settings: Settings, output: Path) -> list[Row]:
    """Write table.md, table.csv, superb.png and results.json of what is there; one row for each upstream."""
    results: dict[str, dict[str, Any]] = {label: {} for label in parameters}
    steps = {}
    for job in jobs:
        steps[job.task.key] = job.identity["runner.total_steps"]
        if (result := job.result()) is not None:
            results[job.upstream.label][job.task.key] = result
    rows = [
        Row(
            label,
            parameters[label],
            **{key: result["value"] for key, result in done.items()},
            note="; ".join(result["note"] for result in done.values() if result["note"]),
            comparable=settings.comparable,
        )
        for label, done in results.items()
    ]
    published = published_rows()
    about = (
        f"SUPERB's tasks on frozen upstreams: {settings.configs} configs, seed {settings.seed}, updates: "
        + ", ".join(f"{key.upper()} {count}" for key, count in steps.items())
    )
    write_text(output / "table.md", f"{about}\n\n{markdown_table(rows, published)}\n")
    write_csv(rows, published, output / "table.csv")
    plot(rows, published, output / "superb.png")
    content = {"settings": asdict(settings), "rows": [asdict(row) for row in rows], "results": results}
    write_json(output / "results.json", content)
    return rows

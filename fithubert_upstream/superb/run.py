"""SUPERB's tasks on any number of upstreams with s3prl's runner, and one table of the results.

Every finished task leaves its result in OUTPUT/<label>/<task>/result.json and is not run again; one that was
interrupted goes on from its last checkpoint.
"""

import argparse
import copy
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..corpora.layouts.iemocap import prepare_iemocap
from ..downstream import checks
from ..downstream.asr import prepare_librispeech
from ..downstream.tasks import TASKS
from ..errors import FitHubertError
from ..settings.values import parse_value
from .configs import CORPORA, DEFAULT_TASKS, Settings, changed_config, corpora, task_changes, task_config
from .names import Upstream
from .report import Row
from .running.halving import check_optuna
from .running.job import Job
from .running.jobs import ONE_BY_ONE, Jobs, Running, add_flags, read_flags
from .running.jobs import parse_override as read_override
from .running.layer_choice import SEED, LayerChoice
from .running.search import SUPERB_RATES, Follower, Search
from .summary import write_report

OVERRIDE = "TASK:KEY=VALUE"


def build_parser() -> argparse.ArgumentParser:
    tasks = ", ".join(f"{task.title.lower()} ({key})" for key, task in TASKS.items())
    parser = argparse.ArgumentParser(
        prog="fithubert superb",
        description="Train and test SUPERB's heads on frozen upstreams and write a table and a figure of the results "
        f"beside the published ones. Tasks: {tasks}. Finished jobs are skipped.",
        epilog="example: fithubert superb -u fbank -u student=fithubert:student.safetensors@last_hidden_state "
        "--tasks pr ks --librispeech LibriSpeech --speech-commands speech_commands",
    )
    parser.add_argument(
        "--tasks",
        nargs="+",
        choices=[*TASKS, "all"],
        default=list(DEFAULT_TASKS),
        help=f"tasks to run (default: {' '.join(DEFAULT_TASKS)})",
    )
    parser.add_argument(
        "--configs", choices=["mini", "full"], default="mini", help="full: SUPERB's own settings (default: %(default)s)"
    )
    for name in CORPORA:
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
    parser.add_argument(
        "--lr",
        nargs="+",
        metavar="LR",
        help="learning rate of every task; of several, each task takes the best on dev for each upstream ('search': "
        f"{' '.join(f'{rate:g}' for rate in SUPERB_RATES)}); default: the config's",
    )
    parser.add_argument("--no-halving", action="store_true", help="--lr: train every rate to its end")
    seeds = parser.add_mutually_exclusive_group()
    seeds.add_argument("--seed", type=int, default=1337, help="default: %(default)s")
    seeds.add_argument("--seeds", type=int, nargs="+", default=[], metavar="SEED", help="several: mean and spread")
    add_flags(parser, "result/superb")
    return parser


def main(argv: list[str]) -> list[Row]:
    """Run what is not done yet, print the table and write it with the picture."""
    given = read_flags(build_parser(), argv)
    if given is None:
        return []
    upstreams, running, args = given
    tasks, output = args.pop("tasks"), args.pop("output")
    tasks = list(TASKS) if "all" in tasks else list(dict.fromkeys(tasks))
    args["seeds"] = tuple(dict.fromkeys(args["seeds"]))
    args["rates"], args["halving"] = parse_rates(args.pop("lr")), not args.pop("no_halving")
    args["overrides"] = tuple(parse_override(text) for text in args.pop("override"))
    if args["splits"] is not None:
        args["splits"] = tuple(folders.split(",") for folders in args["splits"])
    rows = run(upstreams, tasks, Settings(**args), output, running)
    print(f"\n{Path(output, 'table.md').read_text(encoding='utf-8')}\nResults are in {output}.")
    return rows


def parse_override(text: str) -> tuple[str, str, Any]:
    """Read `TASK:KEY=VALUE`. Raises FitHubertError when it is not of that form."""
    return read_override(text, OVERRIDE, list(TASKS), "asr:runner.total_steps=100")


def parse_rates(words: Sequence[str] | None) -> tuple[float, ...]:
    """Learning rates, or `search` for those that SUPERB tries. Raises FitHubertError for what is neither."""
    if words is None:
        return ()
    if list(words) == ["search"]:
        return SUPERB_RATES
    rates = [parse_value(word, f"--lr {word}") for word in words]
    for word, rate in zip(words, rates, strict=True):
        if isinstance(rate, bool) or not isinstance(rate, int | float) or not 0 < rate < float("inf"):
            raise FitHubertError(f"--lr {word}: expected a number above 0, or search; for example --lr 1e-2 1e-3 1e-4")
    return tuple(dict.fromkeys(map(float, rates)))


def run(
    upstreams: Sequence[Upstream],
    tasks: Sequence[str],
    settings: Settings,
    output: str | Path,
    running: Running = ONE_BY_ONE,
) -> list[Row]:
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
    running
        How the runs are made: one after another or several at once, with cached features or without.

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
    jobs = Jobs(upstreams, output, running)
    for task, key, _ in settings.overrides:
        if task not in tasks:
            raise FitHubertError(f"--override {task}:{key}: expected one of the tasks that run, {', '.join(tasks)}")
    variables = {**os.environ, **corpora(tasks, settings)}
    configs = {key: task_config(key, settings, task_changes(key, settings, jobs.output), variables) for key in tasks}
    if len(settings.rates) > 1:
        if settings.halving:
            check_optuna()
        for key, config in configs.items():
            if TASKS[key].trains:
                check_dev(key, config)
    if "er" in tasks:
        data = configs["er"]["downstream_expert"]["datarc"]
        prepare_iemocap(data["root"], data["meta_data"])
    for upstream in upstreams:
        for key, config in configs.items():
            _add(jobs, upstream, key, config, settings)
    return jobs.run(
        _check_corpora, lambda parameters: write_report(jobs.by_title.values(), parameters, settings, jobs.output)
    )


def check_dev(key: str, config: dict[str, Any]) -> None:
    """Raise FitHubertError when a task has no results on dev to choose a learning rate by."""
    dev, splits = TASKS[key].dev, config["runner"]["eval_dataloaders"]
    if dev not in splits:
        raise FitHubertError(
            f"--lr: {key}: expected {dev} in runner.eval_dataloaders to choose by, found {', '.join(splits) or 'none'};"
            f" run {key} separately with one --lr, or give --override {key}:runner.eval_dataloaders=[{dev}]"
        )


def _add(jobs: Jobs, upstream: Upstream, key: str, config: dict[str, Any], settings: Settings) -> None:
    """The jobs of a task on an upstream: one for each fold and seed, or one that compares layers."""
    if not TASKS[key].trains:
        title, folder = f"{key.upper()} on {upstream.label}", Path(upstream.label, key)
        jobs.add(title, upstream, TASKS[key], config, folder, seed=SEED, kind=LayerChoice)
        return
    skip_oov = settings.skip_oov and key == "pr"
    searched = len(settings.rates) > 1
    for fold in range(1, TASKS[key].folds + 1):
        task, folder, title = TASKS[key].fold(fold), Path(upstream.label, key), f"{key.upper()} on {upstream.label}"
        own = config
        if task.folds > 1:
            folder, title = folder / f"fold{fold}", f"{title}, fold {fold}"
            own = changed_config(config, {"downstream_expert.datarc.test_fold": f"fold{fold}"}, key, task.downstream)
        leader: Search | None = None
        for seed in settings.seeds or (settings.seed,):
            kind: dict[str, Any] = {}
            if searched and leader is None:
                kind = {"kind": Search, "extra": {"rates": settings.rates, "halving": settings.halving}}
            elif searched:
                kind = {"kind": Follower, "extra": {"leader": leader}}
            if searched:  # the result depends on them
                kind |= {"rates": settings.rates, "halving": settings.halving}
            job = jobs.add(
                f"{title}, seed {seed}" if settings.seeds else title,
                upstream,
                task,
                own,
                folder / f"seed-{seed}" if settings.seeds else folder,
                seed=seed,
                flags=["--skip-oov"] if skip_oov else [],
                skip_oov=skip_oov,
                **kind,
            )
            if isinstance(job, Search):
                leader = job


def _check_corpora(jobs: Sequence[Job]) -> None:
    """Raise FitHubertError for what is wrong with a task's corpus: in the last task it would show after days.

    Speech recognition gets its tables of lengths and characters.
    """
    for job in {str(job.config["downstream_expert"]): job for job in jobs}.values():
        config = copy.deepcopy(job.config)
        checks.complete(config)
        if job.task.key == "asr":
            data = config["downstream_expert"]["datarc"]
            splits = [folder for split in ("train", "dev-clean", "test-clean") for folder in data[split]]
            prepare_librispeech(data["libri_root"], output=data["bucket_file"], splits=list(dict.fromkeys(splits)))
        for mode in ("train", "evaluate") if job.task.trains else ("evaluate",):
            args = argparse.Namespace(mode=mode, downstream=job.task.downstream, evaluate_split=job.task.split)
            checks.check_corpus(args, config)

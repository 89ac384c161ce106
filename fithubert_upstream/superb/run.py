"""SUPERB's tasks on any number of upstreams with s3prl's runner, and one table of the results.

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

from ..corpora.iemocap import prepare_iemocap
from ..downstream import checks
from ..downstream.asr import prepare_librispeech
from ..downstream.tasks import TASKS
from ..errors import FitHubertError
from ..files import write_json, write_text
from ..settings.values import parse_value
from .collect import collect
from .configs import CORPORA, DEFAULT_TASKS, Settings, changed_config, corpora, task_changes, task_config
from .job import Job
from .jobs import Jobs, add_flags, read_flags
from .jobs import parse_override as read_override
from .layer_choice import SEED, LayerChoice, choice_table, draw_choice
from .layers import draw_layers
from .metrics import METRICS
from .report import Row, markdown_table, plot, published_rows, write_csv
from .search import SUPERB_RATES, Follower, Search
from .search_report import draw_search, search_table
from .upstreams import Upstream

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
    upstreams, args = given
    tasks, output = args.pop("tasks"), args.pop("output")
    tasks = list(TASKS) if "all" in tasks else list(dict.fromkeys(tasks))
    args["seeds"] = tuple(dict.fromkeys(args["seeds"]))
    args["rates"], args["halving"] = parse_rates(args.pop("lr")), not args.pop("no_halving")
    args["overrides"] = tuple(parse_override(text) for text in args.pop("override"))
    if args["splits"] is not None:
        args["splits"] = tuple(folders.split(",") for folders in args["splits"])
    rows = run(upstreams, tasks, Settings(**args), output)
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
    if len(settings.rates) > 1:
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
        _check_corpora, lambda parameters: _report(jobs.by_title.values(), parameters, settings, jobs.output)
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


def _report(jobs: Iterable[Job], parameters: dict[str, int], settings: Settings, output: Path) -> list[Row]:
    """Write the tables, pictures and results.json of what is finished; one row for each upstream."""
    steps: dict[str, int] = {}
    tasks: list[str] = []
    cells: dict[str, dict[str, list[Job]]] = {label: {} for label in parameters}
    for job in jobs:
        tasks.append(job.task.key)
        if job.task.trains:
            steps[job.task.key] = job.identity["runner.total_steps"]
        cells[job.upstream.label].setdefault(job.task.key, []).append(job)
    found = {label: {key: collect(runs) for key, runs in row.items()} for label, row in cells.items()}
    found = {label: {key: cell for key, cell in row.items() if cell is not None} for label, row in found.items()}
    rows = [
        Row(
            label,
            parameters[label],
            **{key: cell.value for key, cell in done.items()},
            spread={key: cell.spread for key, cell in done.items() if cell.spread is not None},
            note="; ".join(dict.fromkeys(note for cell in done.values() for note in cell.notes)),
            comparable=settings.comparable,
        )
        for label, done in found.items()
    ]
    published = published_rows()
    seeds = ", ".join(map(str, settings.seeds or (settings.seed,)))
    about = (
        f"SUPERB's tasks on frozen upstreams: {settings.configs} configs, seed{'s' if settings.seeds else ''} {seeds}, "
        f"updates: {', '.join(f'{key.upper()} {count}' for key, count in steps.items()) or 'none'}"
    )
    columns = [key for key, metric in METRICS.items() if metric.task in tasks]
    text = f"{about}\n\n{markdown_table(rows, published, columns)}\n"
    searches = {label: {key: cell.search for key, cell in done.items() if cell.search} for label, done in found.items()}
    if any(searches.values()):
        text += f"\n{search_table(searches)}\n"
        draw_search(searches, output / "lr.png")
    for key in dict.fromkeys(key for done in found.values() for key, cell in done.items() if cell.choice):
        choices = {label: done[key].choice for label, done in found.items() if key in done}
        text += f"\n{choice_table(choices, key)}\n"
        draw_choice(choices, key, output / f"{key}.png")
    write_text(output / "table.md", text)
    write_csv(rows, published, output / "table.csv")
    plot(rows, published, output / "superb.png")
    layers = {label: {key: cell.layers for key, cell in done.items() if cell.layers} for label, done in found.items()}
    layers = {label: weights for label, weights in layers.items() if weights}
    if layers:
        draw_layers(layers, output / "layers.png")
    results = {label: {key: cell.results() for key, cell in done.items()} for label, done in found.items()}
    write_json(
        output / "results.json",
        {"settings": asdict(settings), "rows": [asdict(row) for row in rows], "results": results},
    )
    return rows

"""Four SUPERB tasks (PR, ASR, KS, SV) on any number of upstreams with s3prl's runner, and one table of the results.

Every finished task leaves its result in OUTPUT/<label>/<task>/result.json and is not run again; one that was
interrupted goes on from its last checkpoint.
"""

import argparse
import copy
import os
import re
from collections.abc import Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import torch

from ..corpora.state import corpus_state
from ..downstream import checks
from ..downstream.asr import prepare_librispeech
from ..downstream.flags import DEFAULTS
from ..downstream.tasks import TASKS, Task
from ..errors import FitHubertError
from ..files import write_json, write_text
from ..runs.outputs import check_feature_cache, check_output_folder
from ..settings.values import parse_value
from ..upstream.hubconf import register
from .job import Job, Settings, Upstream, digest_of, identity_of, run_missing, task_changes, task_config
from .report import Row, markdown_table, plot, published_rows, write_csv

# The environment variables that the packaged configs use for each task's corpus.
CORPORA = {"pr": "LIBRISPEECH", "asr": "LIBRISPEECH", "ks": "SPEECH_COMMANDS", "sv": "VOXCELEB1"}


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="fithubert superb",
        description="Train and test SUPERB's heads for phone recognition (pr), speech recognition (asr), keyword "
        "spotting (ks) and speaker verification (sv) on frozen upstreams; write one table and picture of the results "
        "beside the published ones. Finished jobs are skipped.",
        epilog="example: fithubert superb -u fbank -u student=fithubert:student.safetensors@last_hidden_state "
        "--tasks pr ks --librispeech LibriSpeech --speech-commands speech_commands",
    )
    parser.add_argument(
        "-u",
        "--upstream",
        action="append",
        required=True,
        metavar="[LABEL=]NAME[:CKPT][@FEATURE]",
        help="an upstream of s3prl's hub, with its checkpoint and the feature to use (default: the weighted sum of its "
        "hidden states); give it several times to compare",
    )
    parser.add_argument("--tasks", nargs="+", choices=list(TASKS), default=list(TASKS), help="default: all four")
    parser.add_argument(
        "--configs", choices=["mini", "full"], default="mini", help="full: SUPERB's own settings (default: %(default)s)"
    )
    for name in dict.fromkeys(CORPORA.values()):
        flag = f"--{name.lower().replace('_', '-')}"
        parser.add_argument(flag, metavar="DIR", help=f"its folder (default: ${name})")
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
        metavar="TASK:KEY=VALUE",
        help="change a task's config, for example asr:runner.total_steps=100",
    )
    parser.add_argument(
        "--skip-oov", action="store_true", help="pr: leave out utterances with words not in the lexicon"
    )
    parser.add_argument("--seed", type=int, default=1337, help="default: %(default)s")
    parser.add_argument("--feature-cache", metavar="DIR", help="cache features in DIR: faster, same results")
    parser.add_argument("-o", "--output", default="result/superb", help="output folder (default: %(default)s)")
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


def parse_upstream(text: str) -> Upstream:
    """Read `[LABEL=]NAME[:CKPT][@FEATURE]`; the label is the name where it is left out.

    Raises
    ------
    FitHubertError
        It is not of that form.
    """
    match = re.fullmatch(r"(?:(?P<label>\w[\w.-]*)=)?(?P<name>\w+)(?::(?P<ckpt>.+?))?(?:@(?P<feature>\w+))?", text)
    if match is None:
        raise FitHubertError(
            f"-u {text}: expected [LABEL=]NAME[:CKPT][@FEATURE], the label of letters, digits, '.', '_' and '-'; "
            "for example student=fithubert:student.safetensors@last_hidden_state"
        )
    return Upstream(match["label"] or match["name"], match["name"], match["ckpt"], match["feature"])


def parse_override(text: str) -> tuple[str, str, Any]:
    """Read `TASK:KEY=VALUE`; the value as Python or YAML has it.

    Raises
    ------
    FitHubertError
        It is not of that form.
    """
    match = re.fullmatch(rf"({'|'.join(TASKS)}):(\w[\w.-]*)=(.+)", text)
    if match is None:
        raise FitHubertError(
            f"--override {text}: expected TASK:KEY=VALUE with TASK one of {', '.join(TASKS)}; "
            "for example asr:runner.total_steps=100"
        )
    task, key, value = match.groups()
    return task, key, parse_value(value, f"--override {text}")


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
    check_output_folder(output)
    check_feature_cache(settings.feature_cache)
    output = Path(output).absolute()
    check_labels(upstreams)
    for task, key, _ in settings.overrides:
        if task not in tasks:
            raise FitHubertError(f"--override {task}:{key}: expected one of the tasks that run, {', '.join(tasks)}")
    variables = {**os.environ, **_corpora(tasks, settings)}
    configs = {key: task_config(key, settings, task_changes(key, settings, output), variables) for key in tasks}
    digests = {upstream.label: digest_of(upstream.ckpt) for upstream in upstreams}
    corpus_now = {key: partial(corpus_state, TASKS[key].downstream, configs[key]) for key in tasks}
    corpora = {key: state() for key, state in corpus_now.items()}
    skip_oov = {key: settings.skip_oov and key == "pr" for key in tasks}
    jobs = [
        Job(
            u,
            TASKS[key],
            identity_of(u, digests[u.label], configs[key], seed=settings.seed, skip_oov=skip_oov[key], **corpora[key]),
            output / u.label / key,
            configs[key],
            ("--skip-oov",) if skip_oov[key] else (),
            settings.feature_cache,
            corpus_now[key],
        )
        for u in upstreams
        for key in tasks
    ]
    for job in jobs:
        job.check()
    parameters = {upstream.label: count_parameters(upstream) for upstream in upstreams}

    for key in tasks:
        if not all(job.result_file.is_file() for job in jobs if job.task.key == key):
            _check_corpus(TASKS[key], configs[key])
    titles = {f"{job.task.key.upper()} on {job.upstream.label}": job for job in jobs}
    run_missing(titles, output, lambda: _report(jobs, parameters, settings, output))
    return _report(jobs, parameters, settings, output)


def count_parameters(upstream: Upstream) -> int:
    """Parameters of an upstream as s3prl's hub builds it. Raises FitHubertError when it cannot or lacks the feature."""
    register()
    from s3prl import hub

    args = argparse.Namespace(**DEFAULTS | {"upstream": upstream.name, "upstream_ckpt": upstream.ckpt})
    checks.check_upstream(args, hub)
    model = getattr(hub, upstream.name)(**({} if upstream.ckpt is None else {"ckpt": upstream.ckpt})).eval()
    if upstream.feature is not None:  # s3prl would take hidden_states instead
        with torch.no_grad():
            features = model([torch.zeros(16_000)])
        if upstream.feature not in features:
            found = ", ".join(map(str, features))
            raise FitHubertError(f"-u {upstream.name}: expected a feature named {upstream.feature}, found {found}")
    return sum(p.numel() for p in model.parameters())


def check_labels(upstreams: Sequence[Upstream]) -> None:
    """Raise FitHubertError when two upstreams have one label."""
    labels = [upstream.label.casefold() for upstream in upstreams]  # as folders of many systems are told apart
    for upstream in upstreams:
        if labels.count(upstream.label.casefold()) > 1:
            raise FitHubertError(
                f"-u {upstream.label}: expected each label once, found it again; give "
                f"-u OTHER_LABEL={upstream.label}..."
            )


def _corpora(tasks: Sequence[str], settings: Settings) -> dict[str, str]:
    """Variable of the configs -> the folder of the corpus that it stands for, of those that the tasks need."""
    folders = {}
    for name in dict.fromkeys(CORPORA[key] for key in tasks):
        folder = getattr(settings, name.lower()) or os.environ.get(name)
        if folder is None or not Path(folder).is_dir():
            need = " and ".join(key for key in tasks if CORPORA[key] == name)
            raise FitHubertError(
                f"{need}: expected a corpus, found {'no folder ' + folder if folder else 'none'}; "
                f"give --{name.lower().replace('_', '-')} DIR or set the environment variable {name}"
            )
        folders[name] = str(Path(folder).absolute())
    return folders


def _check_corpus(task: Task, config: dict) -> None:
    """Raise FitHubertError for what is wrong with a task's corpus: in the last task it would show after days.

    Speech recognition gets its tables of lengths and characters.
    """
    config = copy.deepcopy(config)
    checks.complete(config)
    if task.key == "asr":
        data = config["downstream_expert"]["datarc"]
        splits = [folder for split in ("train", "dev-clean", "test-clean") for folder in data[split]]
        prepare_librispeech(data["libri_root"], output=data["bucket_file"], splits=list(dict.fromkeys(splits)))
    for mode in ("train", "evaluate"):
        args = argparse.Namespace(mode=mode, downstream=task.downstream, evaluate_split=task.split)
        checks.check_corpus(args, config)


def _report(jobs: list[Job], parameters: dict[str, int], settings: Settings, output: Path) -> list[Row]:
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

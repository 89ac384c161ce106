"""Four SUPERB tasks (PR, ASR, KS, SV) on any number of upstreams with s3prl's runner, and one table of the results.

Every finished task leaves its result in OUTPUT/<label>/<task>/result.json and is not run again; one that was
interrupted goes on from its last checkpoint.
"""

import argparse
import ast
import copy
import hashlib
import json
import os
import platform
import re
import shlex
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
import yaml

from . import run_downstream
from .config import DOWNSTREAM_CONFIGS, expand_variables, find_config, read_yaml
from .downstream import checks
from .downstream.tasks import TASKS, Task
from .errors import FitHubertError
from .files import atomic_path
from .hubconf import register
from .prepare import prepare_librispeech
from .superb_report import Row, markdown_table, plot, published_rows, write_csv

_SEARCHED = "optimizer.lr"  # what SUPERB itself chooses for each upstream and task, and nothing else


@dataclass(frozen=True)
class Upstream:
    """An upstream as s3prl's -u, -k and -s name it; `feature` None is s3prl's weighted sum of hidden states."""

    label: str
    name: str
    ckpt: str | None = None
    feature: str | None = None

    @property
    def flags(self) -> list[str]:
        flags = ["-u", self.name]
        if self.ckpt is not None:  # absolute: training may go on from another folder
            flags += ["-k", str(Path(self.ckpt).absolute()) if Path(self.ckpt).exists() else self.ckpt]
        return flags if self.feature is None else [*flags, "-s", self.feature]


# The environment variables that the packaged configs use for each task's corpus.
CORPORA = {"pr": "LIBRISPEECH", "asr": "LIBRISPEECH", "ks": "SPEECH_COMMANDS", "sv": "VOXCELEB1"}


@dataclass(frozen=True)
class Settings:
    """What all tasks of a table share.

    Parameters
    ----------
    configs : str
        `full` (SUPERB's own) or `mini`.
    librispeech, speech_commands, voxceleb1 : str, optional
        Folders of the corpora; None takes the environment variable of that name.
    overrides : tuple of (task, key, value)
        Changes to configs, such as ("asr", "runner.total_steps", 100).
    splits : three lists of str, optional
        Folders of a corpus in LibriSpeech's layout to train, choose and test on, if not the config's.
    skip_oov : bool
        Phone recognition leaves out utterances with words that the lexicon lacks.
    seed : int
        Of heads and batches.
    feature_cache : str, optional
        Folder where features of the upstreams are kept; it changes no number.
    """

    configs: str = "mini"
    librispeech: str | None = None
    speech_commands: str | None = None
    voxceleb1: str | None = None
    overrides: tuple[tuple[str, str, Any], ...] = ()
    splits: tuple[list[str], list[str], list[str]] | None = None
    skip_oov: bool = False
    seed: int = 1337
    feature_cache: str | None = None

    @property
    def comparable(self) -> bool:
        """Whether results on the real corpora compare with published ones."""
        changed = [key for _, key, _ in self.overrides if key != _SEARCHED]
        return self.configs == "full" and not changed and self.splits is None and not self.skip_oov


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="fithubert superb",
        description="Train and test SUPERB's heads for phone recognition (pr), speech recognition (asr), keyword "
        "spotting (ks) and speaker verification (sv) on frozen upstreams; write one table and picture of the results "
        "beside the published ones. What is done already is not done again.",
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
        parser.add_argument(flag, metavar="DIR", help=f"its corpus (default: the environment variable {name})")
    parser.add_argument(
        "--splits",
        nargs=3,
        metavar=("TRAIN", "DEV", "TEST"),
        help="folders of --librispeech, if named otherwise than in the config; several with commas between",
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
    parser.add_argument(
        "--feature-cache", metavar="DIR", help="keep the upstreams' features there: faster, same numbers"
    )
    parser.add_argument("-o", "--output", default="result/superb", help="folder of everything (default: %(default)s)")
    return parser


def main(argv: list[str]) -> list[Row]:
    """Run what is not done yet, print the table and write it with the picture."""
    args = vars(build_parser().parse_args(argv))
    upstreams = [parse_upstream(text) for text in args.pop("upstream")]
    tasks, output = args.pop("tasks"), args.pop("output")
    args["overrides"] = tuple(parse_override(text) for text in args.pop("override"))
    if args["splits"] is not None:
        args["splits"] = tuple(folders.split(",") for folders in args["splits"])
    return run(upstreams, tasks, Settings(**args), Path(output))


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
    try:
        return task, key, ast.literal_eval(value)  # 1e-3, which YAML takes for a string
    except (ValueError, SyntaxError):
        pass
    try:
        return task, key, yaml.safe_load(value)
    except yaml.YAMLError as error:
        raise FitHubertError(f"--override {text}: expected a number, word or list as value, found {value}") from error


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
    output = Path(output).absolute()
    _check_labels(upstreams)
    with _corpora(tasks, settings):
        changes = {key: _changes(key, settings, output) for key in tasks}
        configs = {key: _config(key, settings, changes[key]) for key in tasks}  # completes the changes
        digests = {upstream.label: _digest(upstream.ckpt) for upstream in upstreams}
        jobs = [
            _Job(u, TASKS[key], _identity(u, digests[u.label], key, settings, configs[key]), output / u.label / key)
            for u in upstreams
            for key in tasks
        ]
        for job in jobs:
            job.check()
        parameters = {upstream.label: count_parameters(upstream) for upstream in upstreams}

        for key in tasks:
            if not all(job.result_file.is_file() for job in jobs if job.task.key == key):
                _check_corpus(TASKS[key], configs[key])
        for number, job in enumerate(jobs, 1):
            title = f"{job.task.key.upper()} on {job.upstream.label}"
            progress = f"\n== {title} ({number} of {len(jobs)})"
            if job.result_file.is_file():
                print(f"{progress}: done before", flush=True)
                continue
            print(progress, flush=True)
            try:
                job.run(settings, changes[job.task.key])
            except FitHubertError as error:
                raise FitHubertError(f"{title}: {error}; results so far are kept in {output}") from error
            _report(jobs, parameters, settings, output)  # a long run can be looked at
    rows = _report(jobs, parameters, settings, output)
    print(f"\n{(output / 'table.md').read_text()}\nEverything lies in {output}.")
    return rows


def count_parameters(upstream: Upstream) -> int:
    """Parameters of an upstream as s3prl's hub builds it. Raises FitHubertError when it cannot or lacks the feature."""
    register()
    from s3prl import hub

    checks.check_upstream(argparse.Namespace(hub="torch", upstream=upstream.name, upstream_ckpt=upstream.ckpt), hub)
    model = getattr(hub, upstream.name)(**({} if upstream.ckpt is None else {"ckpt": upstream.ckpt})).eval()
    if upstream.feature is not None:  # s3prl would take hidden_states instead
        with torch.no_grad():
            features = model([torch.zeros(16_000)])
        if upstream.feature not in features:
            found = ", ".join(map(str, features))
            raise FitHubertError(f"-u {upstream.name}: expected a feature named {upstream.feature}, found {found}")
    return sum(p.numel() for p in model.parameters())


def _check_labels(upstreams: Sequence[Upstream]) -> None:
    labels = [upstream.label for upstream in upstreams]
    for label in labels:
        if labels.count(label) > 1:
            raise FitHubertError(
                f"-u {label}: expected each label once, found it again; give -u OTHER_LABEL={label}..."
            )


@contextmanager
def _corpora(tasks: Sequence[str], settings: Settings) -> Iterator[None]:
    """Let the environment variables of the configs name the corpora that the tasks need, for a while."""
    before = dict(os.environ)
    try:
        for name in dict.fromkeys(CORPORA[key] for key in tasks):
            folder = getattr(settings, name.lower()) or os.environ.get(name)
            if folder is None or not Path(folder).is_dir():
                need = " and ".join(key for key in tasks if CORPORA[key] == name)
                raise FitHubertError(
                    f"{need}: expected a corpus, found {'no folder ' + folder if folder else 'none'}; "
                    f"give --{name.lower().replace('_', '-')} DIR or set the environment variable {name}"
                )
            os.environ[name] = str(Path(folder).absolute())
        yield
    finally:
        for name in set(CORPORA.values()):
            if name in before:
                os.environ[name] = before[name]
            else:
                os.environ.pop(name, None)


def _changes(key: str, settings: Settings, output: Path) -> dict[str, Any]:
    """What a task's config is overridden with: dotted key -> value."""
    changes: dict[str, Any] = {}
    if key == "asr":
        changes["downstream_expert.datarc.bucket_file"] = str(output / "len_for_bucket")
    names = {"pr": ("corpus", ("train", "dev", "test")), "asr": ("datarc", ("train", "dev-clean", "test-clean"))}
    if key in names and settings.splits is not None:
        section, splits = names[key]
        for split, folders in zip(splits, settings.splits, strict=True):
            changes[f"downstream_expert.{section}.{split}"] = list(folders)
    changes |= {name: value for task, name, value in settings.overrides if task == key}
    for name, value in changes.items():
        if "=" in str(value) or ",," in str(value):
            raise FitHubertError(
                f"{name}: expected a value without '=' and ',,', which s3prl's -o cannot take: {value}"
            )
    return changes


def _config_name(key: str, settings: Settings) -> str:
    return f"{key}.yaml" if settings.configs == "full" else f"mini/{key}.yaml"


def _config(key: str, settings: Settings, changes: dict[str, Any]) -> dict[str, Any]:
    """A task's config as s3prl will have it; when there are few steps, `changes` gets what goes with them."""
    config = read_yaml(find_config(_config_name(key, settings), DOWNSTREAM_CONFIGS))
    for name, value in changes.items():
        *sections, last = name.split(".")
        place = config
        for section in sections:
            place = place.setdefault(section, {})
            if not isinstance(place, dict):
                raise FitHubertError(f"--override {key}:{name}: expected a section {section}, found the value {place}")
        place[last] = value
    runner = config["runner"]
    for name in ("total_steps", "eval_step", "save_step"):
        if not isinstance(runner[name], int) or runner[name] < 1:
            raise FitHubertError(f"{key}: expected a whole number of steps as runner.{name}, found {runner[name]}")
    for name in ("eval_step", "save_step"):  # fewer steps than one of these, and there would be no checkpoint
        if "runner.total_steps" in changes and f"runner.{name}" not in changes:
            changes[f"runner.{name}"] = runner[name] = min(runner[name], runner["total_steps"])
    if runner["save_step"] > runner["total_steps"]:
        raise FitHubertError(
            f"{key}: expected runner.save_step of at most runner.total_steps, {runner['total_steps']}, so that a "
            f"checkpoint is saved, found {runner['save_step']}"
        )
    return expand_variables(config)


def _identity(upstream: Upstream, digest: str | None, key: str, settings: Settings, config: dict) -> dict[str, Any]:
    """All that a result depends on, flat, as it comes back from JSON."""
    config = dict(_flat(config))
    config.pop("downstream_expert.datarc.bucket_file", None)  # follows from the corpus; moves with the output
    identity = {
        "upstream": upstream.name,
        "ckpt": digest,
        "feature": upstream.feature,
        "seed": settings.seed,
        "skip_oov": settings.skip_oov and key == "pr",
        **config,
    }
    return json.loads(json.dumps(identity))


def _flat(config: dict, prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in config.items():
        if isinstance(value, dict) and value:
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def _digest(ckpt: str | None) -> str | None:
    """SHA-256 of a checkpoint's bytes (of all files of a folder); a URL or a name on a hub stands for itself."""
    if ckpt is None or not Path(ckpt).exists():
        return ckpt
    root = Path(ckpt)
    files = [root] if root.is_file() else sorted(path for path in root.rglob("*") if path.is_file())
    digest = hashlib.sha256()
    for path in files:
        digest.update(b"" if path == root else path.relative_to(root).as_posix().encode())
        with path.open("rb") as file:
            while block := file.read(1 << 20):
                digest.update(block)
    return digest.hexdigest()


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


@dataclass(frozen=True)
class _Job:
    """One task on one upstream in its folder."""

    upstream: Upstream
    task: Task
    identity: dict[str, Any]
    folder: Path

    @property
    def result_file(self) -> Path:
        return self.folder / "result.json"

    def result(self) -> dict[str, Any] | None:
        return json.loads(self.result_file.read_text()) if self.result_file.is_file() else None

    def check(self) -> None:
        """Raise FitHubertError when the folder holds a finished or begun run of other settings."""
        begun = self.folder / "settings.json"
        result = self.result()
        if result is not None:
            there = result["settings"]
        elif begun.is_file():
            there = json.loads(begun.read_text())
        else:
            return
        keys = [key for key in {**there, **self.identity} if there.get(key) != self.identity.get(key)]
        if keys:
            found = ", ".join(f"{key} {there.get(key)} and not {self.identity.get(key)}" for key in keys[:3])
            raise FitHubertError(
                f"{self.folder}: holds a run of other settings: {found}{', ...' if len(keys) > 3 else ''}; "
                "remove it or choose another folder with -o"
            )

    def run(self, settings: Settings, changes: dict[str, Any]) -> None:
        """Train (or go on with it), test, and leave result.json."""
        started = time.time()
        with atomic_path(self.folder / "settings.json") as temporary:
            temporary.write_text(json.dumps(self.identity, indent=2))
        cache = [] if settings.feature_cache is None else ["--feature-cache", settings.feature_cache]
        config = _config_name(self.task.key, settings)
        train = ["-m", "train", *self.upstream.flags, "-d", self.task.downstream, "-c", config, "-p", str(self.folder)]
        train += ["--seed", str(settings.seed), "-a", *cache]
        train += ["--skip-oov"] if self.identity["skip_oov"] else []
        if changes:  # quoted, since s3prl evaluates values as Python
            train += ["-o", ",,".join(f"config.{key}={value!r}" for key, value in changes.items())]
        run_downstream.main(train)

        checkpoint, note = self._checkpoint()
        test = ["-m", "evaluate", "-t", self.task.split, *checkpoint, *cache]
        scores = run_downstream.main(test)
        result = {
            "value": self.task.result(scores),
            "metric": self.task.metric,
            "steps": self.identity["runner.total_steps"],
            "seed": settings.seed,
            "note": note,
            "command": [f"fithubert downstream {shlex.join(flags)}" for flags in (train, test)],
            "versions": {
                "python": platform.python_version(),
                **{name: version(name) for name in ("fithubert-upstream", "s3prl", "torch", "torchaudio")},
            },
            "device": torch.cuda.get_device_name() if torch.cuda.is_available() else f"CPU {platform.machine()}",
            "seconds": round(time.time() - started, 1),  # of the last start, if it was interrupted
            "settings": self.identity,
        }
        with atomic_path(self.result_file) as temporary:
            temporary.write_text(json.dumps(result, indent=2) + "\n")

    def _checkpoint(self) -> tuple[list[str], str]:
        """Flags that name what is tested, and what to say of it."""
        best = self.folder / self.task.best
        if best.is_file():
            return ["-e", str(best)], ""
        states = sorted(self.folder.glob("states-*.ckpt"), key=lambda path: int(path.stem.split("-")[1]))
        if not states:
            raise FitHubertError(f"expected {self.task.best} or states-*.ckpt in {self.folder}, found neither")
        if self.task.key == "sv":  # SUPERB's protocol: no dev trials, the best of the saved states on test
            return ["-e", str(self.folder), "--all-states"], ""
        # s3prl keeps no best one while the error rate on dev is 100 % or more, or the accuracy 0
        note = f"{self.task.key.upper()} has no best checkpoint on dev: the last one was tested"
        return ["-e", str(states[-1])], note


def _report(jobs: list[_Job], parameters: dict[str, int], settings: Settings, output: Path) -> list[Row]:
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
    with atomic_path(output / "table.md") as temporary:
        temporary.write_text(f"{about}\n\n{markdown_table(rows, published)}\n", encoding="utf-8")
    write_csv(rows, published, output / "table.csv")
    plot(rows, published, output / "superb.png")
    with atomic_path(output / "results.json") as temporary:
        content = {"settings": asdict(settings), "rows": [asdict(row) for row in rows], "results": results}
        temporary.write_text(json.dumps(content, indent=2) + "\n")
    return rows

"""One task on one upstream: what its result depends on, and how it is trained, tested and remembered."""

import copy
import hashlib
import json
import os
import platform
import shlex
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from ..checkpoints.torch_files import states_in
from ..compat.s3prl_settings import read_settings
from ..corpora.state import DIGEST, FILES, PLACES, changed
from ..downstream import run as run_downstream
from ..downstream.overrides import check_given, put
from ..downstream.tasks import TASKS, Task
from ..errors import FitHubertError
from ..files import write_json, write_text
from ..models.inference import INFERENCE_VARIABLES
from ..runs.folders import check_free
from ..runs.versions import versions
from ..settings.files import DOWNSTREAM_CONFIGS, expand_variables, find_config, read_yaml
from ..settings.values import dump_yaml

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


def task_changes(key: str, settings: Settings, output: Path) -> dict[str, Any]:
    """What a task's config is overridden with: dotted key -> value."""
    changes: dict[str, Any] = {}
    if key == "asr":
        changes["downstream_expert.datarc.bucket_file"] = str(output / "len_for_bucket")
    names = {"pr": ("corpus", ("train", "dev", "test")), "asr": ("datarc", ("train", "dev-clean", "test-clean"))}
    if key in names and settings.splits is not None:
        section, splits = names[key]
        for split, folders in zip(splits, settings.splits, strict=True):
            changes[f"downstream_expert.{section}.{split}"] = list(folders)
    return changes | {name: value for task, name, value in settings.overrides if task == key}


def task_config(
    key: str, settings: Settings, changes: dict[str, Any], variables: Mapping[str, str] = os.environ
) -> dict[str, Any]:
    """A task's config, finished: with `changes` (dotted key -> value), and `${NAME}` filled in from `variables`."""
    name = f"{key}.yaml" if settings.configs == "full" else f"mini/{key}.yaml"
    config = read_yaml(find_config(name, DOWNSTREAM_CONFIGS))
    return expand_variables(changed_config(config, changes, key, TASKS[key].downstream), variables=variables)


def changed_config(config: dict[str, Any], changes: dict[str, Any], key: str, downstream: str) -> dict[str, Any]:
    """A task's config with `changes` (dotted key -> value); fewer steps bring as few between evaluations and states.

    Raises
    ------
    FitHubertError
        Nothing reads a key, a section is none, or no checkpoint would be saved; `key` names the run.
    """
    config = copy.deepcopy(config)
    for name, value in changes.items():
        put(config, name.split("."), value, f"--override {key}:{name}")
    try:
        config.update(read_settings(downstream, config))
        check_given(downstream, config, changes)
    except FitHubertError as error:
        raise FitHubertError(f"{key}: {error}") from None
    runner = config.get("runner", {})
    for name in ("total_steps", "eval_step", "save_step"):
        steps = runner.get(name)
        if steps is None:
            raise FitHubertError(f"{key}: expected a whole number of steps as runner.{name}, found {steps}")
    for name in ("eval_step", "save_step"):  # fewer steps than one of these, and there would be no checkpoint
        if "runner.total_steps" in changes and f"runner.{name}" not in changes:
            runner[name] = min(runner[name], runner["total_steps"])
    if runner["save_step"] > runner["total_steps"]:
        raise FitHubertError(
            f"{key}: expected runner.save_step of at most runner.total_steps, {runner['total_steps']}, so that a "
            f"checkpoint is saved, found {runner['save_step']}"
        )
    return config


def identity_of(upstream: Upstream, digest: str | None, config: dict, **flags: Any) -> dict[str, Any]:
    """All that a result depends on, flat, as it comes back from JSON; `flags`: seed, `corpus_state` and so on.

    Variables of the environment that say how a student is run are among it where they are set.
    """
    config = dict(_flat(config))
    config.pop("downstream_expert.datarc.bucket_file", None)  # follows from the corpus; moves with the output
    identity = {
        "upstream": upstream.name,
        "ckpt": digest,
        "feature": upstream.feature,
        **{name: value for name, value in os.environ.items() if name in INFERENCE_VARIABLES and value},
        **flags,
        **config,
    }
    return json.loads(json.dumps(identity))


def _flat(config: dict, prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in config.items():
        if isinstance(value, dict) and value:
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def digest_of(ckpt: str | None) -> str | None:
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


@dataclass(frozen=True)
class Job:
    """One task on one upstream in its folder.

    Parameters
    ----------
    upstream, task
        What is trained on what.
    identity : dict
        All that the result depends on, of `identity_of`; its `seed` is trained with.
    folder : Path
        s3prl's experiment, and result.json.
    config : dict
        The finished config, which becomes config.yaml in the folder.
    flags : tuple of str
        More flags of training, such as -f.
    feature_cache : str, optional
        Folder where features of the upstream are kept; it changes no number.
    corpus : callable
        Gives the `corpus_state` of now, of which `identity` has that of the start.
    """

    upstream: Upstream
    task: Task
    identity: dict[str, Any]
    folder: Path
    config: dict[str, Any]
    flags: tuple[str, ...] = ()
    feature_cache: str | None = None
    corpus: Callable[[], dict[str, Any]] = dict

    @property
    def result_file(self) -> Path:
        return self.folder / "result.json"

    def result(self) -> dict[str, Any] | None:
        return json.loads(self.result_file.read_text()) if self.result_file.is_file() else None

    def check(self) -> None:
        """Raise FitHubertError when the folder holds a finished or begun run of other settings, or another corpus.

        A result of a version that noted no corpus is taken, with a line that says so; one of a corpus that lies
        elsewhere now is one of the same.
        """
        begun = self.folder / "settings.json"
        result = self.result()
        if result is not None:
            there = result["settings"]
        elif begun.is_file():
            there = json.loads(begun.read_text())
        else:
            return check_free(self.folder, "remove it or choose another folder with -o")
        keys = [key for key in {**there, **self.identity} if there.get(key) != self.identity.get(key)]
        known = [DIGEST in settings for settings in (there, self.identity)]
        if not all(known):
            keys = [key for key in keys if key not in (FILES, DIGEST)]
            if any(known):
                what = "an older version noted no corpus" if known[1] else "the corpus is not there"
                print(f"{self.folder}: {what}: whether its result is of the corpus of now cannot be told")
        elif there[DIGEST] == self.identity[DIGEST] and result is not None:  # wherever it lies now
            keys = [key for key in keys if key.rpartition(".")[2] not in PLACES]
        elif set(keys) <= {FILES, DIGEST} and keys:
            raise FitHubertError(
                f"{self.folder}: {changed(there, self.identity)}; remove that folder to train and score anew, or "
                "choose another with -o"
            )
        if keys:
            found = ", ".join(f"{key} {there.get(key)} and not {self.identity.get(key)}" for key in keys[:3])
            raise FitHubertError(
                f"{self.folder}: already holds a run with other settings: {found}{', ...' if len(keys) > 3 else ''}; "
                "remove it or choose another folder with -o"
            )

    def _check_corpus(self) -> None:
        now = self.corpus()
        if DIGEST in self.identity and now and (what := changed(self.identity, now)):
            raise FitHubertError(f"{what}, while the command was running; remove {self.folder} and give it again")

    def run(self) -> None:
        """Train (or go on with it), test, and leave result.json. Raises FitHubertError if the corpus changes."""
        started = time.time()
        self._check_corpus()
        write_json(self.folder / "settings.json", self.identity)
        config = []  # that of the last state, where there is one
        if not any(self.folder.glob("states-*.ckpt")):  # broken off before the first: training starts anew
            for best in self.folder.glob("*-best.ckpt"):
                best.unlink()
            write_text(self.folder / "config.yaml", dump_yaml(self.config))
            config = ["-c", str(self.folder / "config.yaml")]
        cache = [] if self.feature_cache is None else ["--feature-cache", self.feature_cache]
        train = ["-m", "train", *self.upstream.flags, "-d", self.task.downstream, *config]
        train += ["-p", str(self.folder), "--seed", str(self.identity["seed"]), "-a", *cache, *self.flags]
        run_downstream.main(train)

        checkpoint, note = self._checkpoint()
        test = ["-m", "evaluate", "-t", self.task.split, *checkpoint, *cache]
        scores = run_downstream.main(test)
        self._check_corpus()
        result = {
            **self.measured(scores),
            "steps": self.identity["runner.total_steps"],
            "seed": self.identity["seed"],
            "note": note,
            "command": [f"fithubert downstream {shlex.join(flags)}" for flags in (train, test)],
            "versions": versions(),
            "device": torch.cuda.get_device_name() if torch.cuda.is_available() else f"CPU {platform.machine()}",
            "seconds": round(time.time() - started, 1),  # of the last start, if it was interrupted
            "settings": self.identity,
        }
        write_json(self.result_file, result)

    def measured(self, scores: dict[str, float]) -> dict[str, Any]:
        """What result.json keeps of the test's scores."""
        return {"value": self.task.result(scores), "metric": self.task.metric}

    def _checkpoint(self) -> tuple[list[str], str]:
        """Flags that name what is tested, and what to say of it."""
        best = self.folder / self.task.best
        if best.is_file():
            return ["-e", str(best)], ""
        states = states_in(self.folder)
        if not states:
            raise FitHubertError(f"expected {self.task.best} or states-*.ckpt in {self.folder}, found neither")
        if self.task.downstream == "sv_voxceleb1":  # SUPERB's protocol: no dev trials, the best state on test
            return ["-e", str(self.folder), "--all-states"], ""
        # s3prl keeps no best one while the error rate on dev is 100 % or more, or the accuracy 0
        note = f"{self.task.key.upper()} has no best checkpoint on dev: the last one was tested"
        return ["-e", str(states[-1])], note


def run_missing(jobs: Mapping[str, Job], output: Path, report: Callable[[], Any]) -> None:
    """Run the jobs that have no result yet, title -> job, and `report` after each: a long run can be looked at."""
    for number, (title, job) in enumerate(jobs.items(), 1):
        progress = f"\n== {title} ({number} of {len(jobs)})"
        if job.result_file.is_file():
            print(f"{progress}: already done", flush=True)
            continue
        print(progress, flush=True)
        try:
            job.run()
        except FitHubertError as error:
            raise FitHubertError(f"{title}: {error}; results so far are kept in {output}") from error
        report()

"""A task's finished config: the packaged one with the settings of a table and with overrides."""

import copy
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..compat.s3prl_experts import UNTRAINED
from ..compat.s3prl_settings import read_settings
from ..downstream.overrides import check_given, put
from ..downstream.tasks import TASKS, task_of
from ..errors import FitHubertError
from ..settings.files import DOWNSTREAM_CONFIGS, expand_variables, find_config, read_yaml

DEFAULT_TASKS = ("pr", "asr", "ks", "sv")
CORPORA = tuple(dict.fromkeys(task.corpus for task in TASKS.values()))  # environment variables of the configs
_SEARCHED = "optimizer.lr"  # what SUPERB itself chooses for each upstream and task, and nothing else


@dataclass(frozen=True)
class Settings:
    """What all tasks of a table share.

    Parameters
    ----------
    configs : str
        `full` (SUPERB's own) or `mini`.
    librispeech, speech_commands, voxceleb1, fluent_commands, iemocap, audio_snips, librimix, quesst14 : str, optional
        Folders of the corpora; None takes the environment variable of that name.
    overrides : tuple of (task, key, value)
        Changes to configs, such as ("asr", "runner.total_steps", 100).
    splits : three lists of str, optional
        Folders of a corpus in LibriSpeech's layout to train, choose and test on, if not the config's.
    skip_oov : bool
        Phone recognition leaves out utterances with words that the lexicon lacks.
    seed : int
        Of heads and batches.
    seeds : tuple of int
        Several of them, for mean and spread, in place of `seed`.
    rates : tuple of float
        Learning rates to choose from on dev, for each upstream and task. One is used unchanged; none: the config's.
    halving : bool
        Stop rates early that fall behind on dev.
    """

    configs: str = "mini"
    librispeech: str | None = None
    speech_commands: str | None = None
    voxceleb1: str | None = None
    fluent_commands: str | None = None
    iemocap: str | None = None
    audio_snips: str | None = None
    librimix: str | None = None
    quesst14: str | None = None
    overrides: tuple[tuple[str, str, Any], ...] = ()
    splits: tuple[list[str], list[str], list[str]] | None = None
    skip_oov: bool = False
    seed: int = 1337
    seeds: tuple[int, ...] = ()
    rates: tuple[float, ...] = ()
    halving: bool = True

    @property
    def comparable(self) -> bool:
        """Whether results on the real corpora compare with published ones."""
        changed = [key for _, key, _ in self.overrides if key != _SEARCHED]
        return self.configs == "full" and not changed and self.splits is None and not self.skip_oov


def corpora(tasks: Sequence[str], settings: Settings) -> dict[str, str]:
    """Variable of the configs -> the folder of the corpus that it stands for, of those that the tasks need."""
    folders = {}
    for name in dict.fromkeys(TASKS[key].corpus for key in tasks):
        folder = getattr(settings, name.lower()) or os.environ.get(name)
        if folder is None or not Path(folder).is_dir():
            need = " and ".join(key for key in tasks if TASKS[key].corpus == name)
            raise FitHubertError(
                f"{need}: expected a corpus, found {'no folder ' + folder if folder else 'none'}; "
                f"give --{name.lower().replace('_', '-')} DIR or set the environment variable {name}"
            )
        folders[name] = str(Path(folder).absolute())
    return folders


def task_changes(key: str, settings: Settings, output: Path) -> dict[str, Any]:
    """What a task's config is overridden with: dotted key -> value."""
    changes: dict[str, Any] = {}
    if key == "asr":
        changes["downstream_expert.datarc.bucket_file"] = str(output / "len_for_bucket")
    if key == "er":
        changes["downstream_expert.datarc.meta_data"] = str(output / "iemocap_meta_data")
    names = {"pr": ("corpus", ("train", "dev", "test")), "asr": ("datarc", ("train", "dev-clean", "test-clean"))}
    if key in names and settings.splits is not None:
        section, splits = names[key]
        for split, folders in zip(splits, settings.splits, strict=True):
            changes[f"downstream_expert.{section}.{split}"] = list(folders)
    if len(settings.rates) == 1 and TASKS[key].trains:
        changes[_SEARCHED] = settings.rates[0]
    return changes | {name: value for task, name, value in settings.overrides if task == key}


def task_config(
    key: str, settings: Settings, changes: dict[str, Any], variables: Mapping[str, str] = os.environ
) -> dict[str, Any]:
    """A task's config, finished: with `changes` (dotted key -> value), and `${NAME}` filled in from `variables`."""
    name = f"{key}.yaml" if settings.configs == "full" else f"mini/{key}.yaml"
    config = read_yaml(find_config(name, DOWNSTREAM_CONFIGS))
    config = changed_config(config, changes, key, TASKS[key].downstream)
    if (found := task_of(TASKS[key].downstream, config).key) != key:
        raise FitHubertError(
            f"--override {key}:downstream_expert.corpus.name: expected {TASKS[key].corpus_name}, found the corpus of "
            f"{found}; leave it out"
        )
    return expand_variables(config, "", variables, f"--override {key}:")


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
    if downstream in UNTRAINED:
        return config
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

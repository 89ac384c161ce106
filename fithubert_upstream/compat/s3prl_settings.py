"""What s3prl reads in a run's config, key by key: values of another kind and keys that nothing reads are errors.

s3prl looks up what it knows and passes over the rest, so that a mistyped key is a run with the default. The keys of
optimizers, schedules, SpecAugment and heads are those of the functions and classes that take them.
"""

import inspect
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch

from ..errors import FitHubertError
from ..settings.rules import Section, above_zero, anything, choice, list_of, read_block, up_to_one
from ..settings.values import boolean, text, whole
from . import s3prl as s3prl_compat
from .s3prl_experts import EXPERTS, UNTRAINED
from .s3prl_keywords import COUNT, keywords, require


def read_settings(task: str, config: dict, accepted: Iterable[str] = (), splits: Iterable[str] = ()) -> dict:
    """A run's config with its numbers as numbers.

    Parameters
    ----------
    task : str
        s3prl's -d, or "pretrain" for a runner config of `fithubert pretrain`. Of tasks other than SUPERB's here, what
        the task itself reads is not known, and left as it is.
    config : dict
        As s3prl has it.
    accepted : iterable of str
        Dotted keys that pass though nothing reads them: those of a checkpoint, with which the run was trained.
    splits : iterable of str
        Names that the flags and the config use for splits, beside train, dev, valid and test.

    Raises
    ------
    FitHubertError
        A value is of the wrong kind, or a key is not read; names the key and the nearest one.
    """
    config, unknown = read_block(_sections(task, config, splits), config, "config")
    for key, hint in unknown.items():
        if key not in accepted:
            raise FitHubertError(f"{key}: unknown key {key.rpartition('.')[2]!r}, nothing reads it; {hint}")
    return config


def unknown_keys(task: str, config: dict, splits: Iterable[str] = ()) -> set[str]:
    """Dotted keys of a config that nothing reads."""
    return set(read_block(_sections(task, config, splits), config, "config")[1])


def _sections(task: str, config: dict, splits: Iterable[str]) -> Section:
    """The keys that a task's run reads."""
    s3prl_compat.apply()
    config = config if isinstance(config, Mapping) else {}
    if task in UNTRAINED:
        return {"runner": {}, "downstream_expert": EXPERTS[task](config, set(splits))}
    sections = {"optimizer": _optimizer(config.get("optimizer"))}
    for name, section in (("scheduler", _scheduler), ("specaug", _specaug)):
        sections[name] = section(config[name]) if config.get(name) else anything
    if task == "pretrain":
        del sections["specaug"]
        steps = {name: COUNT for name in ("gradient_accumulate_steps", "log_step", "save_step", "max_keep")}
        runner = {**steps, "n_epochs": whole, "total_steps": whole}
        expert = {"datarc": anything}  # `DataConfig` reads it
        return {**sections, "runner": {**runner, **_CLIPPING}, "pretrain_expert": expert}
    steps = ("total_steps", "gradient_accumulate_steps", "log_step", "eval_step", "save_step", "max_keep")
    runner = {name: COUNT for name in steps} | {
        **_CLIPPING,
        "eval_dataloaders": list_of(text),
        "train_dataloader": text,
        "evaluate_ratio": up_to_one(above_zero),
    }
    if task not in EXPERTS:  # keys of its own in whatever place
        others = {key: anything for key in (config.get("runner") or {}) if key not in runner}
        return {key: anything for key in config} | sections | {"runner": others | runner}
    block = config.get("downstream_expert")
    expert = EXPERTS[task](block if isinstance(block, Mapping) else {}, set(splits))
    return {**sections, "runner": runner, "downstream_expert": expert}


_CLIPPING = {"gradient_clipping": above_zero, "fp16": boolean}


def _optimizer(block: Any) -> Section:
    from s3prl import optimizers

    names = _getters(optimizers, "get_optimizer", "get_grouped_parameters")
    section = {"name": choice(names)}
    block = block if isinstance(block, Mapping) else {}
    if "name" not in block:
        raise FitHubertError(f"config.optimizer: expected name, one of {', '.join(names)}, found none")
    if (name := block["name"]) not in names:
        return section
    getter = names[name]
    section |= keywords(getter, "model_params", "total_steps", "torch_optim_name")
    if name == "TorchOptim":
        kinds = {key: kind for key, kind in vars(torch.optim).items() if inspect.isclass(kind) and key != "Optimizer"}
        section["torch_optim_name"] = choice(kinds)
        if (chosen := block.get("torch_optim_name")) in kinds:
            section |= keywords(kinds[chosen], "params")
    elif name in ("Adam", "AdamW", "BertAdam_with_schedule"):
        section["torch_optim_name"] = text  # left over where -o changes the name alone
    elif name in ("AdamW_with_schedule", "Lamb_with_schedule"):  # its parameter groups bring their weight_decay
        given = ("params", "lr", "warmup", "t_total", "weight_decay", "adam", "correct_bias")
        section |= keywords(optimizers.Lamb, *given)
        section["schedule"] = choice(str(key) for key in optimizers.SCHEDULES if key)
    require(getter, block, "config.optimizer", "model_params")
    return section


def _scheduler(block: Any) -> Section:
    from s3prl import schedulers

    names = _getters(schedulers, "get_scheduler")
    section = {"name": choice(names)}
    if not isinstance(block, Mapping) or block.get("name") not in names:
        return section
    given = ("optimizer", "num_training_steps")
    require(names[block["name"]], block, "config.scheduler", *given)
    return section | keywords(names[block["name"]], *given)


def _getters(module: Any, *others: str) -> dict[str, Callable]:
    """What s3prl finds under a name with `get_` before it."""
    return {name[4:]: f for name, f in vars(module).items() if name.startswith("get_") and name not in others}


def _specaug(block: Any) -> Section:
    from s3prl.downstream.specaug import SpecAug

    return keywords(SpecAug)

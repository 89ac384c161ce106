"""s3prl's -o, KEY=VALUE,,KEY=VALUE: changes of flags and config, which the run must read."""

import argparse
import re
import sys
from collections.abc import Iterable, Mapping
from typing import Any

from ..errors import FitHubertError
from ..settings.files import nearest
from ..settings.values import boolean, parse_value, whole
from .tasks import corpus_name, downstream_names

_SPLITS = {"train", "dev", "test", "dev-clean", "dev-other", "test-clean", "test-other"}
_SPLIT_KEY = re.compile(r"downstream_expert\.(?:corpus|datarc)\.((?:train|dev|valid|test)[^.]*)")
_SELECTED = {  # block -> the key that says which of the blocks in it is read
    "downstream_expert.model": "downstream_expert.model.select",
    "downstream_expert.modelrc": "downstream_expert.modelrc.select",
    "downstream_expert.modelrc.LossConfig": "downstream_expert.modelrc.ObjectiveLoss",
    "downstream_expert.modelrc.module_config": "downstream_expert.modelrc.module",
}
_WHOLE_FLAGS = ("seed", "upstream_layer_selection", "local_rank")
_SPENT_FLAGS = ("auto_resume", "config", "expname", "override", "past_exp")  # they have done their work before -o


class AddOverrides(argparse.Action):
    """-o given again adds to the one before; argparse would forget that."""

    def __call__(self, parser, namespace, values, option_string=None) -> None:
        before = getattr(namespace, self.dest, None)
        setattr(namespace, self.dest, f"{before},,{values}" if isinstance(before, str) else values)


def split_overrides(option: str) -> list[tuple[list[str], str]]:
    """Read s3prl's -o: (parts of the key, text of the value) of each of its changes.

    Raises FitHubertError unless it is KEY=VALUE,,KEY=VALUE with keys that begin with args. or config.
    """
    changes = []
    for change in option.split(",,"):
        key, equals, value = change.strip().partition("=")
        parts = key.strip().split(".")
        if not equals or len(parts) < 2 or not all(parts) or parts[0] not in ("args", "config"):
            raise FitHubertError(
                f"-o {change.strip()}: expected args.KEY=VALUE or config.KEY=VALUE, separated by ,,; for "
                "example -o config.optimizer.lr=1.0e-3"
            )
        changes.append((parts, value))
    return changes


def changed_keys(option: str | None) -> list[str]:
    """The keys of the config that an -o changes, without `config.`."""
    changes = [] if option is None or option.lower() == "none" else split_overrides(option)
    return [".".join(key) for (first, *key), _ in changes if first == "config"]


def override(option: str, args: argparse.Namespace, config: dict) -> None:
    """Change flags and config in place as s3prl's -o does; values are read by `parse_value` and not run as Python.

    Raises
    ------
    FitHubertError
        It is not of the form of `split_overrides`, names a flag that is none, or a section that is a value.
    """
    for (first, *sections, last), value in split_overrides(option):
        where = f"-o {'.'.join([first, *sections, last])}"
        written, value = value.strip(), parse_value(value, where)
        print(f"[Override] - {where[3:]} = {value}", file=sys.stderr)
        if first == "args":
            if sections or last not in vars(args):
                raise FitHubertError(
                    f"{where}: unknown flag {'.'.join([*sections, last])!r}; {nearest(last, vars(args))}"
                )
            if last in _SPENT_FLAGS:
                raise FitHubertError(f"{where}: -o cannot change {last}, which is read before it; use the flag itself")
            if last in _WHOLE_FLAGS and value is not None:
                value = whole(value, where)
            elif isinstance(getattr(args, last), bool) and last != "push_to_hf_hub":
                value = boolean(value, where)
            elif value is not None and not isinstance(value, str) and last != "push_to_hf_hub":
                value = written  # a name that looks like a number, such as a folder 2024
            setattr(args, last, value)
            continue
        put(config, [*sections, last], value, where)


def put(config: dict, key: Iterable[str], value: Any, where: str) -> None:
    """Set the value of a key, given by its parts; sections that lack are made.

    Raises FitHubertError, which begins with `where`, for a section that is a value.
    """
    *sections, last = key
    for section in sections:
        config = config.setdefault(section, {})
        if not isinstance(config, dict):
            raise FitHubertError(f"{where}: expected a section {section}, found the value {config}")
    config[last] = value


def check_given(downstream: str, config: dict, given: Iterable[str], splits: Iterable[str] = ()) -> None:
    """Raise FitHubertError for overridden keys that a config may hold and this run does not read.

    They belong to a head, loss or module that is not selected, or are splits of which nothing speaks. Tasks other than
    SUPERB's here are not looked at.
    """
    if downstream not in downstream_names():
        return
    runner, choices = config.get("runner", {}), {}
    read = {*_SPLITS, *splits, runner.get("train_dataloader"), *runner.get("eval_dataloaders", ())}
    if corpus_name(config) == "snips":
        corpus = config["downstream_expert"]["corpus"]
        folders = [corpus[split] for split in read if isinstance(corpus.get(split), list | str)]
        read |= {f"{name}_speakers" for found in folders for name in ([found] if isinstance(found, str) else found)}
    for block, selector in _SELECTED.items():
        for name, value in (_at(config, block) or {}).items():
            selected = _at(config, selector)
            if isinstance(value, Mapping) and selected is not None and name != selected:
                choices[f"{block}.{name}"] = (selector, selected)
    for key in given:
        for block, (selector, selected) in choices.items():
            if key.startswith(f"{block}."):
                raise FitHubertError(f"config.{key}: nothing reads it, as {selector} is {selected}; leave it out")
        split = _SPLIT_KEY.fullmatch(key) if downstream in ("ctc", "asr") else None
        if split and split[1] not in read and isinstance(_at(config, key), list | str):
            raise FitHubertError(
                f"config.{key}: unknown key {split[1]!r}, nothing reads it; {nearest(split[1], sorted(_SPLITS))}"
            )


def _at(config: Any, key: str) -> Any:
    for name in key.split("."):
        config = config.get(name) if isinstance(config, Mapping) else None
    return config

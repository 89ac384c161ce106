"""s3prl's -o: changes of flags and config, KEY=VALUE,,KEY=VALUE."""

import argparse
import sys

from .config import nearest
from .errors import FitHubertError
from .values import boolean, parse_value, whole

_WHOLE_FLAGS = ("seed", "upstream_layer_selection", "local_rank")


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
        if not equals or len(parts) < 2 or parts[0] not in ("args", "config"):
            raise FitHubertError(
                f"-o {change.strip()}: expected args.KEY=VALUE or config.KEY=VALUE, several with ,, between; for "
                "example -o config.optimizer.lr=1.0e-3"
            )
        changes.append((parts, value))
    return changes


def override(option: str, args: argparse.Namespace, config: dict) -> None:
    """Change flags and config in place as s3prl's -o does; values are read by `parse_value` and not run as Python.

    Raises
    ------
    FitHubertError
        It is not of the form of `split_overrides`, names a flag that is none, or a section that is a value.
    """
    for (first, *sections, last), value in split_overrides(option):
        where = f"-o {'.'.join([first, *sections, last])}"
        value = parse_value(value, where)
        print(f"[Override] - {where[3:]} = {value}", file=sys.stderr)
        if first == "args":
            if sections or last not in vars(args):
                raise FitHubertError(
                    f"{where}: unknown flag {'.'.join([*sections, last])!r}; {nearest(last, vars(args))}"
                )
            if last in _WHOLE_FLAGS and value is not None:
                value = whole(value, where)
            elif isinstance(getattr(args, last), bool) and last != "push_to_hf_hub":
                value = boolean(value, where)
            setattr(args, last, value)
            continue
        place = config
        for section in sections:
            place = place.setdefault(section, {})
            if not isinstance(place, dict):
                raise FitHubertError(f"{where}: expected a section {section}, found the value {place}")
        place[last] = value

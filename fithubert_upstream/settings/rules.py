"""Rules for the values of a config, and the reading of a block by them."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from ..errors import FitHubertError
from .files import nearest
from .values import real

Rule = Callable[[Any, str], Any]  # (value, where) -> the value as it is wanted
Section = Mapping[str, Any]  # key -> Rule or Section


def read_block(section: Section, block: Any, where: str) -> tuple[dict, dict[str, str]]:
    """A block of a config, read by its section, and its unknown keys with a hint."""
    if not isinstance(block, Mapping):
        raise FitHubertError(f"{where}: expected a mapping, found {block!r}")
    found, unknown = {}, {}
    for key, value in block.items():
        rule, place = section.get(key), f"{where}.{key}"
        if rule is None:
            unknown[place] = nearest(key, section)
            found[key] = value
        elif isinstance(rule, Mapping):
            found[key], more = read_block(rule, {} if value is None else value, place)
            unknown |= more
        else:
            found[key] = rule(value, place)
    return found, unknown


def anything(value: Any, where: str) -> Any:
    return value


def within(kind: Rule, low: float, below: float = float("inf")) -> Rule:
    """Numbers of a kind from `low` to below a limit."""

    def read(value: Any, where: str) -> int | float:
        found = kind(value, where)
        if not low <= found < below:
            limit = "" if below == float("inf") else f" to below {below:g}"
            raise FitHubertError(f"{where}: expected a number from {low:g}{limit}, found {found}")
        return found

    return read


def above_zero(value: Any, where: str) -> int | float:
    """Infinity stands for no limit."""
    found = real(value, where)
    if not found > 0:
        raise FitHubertError(f"{where}: expected a number above 0, found {found}")
    return found


def up_to_one(kind: Rule) -> Rule:
    def read(value: Any, where: str) -> int | float:
        found = kind(value, where)
        if found > 1:
            raise FitHubertError(f"{where}: expected a number up to 1, found {found}")
        return found

    return read


def list_of(rule: Rule) -> Rule:
    def read(value: Any, where: str) -> list:
        if not isinstance(value, list | tuple):
            raise FitHubertError(f"{where}: expected a list, found {value!r}")
        return [rule(entry, where) for entry in value]

    return read


def pair_of(rule: Rule) -> Rule:
    def read(value: Any, where: str) -> list:
        found = list_of(rule)(value, where)
        if len(found) != 2:
            raise FitHubertError(f"{where}: expected a list of 2, found {value!r}")
        return found

    return read


def one_or_list_of(rule: Rule) -> Rule:
    return lambda value, where: list_of(rule)(value, where) if isinstance(value, list | tuple) else rule(value, where)


def optional(rule: Rule) -> Rule:
    return lambda value, where: None if value is None else rule(value, where)


def choice(names: Iterable[str]) -> Rule:
    names = list(names)

    def read(value: Any, where: str) -> str:
        if value not in names:
            raise FitHubertError(f"{where}: expected one that s3prl has, found {value!r}; {nearest(value, names)}")
        return value

    return read

"""Config files: found, read, filled in from the environment, and made into frozen dataclasses."""

import dataclasses
import difflib
import json
import os
import re
import types
import typing
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import yaml

from ..errors import FitHubertError
from . import values

T = TypeVar("T")

_PACKAGE = Path(__file__).parent.parent
MODEL_CONFIGS = (_PACKAGE / "configs",)
# Installed, these lie inside the package; in a checkout, at its top.
DOWNSTREAM_CONFIGS = (_PACKAGE / "downstream_configs", _PACKAGE.parent / "downstream_configs")


def read_yaml(path: str | Path) -> dict[str, Any]:
    """The mapping in a YAML file, with numbers as `values` reads them.

    Raises FitHubertError when it is missing, not a mapping, or has a key twice.
    """
    try:
        data = values.load_yaml(Path(path).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise FitHubertError(f"{path}: expected a readable YAML file, found: {error}") from error
    except yaml.YAMLError as error:
        raise FitHubertError(f"{path}: not valid YAML: {' '.join(str(error).split())}") from error
    if not isinstance(data, dict):
        raise FitHubertError(f"{path}: expected a YAML mapping, found {type(data).__name__}")
    return data


def find_config(name: str | Path, folders: tuple[Path, ...] = MODEL_CONFIGS) -> Path:
    """A config file by path, or by its name among the packaged ones, such as `mini/pr.yaml`.

    Raises
    ------
    FitHubertError
        There is no such config; lists those that are there.
    """
    inside = str(name).removeprefix("./").removeprefix("downstream_configs/")
    for path in (Path(name), *(folder / inside for folder in folders)):
        if path.is_file():
            return path
    names = available_configs(folders)
    close = difflib.get_close_matches(inside, names, n=1, cutoff=0.75)
    hint = f"did you mean {close[0]}?" if close else f"packaged: {', '.join(names)}"
    raise FitHubertError(f"{name}: no such file, and no packaged config of that name; {hint}")


def available_configs(folders: tuple[Path, ...] = MODEL_CONFIGS) -> list[str]:
    """Names of the packaged configs, as `find_config` takes them."""
    return sorted({path.relative_to(folder).as_posix() for folder in folders for path in folder.rglob("*.yaml")})


def expand_variables(value, key: str = "config", variables: Mapping[str, str] = os.environ, flag: str = "-o "):
    """Fill in `${NAME}` from the environment, or from `variables`, in every string of a config.

    Parameters
    ----------
    value
        The config, or a part of it.
    key
        Its dotted name.
    variables
        Name -> text.
    flag
        What the command line has before a key that is changed, for the error: `-o ` is s3prl's.

    Raises
    ------
    FitHubertError
        A variable is not set.
    """
    if isinstance(value, dict):
        prefix = f"{key}." if key else ""
        return {name: expand_variables(entry, f"{prefix}{name}", variables, flag) for name, entry in value.items()}
    if isinstance(value, list):
        return [expand_variables(entry, key, variables, flag) for entry in value]
    if not isinstance(value, str):
        return value

    def variable(match: re.Match) -> str:
        name = match.group(1)
        if name not in variables:
            raise FitHubertError(
                f"{key}: expected the environment variable {name} (the config says {value}), found it unset; "
                f"export {name}=..., or give {flag}{key}=..."
            )
        return variables[name]

    return re.sub(r"\$\{(\w+)\}", variable, value)


def from_dict(cls: type[T], data: Mapping[str, Any], where: str) -> T:
    """Build a config dataclass; an unknown key or a value of the wrong kind is an error that names it."""
    if not isinstance(data, Mapping):
        raise FitHubertError(f"{where}: expected a mapping, found {type(data).__name__}")
    known = {f.name: f for f in dataclasses.fields(cls)}
    given = {}
    for key, value in data.items():
        if key not in known:
            raise FitHubertError(f"{where}: unknown key {key!r}; {nearest(key, known)}")
        read = known[key].metadata.get("read")  # a form of its own
        given[key] = value if read else _convert(known[key].type, value, f"{where}: {key}")
    try:
        return cls(**given)
    except FitHubertError as error:
        raise FitHubertError(f"{where}: {error}") from error


def flatten(config: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Dotted key -> value; an empty block is a value."""
    flat: dict[str, Any] = {}
    for key, value in config.items():
        flat |= flatten(value, f"{prefix}{key}.") if isinstance(value, dict) and value else {f"{prefix}{key}": value}
    return flat


def to_dict(config: Any) -> dict[str, Any]:
    return json.loads(json.dumps(dataclasses.asdict(config)))  # tuples become lists on the way


def _convert(kind: Any, value: Any, where: str) -> Any:
    """A value as the annotation of its field wants it."""
    origin, parts = typing.get_origin(kind), typing.get_args(kind)
    if origin in (types.UnionType, typing.Union):  # X | None
        if value is None:
            return None
        (kind,) = (part for part in parts if part is not types.NoneType)
        return _convert(kind, value, where)
    if dataclasses.is_dataclass(kind):
        return from_dict(kind, value, where)
    if origin is tuple:
        return convert_all(parts, value, where)
    if kind is float:
        return float(values.real(value, where))
    return {int: values.whole, str: values.text, bool: values.boolean}[kind](value, where)


def convert_all(kinds: tuple, value: Any, where: str) -> tuple:
    """A list as `tuple[X, ...]` or `tuple[X, Y]` wants it; one word may stand for a list of it."""
    of = kinds[0]
    if of is str and isinstance(value, str):
        value = [value]
    words = "lists" if typing.get_origin(of) is tuple else "words"
    expected = "blocks" if dataclasses.is_dataclass(of) else "numbers" if of in (int, float) else words
    if not isinstance(value, list | tuple):
        raise FitHubertError(f"{where}: expected a list of {expected}, found {value!r}")
    if kinds[-1] is not Ellipsis and len(value) != len(kinds):
        raise FitHubertError(f"{where}: expected {len(kinds)} {expected}, found {value!r}")
    return tuple(_convert(of, entry, where) for entry in value)


def nearest(key: Any, known: Iterable[str]) -> str:
    """What to say of an unknown key."""
    close = difflib.get_close_matches(str(key), list(known), n=1, cutoff=0.5)
    return f"did you mean {close[0]!r}?" if close else f"known keys: {', '.join(known) or 'none'}"

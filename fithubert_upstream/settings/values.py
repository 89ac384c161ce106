"""Values as configs and command lines write them: one reader for all, and the numbers that a key wants.

YAML 1.1 takes 1e-3 and 1e5 for text, 010 for 8 and 1:30 for 90. Here 1e-3, 1e5, .5, 1_000, +3, inf and .inf are the
numbers that they look like, in a file and in KEY=VALUE alike; 010, 1:30 and 2024-01-02 are text. yes, no, on and off
without quotes are booleans, as ever; a boolean is never taken for a number or a word.
"""

import ast
import math
import re
from typing import Any

import yaml

from ..errors import FitHubertError

_WHOLE = re.compile(r"[-+]?(?:0|[1-9][0-9_]*|0x[0-9a-fA-F][0-9a-fA-F_]*)")
_REAL = re.compile(
    r"[-+]?(?:(?:[0-9][0-9_]*\.[0-9_]*|\.[0-9][0-9_]*)(?:[eE][-+]?[0-9]+)?|[0-9][0-9_]*[eE][-+]?[0-9]+"
    r"|\.?(?:inf|Inf|INF)|\.(?:nan|NaN|NAN))"
)
_TAG = "tag:yaml.org,2002:"
_INT_TAG, _FLOAT_TAG = f"{_TAG}int", f"{_TAG}float"
_REPLACED = (_INT_TAG, _FLOAT_TAG, f"{_TAG}timestamp")  # dates are names


class _Loader(yaml.SafeLoader):
    """PyYAML's safe loader with the numbers of this module; a key given twice is an error."""

    def compose_mapping_node(self, anchor):  # later, a node may hold the keys of those that it was merged with too
        node = super().compose_mapping_node(anchor)
        keys = [key.value for key, _ in node.value]
        for place, key in enumerate(keys):
            if key in keys[:place]:
                raise yaml.constructor.ConstructorError(
                    None, None, f"key {key!r} is given twice, remove one", node.start_mark
                )
        return node


_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag not in _REPLACED]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
for _tag, _pattern in ((_INT_TAG, _WHOLE), (_FLOAT_TAG, _REAL)):
    _Loader.add_implicit_resolver(_tag, re.compile(f"(?:{_pattern.pattern})$"), list("-+.0123456789iI"))
    _Loader.add_constructor(_tag, lambda loader, node: number(loader.construct_scalar(node)))


class _Dumper(yaml.SafeDumper):
    """Puts words in quotes that this module would read as numbers."""


for _tag, _pattern in ((_INT_TAG, _WHOLE), (_FLOAT_TAG, _REAL)):
    _Dumper.add_implicit_resolver(_tag, re.compile(f"(?:{_pattern.pattern})$"), list("-+.0123456789iI"))


def dump_yaml(data: Any) -> str:
    """YAML that `load_yaml` and PyYAML read alike, in the order of the keys."""
    return yaml.dump(data, Dumper=_Dumper, sort_keys=False)


def load_yaml(text: str) -> Any:
    """What a YAML text holds. Raises yaml.YAMLError, also for a key that is given twice."""
    return yaml.load(text, Loader=_Loader)  # a safe loader


def parse_value(text: str, where: str) -> Any:
    """A value of KEY=VALUE, as Python or YAML writes it. Raises FitHubertError, which begins with `where`.

    What does not begin as a list, mapping or quoted text is one word, whatever YAML makes of a "#" or ": " in it.
    """
    text = text.strip()
    found = number(text)
    if found is not None:
        return found
    try:
        value = ast.literal_eval(text)  # None, True, 'quoted', [1, 2]
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        pass
    else:
        if isinstance(value, str | bool | list | tuple | dict | None):
            return list(value) if isinstance(value, tuple) else value
    loader = _Loader("")
    tag = loader.resolve(yaml.ScalarNode, text, (True, False))
    if tag in (f"{_TAG}bool", f"{_TAG}null"):
        return loader.construct_object(yaml.ScalarNode(tag, text))
    if text[:1] not in ("[", "{", "'", '"'):
        return text
    try:
        return load_yaml(text)
    except yaml.YAMLError as error:
        raise FitHubertError(f"{where}: expected a number, word or list as value, found {text}") from error


def number(text: str) -> int | float | None:
    """The number that a text is, None where it is none."""
    if _WHOLE.fullmatch(text):
        return int(text.replace("_", ""), 0)
    if _REAL.fullmatch(text):
        return float(re.sub(r"\.(?=[inIN])", "", text.replace("_", "")))  # .inf and .nan
    return None


def whole(value: Any, where: str) -> int:
    """A whole number, also out of 2.0 and "2e0". Raises FitHubertError, which names `where`, for anything else."""
    found = number(value.strip()) if isinstance(value, str) else value
    if isinstance(found, float) and found.is_integer():
        found = int(found)
    if not isinstance(found, int) or isinstance(found, bool):
        raise FitHubertError(f"{where}: expected int, found {value!r}")
    return found


def real(value: Any, where: str) -> int | float:
    """A number, infinity among them; a whole one stays an int. Raises FitHubertError for anything else, NaN too."""
    found = number(value.strip()) if isinstance(value, str) else value
    if not isinstance(found, int | float) or isinstance(found, bool) or math.isnan(found):
        raise FitHubertError(f"{where}: expected float, found {value!r}")
    return found


def boolean(value: Any, where: str) -> bool:
    """True or False. Raises FitHubertError for anything else."""
    if not isinstance(value, bool):
        raise FitHubertError(f"{where}: expected bool, found {value!r}")
    return value


def text(value: Any, where: str) -> str:
    """A word or a path; a whole number stands for its digits. Raises FitHubertError for anything else."""
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    if not isinstance(value, str):
        hint = (
            '; put words such as "yes", "no", "on", "off" and "1e5" in quotes'
            if isinstance(value, bool | float)
            else ""
        )
        raise FitHubertError(f"{where}: expected str, found {value!r}{hint}")
    return value

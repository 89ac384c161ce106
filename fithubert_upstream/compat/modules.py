"""Modules of s3prl's that are provided, or found under the names that its scripts use."""

import contextlib
import importlib
import importlib.util
import sys
import types
from collections.abc import Callable, Iterator

# Stands for "there was nothing", where None may be a real value.
_ABSENT = object()


def has_module(name: str) -> bool:
    """Whether a dotted module can be imported (its parents are, to find out)."""
    if name in sys.modules:
        return True
    try:
        return importlib.util.find_spec(name) is not None
    except ModuleNotFoundError:  # a parent is missing
        return False


def _imports(name: str) -> bool:
    """Whether a module is there and survives its import, which old packages do not on a new torch."""
    try:
        importlib.import_module(name)
        return True
    except Exception:
        return False


def provide_module(name: str, module: types.ModuleType) -> Callable[[], None]:
    """Register a module under a dotted name that s3prl imports but does not ship.

    Parents that do not exist are created as empty packages. Returns a function that undoes it all,
    and puts back what stood under the name before.
    """
    undo = contextlib.ExitStack()
    parent = None
    parts = name.split(".")
    for depth in range(1, len(parts)):
        parent_name = ".".join(parts[:depth])
        if has_module(parent_name):
            parent = importlib.import_module(parent_name)
        else:
            package = types.ModuleType(parent_name, "An empty package, made by provide_module.")
            package.__path__ = []
            _place(undo, parent, parent_name, package)
            parent = package
    _place(undo, parent, name, module)
    return undo.close


def _place(undo: contextlib.ExitStack, parent: types.ModuleType | None, name: str, module: types.ModuleType):
    """Put a module into `sys.modules` and its parent, and note how to take it out."""
    undo.callback(_restore_item, sys.modules, name, sys.modules.get(name, _ABSENT))
    sys.modules[name] = module
    if parent is not None:
        attribute = name.rpartition(".")[2]
        undo.callback(_restore_item, vars(parent), attribute, vars(parent).get(attribute, _ABSENT))
        setattr(parent, attribute, module)


def _restore_item(mapping: dict, key: str, value: object) -> None:
    if value is _ABSENT:
        mapping.pop(key, None)
    else:
        mapping[key] = value


# What s3prl's pretraining imports as if it were run from inside s3prl's folder.
_TOP_LEVEL = ("optimizers", "schedulers", "pretrain", "utility", "upstream")


@contextlib.contextmanager
def top_level_names() -> Iterator[None]:
    """s3prl's pretraining imports `optimizers`, `pretrain`, ... : let those mean s3prl's, in the block.

    Afterwards the names are what they were, modules imported below them included.
    """

    def is_top_level(name: str) -> bool:
        return name.split(".")[0] in _TOP_LEVEL

    before = {name: module for name, module in sys.modules.items() if is_top_level(name)}
    for name in before:
        del sys.modules[name]
    try:
        for name in _TOP_LEVEL:
            sys.modules[name] = importlib.import_module(f"s3prl.{name}")
        yield
    finally:
        for name in [name for name in sys.modules if is_top_level(name)]:
            del sys.modules[name]
        sys.modules.update(before)


def pretrain_runner() -> type:
    """s3prl's `pretrain.runner.Runner`, which a normal import does not reach."""
    with top_level_names():
        return importlib.import_module("s3prl.pretrain.runner").Runner

"""Every `torch.save` file that is read, and nothing in it is run: checkpoints of runs, and those of others.

`read_own` is for what a run of ours wrote, `read_torch` for any other file. Which checkpoint of a folder is the
newest, and whether weights fit a model, is asked here too.
"""

import pickle
import re
import sys
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any, TypeVar

import torch

from ..errors import FitHubertError

Content = TypeVar("Content")


# --- checkpoints of runs ------------------------------------------------------------------------------


def read_own(path: str | Path, job: str, keys: tuple[str, ...], advice: str = "give another") -> dict[str, Any]:
    """A checkpoint that a run of ours wrote: a dict with these keys, by `weights_only`; its tensors are mapped.

    Parameters
    ----------
    path : the file.
    job : what writes such files, for the message, as `advice`: `fithubert distill`, ...

    Raises
    ------
    FitHubertError
        The file is missing, damaged, cut short or something else.
    """
    path = Path(path)
    try:
        # mmap reads no weights yet; files of torch < 1.6 are no zip and cannot be mapped
        content = torch.load(path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path))
    except Exception as error:  # torch raises all kinds for what is damaged, cut short or something else
        found = f"{type(error).__name__}: {' '.join(str(error).split())[:120]}"
    else:
        if isinstance(content, dict) and set(keys) <= set(content):
            return content
        missing = set(keys) - set(content) if isinstance(content, dict) else keys
        found = f"something else (without {', '.join(sorted(missing))})"
    raise FitHubertError(f"{path}: expected a checkpoint of `{job}`, found {found}; {advice}")


def states_in(folder: str | Path) -> list[Path]:
    """The states-STEP.ckpt of a folder in rising order; s3prl's `states-epoch-N` is the last of its run, whatever N.

    Raises
    ------
    FitHubertError
        One has no number: s3prl's runners, which look for the oldest to remove it, would stop there.
    """
    numbers = {}
    for path in Path(folder).glob("states-*.ckpt"):
        match = re.fullmatch(r"states-(epoch-)?(\d+)", path.stem)
        if match is None:
            raise FitHubertError(f"{path}: expected states-STEP.ckpt, found another name; rename or move it")
        numbers[path] = (match[1] is not None, int(match[2]))
    return sorted(numbers, key=numbers.__getitem__)


def step_of(states: Path) -> int:
    """The number in the name of a states-STEP.ckpt."""
    return int(states.stem.rpartition("-")[2])


def newest_whole(paths: list[Path], read: Callable[[Path], Content]) -> tuple[Path, Content]:
    """The last of these checkpoints that can be read, with its content; damaged ones are told in a line each.

    Raises
    ------
    FitHubertError
        None can be read: what `read` says of the last.
    """
    first_error = None
    for path in reversed(paths):
        try:
            content = read(path)
        except FitHubertError as error:
            first_error = first_error or error
            continue
        if first_error is not None:
            print(f"{first_error}: resuming from {path.name} instead", file=sys.stderr)
        return path, content
    raise first_error or FitHubertError("expected a checkpoint, found none")


def misfit(expected: Mapping[str, Any], found: Mapping[str, Any]) -> str | None:
    """How the weights that were `found` differ from those `expected` in names and shapes; None if they do not."""
    missing, unexpected = expected.keys() - found.keys(), found.keys() - expected.keys()
    if missing or unexpected:
        return f"{_some(missing)} missing, {_some(unexpected)} unexpected"
    for name, tensor in expected.items():
        shapes = [tuple(getattr(t, "shape", ())) for t in (tensor, found[name])]
        if shapes[0] != shapes[1]:
            return f"{name}: expected shape {shapes[0]}, found {shapes[1]}"
    return None


def _some(names: set[str]) -> str:
    first = ", ".join(sorted(names)[:3])
    return f"{len(names)} ({first}{', ...' if len(names) > 3 else ''})" if names else "none"


# --- any other file -----------------------------------------------------------------------------------


class Inert:
    """Stands in for any class or function a checkpoint names; takes everything, does nothing."""

    def __init__(self, *args: Any, **kwargs: Any):
        pass

    def __new__(cls, *args: Any, **kwargs: Any) -> "Inert":
        return object.__new__(cls)

    def _ignore(self, *args: Any, **kwargs: Any) -> None:
        pass

    def __call__(self, *args: Any, **kwargs: Any) -> "Inert":
        return self

    __setstate__ = __setitem__ = append = extend = add = _ignore


class InertUnpickler(pickle.Unpickler):
    """Rebuilds tensors and plain containers; whatever else a file names becomes `Inert`."""

    ALLOWED = frozenset(
        {
            ("collections", "OrderedDict"),
            ("torch._utils", "_rebuild_tensor_v2"),
            ("torch._utils", "_rebuild_parameter"),
            ("torch", "Size"),
        }
    )

    def find_class(self, module: str, name: str) -> Any:
        return super().find_class(module, name) if (module, name) in self.ALLOWED else Inert


def read_torch(path: str | Path, unpickler: type[InertUnpickler] = InertUnpickler) -> dict[str, Any]:
    """The dict in a `torch.save` file: by `weights_only`, or inertly where it also holds objects.

    Raises FitHubertError when the file is damaged or holds no dict.
    """

    def load(file: Any, **options: Any) -> Any:  # the head of a file in torch's format before 1.6
        return unpickler(file, **options).load()

    try:
        try:
            content = torch.load(path, map_location="cpu", weights_only=True)
        except pickle.UnpicklingError:  # Lightning's, fairseq's or s3prl's own objects beside the weights
            inert = SimpleNamespace(Unpickler=unpickler, load=load, __name__="inert")
            content = torch.load(path, map_location="cpu", weights_only=False, pickle_module=inert)
    except Exception as error:  # a damaged pickle can fail in any way
        raise FitHubertError(f"{path}: truncated or not a PyTorch checkpoint ({_first_line(error)})") from error
    if not isinstance(content, Mapping):
        raise FitHubertError(f"{path}: expected a checkpoint holding a dict, found {type(content).__name__}")
    return dict(content)


def _first_line(error: BaseException) -> str:
    return (str(error) or type(error).__name__).splitlines()[0]

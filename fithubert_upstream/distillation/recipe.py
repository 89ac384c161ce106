"""The training recipe behind `fithubert distill -c`, and `key=value` words that change single entries."""

import dataclasses
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar, get_args

from ..data.loader import DataConfig
from ..errors import FitHubertError
from ..runs.folders import check_free, left_in
from ..runs.precision import TRAINING_PRECISIONS
from ..settings.files import expand_variables, find_config, flatten, from_dict, nearest, read_yaml, to_dict
from ..settings.values import dump_yaml, parse_value
from .config import DistillationConfig
from .optimizer import OptimizerConfig

# Where a resumed run may differ from what it was: how long it goes, and what suits the machine. That an
# update is still made of as many batches is checked by itself.
FREE_KEYS = ("train.trainer.steps", "train.trainer.epochs", "train.trainer.accumulate", "train.data.num_workers")


@dataclass(frozen=True)
class TrainerConfig:
    """The `trainer` block: how long, how exact, how often.

    An update takes `accumulate` batches from each process. `steps` counts updates; where it is 0, `epochs` says how
    many there are. `precision` auto is bf16-mixed where the machine has units for bfloat16, else 32-true.
    `valid_every` counts updates, 0 stands for once an epoch; `patience` is how many validations without
    a better one end the run, 0 for none. `keep` is the number of full checkpoints: last.ckpt and step-N.ckpt of
    `keep - 1` earlier steps.
    """

    steps: int = 0
    epochs: int = 0
    accumulate: int = 1
    precision: str = "auto"
    clip: float = float("inf")  # of the gradient's norm
    valid_every: int = 0
    patience: int = 0
    save_every: int = 1000
    log_every: int = 100
    keep: int = 1
    seed: int = 1337

    def __post_init__(self) -> None:
        for name in ("accumulate", "save_every", "log_every", "keep"):
            if getattr(self, name) < 1:
                raise FitHubertError(f"expected {name} of at least 1, found {getattr(self, name)}")
        for name in ("steps", "epochs", "valid_every", "patience", "seed"):
            if getattr(self, name) < 0:
                raise FitHubertError(f"expected {name} of at least 0, found {getattr(self, name)}")
        if not self.steps and not self.epochs:
            raise FitHubertError("expected steps or epochs of at least 1, found neither")
        if self.precision not in TRAINING_PRECISIONS:
            raise FitHubertError(f"expected precision {', '.join(TRAINING_PRECISIONS)}, found {self.precision}")
        if not self.clip > 0:
            raise FitHubertError(f"expected clip above 0 (.inf for none), found {self.clip}")


@dataclass(frozen=True)
class TrainConfig:
    """A training recipe."""

    data: DataConfig
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    trainer: TrainerConfig = field(default_factory=TrainerConfig)


@dataclass(frozen=True)
class RunConfig:
    """All that a run depends on, as `config.yaml` in its folder records it."""

    model: DistillationConfig
    train: TrainConfig

    def to_yaml(self) -> str:
        return dump_yaml(to_dict(self))


Run = TypeVar("Run", bound=RunConfig)


def read_run_config(model: str, recipe: str, overrides: Sequence[str] = (), kind: type[Run] = RunConfig) -> Run:
    """Model and recipe, by path or packaged name, with `key=value` overrides and `${VARIABLES}` filled in.

    A key is a dotted path into the recipe, such as `trainer.steps`; after `model.` it is one into the model's
    file, such as `model.student.dropout`. A value is read as `values.parse_value` does. `kind` is a `RunConfig` whose
    `model` and `train` say what the files hold.

    Raises
    ------
    FitHubertError
        A file, key or value is not what it should be.
    """
    paths = {"model": find_config(model), "train": find_config(recipe)}
    data = {name: read_yaml(path) for name, path in paths.items()}
    kinds = {f.name: f.type for f in dataclasses.fields(kind)}
    for word in overrides:
        _override(data, word, kinds)
    data = {
        name: {key: expand_variables(value, key, flag="") for key, value in part.items()} for name, part in data.items()
    }
    _require_data(data["train"], paths["train"])
    where = {name: f"{path}{' with ' + ' '.join(overrides) if overrides else ''}" for name, path in paths.items()}
    return kind(**{name: from_dict(kinds[name], data[name], where[name]) for name in paths})


_ELSEWHERE = "choose another name with -n, or remove that folder"


def check_same_run(folder: Path, config: RunConfig) -> None:
    """Raises FitHubertError when `folder` holds a run of another config, naming the first key that differs."""
    file = folder / "config.yaml"
    left = left_in(folder)
    if not file.is_file():
        return None if "last.ckpt" in left else check_free(folder, _ELSEWHERE)
    if not left:
        return None
    there = from_dict(type(config), read_yaml(file), str(file))  # fills in what an older version did not write
    old, new = flatten(to_dict(there)), flatten(to_dict(config))
    for key in sorted(old.keys() | new.keys()):
        if key not in FREE_KEYS and old.get(key) != new.get(key):
            raise FitHubertError(
                f"{folder}: holds a run of another config: {key.removeprefix('train.')} is {old.get(key)!r} there and "
                f"{new.get(key)!r} here; {_ELSEWHERE}"
            )
    if "last.ckpt" not in left and left != ["best.safetensors"]:  # which a run may leave before it first saves
        raise FitHubertError(f"{folder}: expected last.ckpt beside {left[0]} to go on from, found none; {_ELSEWHERE}")


def _override(data: dict[str, Any], word: str, kinds: dict[str, type]) -> None:
    key, equals, value = word.partition("=")
    if not equals:
        raise FitHubertError(f"{word}: expected key=value such as trainer.steps=20, found no '='")
    known = [*_keys(kinds["train"]), *(f"model.{name}" for name in _keys(kinds["model"]))]
    if key not in known:
        raise FitHubertError(f"{word}: unknown key {key!r}; {nearest(key, known)}")
    *blocks, name = key.removeprefix("model.").split(".")
    block = data["model" if key.startswith("model.") else "train"]
    for part in blocks:
        block = block.setdefault(part, {})
        if not isinstance(block, dict):
            raise FitHubertError(f"{word}: expected a mapping {part!r} in the config, found {block!r}")
    block[name] = parse_value(value, word)


def _keys(cls: type, prefix: str = "") -> Iterator[str]:
    for f in dataclasses.fields(cls):
        kinds = [kind for kind in (f.type, *get_args(f.type)) if dataclasses.is_dataclass(kind)]  # X, or X | None
        if kinds:
            yield from _keys(kinds[0], f"{prefix}{f.name}.")
        else:
            yield f"{prefix}{f.name}"


def _require_data(recipe: dict[str, Any], path: Path) -> None:
    for names, block in ((("data",), recipe), (_required(DataConfig), recipe.get("data"))):
        missing = [name for name in names if not isinstance(block, dict) or name not in block]
        if missing:
            raise FitHubertError(f"{path}: expected {'data' if block is recipe else f'data.{missing[0]}'}, found none")


def _required(cls: type) -> list[str]:
    missing = dataclasses.MISSING
    return [f.name for f in dataclasses.fields(cls) if f.default is missing and f.default_factory is missing]

"""What a student, its teacher and its loss are made of: frozen dataclasses, read from YAML."""

import ast
import dataclasses
import difflib
import json
import os
import re
import types
import typing
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import yaml

from . import values
from .errors import FitHubertError
from .lengths import FRAME_RATE

T = TypeVar("T")

_PACKAGE = Path(__file__).parent
MODEL_CONFIGS = (_PACKAGE / "configs",)
# Installed, these lie inside the package; in a checkout, at its top.
DOWNSTREAM_CONFIGS = (_PACKAGE / "downstream_configs", _PACKAGE.parent / "downstream_configs")

# FitHuBERT's extractor (official fithubert.yaml): HuBERT's strides, half its width, two pointwise layers.
FITHUBERT_CONV_LAYERS = (
    (128, 10, 5),
    (256, 1, 1),
    *[(256, 3, 2)] * 4,
    (512, 1, 1),
    *[(512, 2, 2)] * 2,
)


@dataclass(frozen=True)
class FitHubertConfig:
    """A student. The defaults are the published FitHuBERT (official `data/conf/fithubert.yaml`).

    `head_layers` names the teacher's layers (counted from 1) that a head predicts, and `head_kind` from what:
    `hint`: FitHuBERT's, linear, each from the student's layer of the same number; None stands for all layers, as
    in distillation. The last head alone is what the paper counts and evaluates.
    `prediction`: DistilHuBERT's and Kerpicci et al.'s (2022), with one hidden layer, all from the last layer.
    """

    # (channels, kernel, stride)
    conv_layers: tuple[tuple[int, int, int], ...] = field(default=FITHUBERT_CONV_LAYERS, metadata={"read": True})
    embed_dim: int = 480
    pos_conv_kernel: int = 128
    pos_conv_groups: int = 16
    time_reduction: int = 2  # conv frames to one transformer frame; 1 leaves the layer out
    num_layers: int = 12
    ffn_dim: int = 480
    num_heads: int = 12
    head_kind: str = "hint"
    head_layers: tuple[int, ...] | None = None
    head_dim: int = 768  # the teacher's width
    dropout_input: float = 0.05
    dropout: float = 0.1
    attention_dropout: float = 0.1
    activation_dropout: float = 0.1

    def __post_init__(self) -> None:
        for f in dataclasses.fields(self):
            value = getattr(self, f.name)
            if f.type is int:
                _expect(value >= 1, f"{f.name} of at least 1", value)
            if f.type is float:  # the dropouts
                _expect(0 <= value < 1, f"{f.name} in [0, 1)", value)
        _expect(self.head_kind in ("hint", "prediction"), "head_kind hint or prediction", self.head_kind)
        if self.head_kind == "prediction":
            _expect(self.head_layers is not None, "head_layers, the teacher's layers to predict, e.g. [4, 8, 12]", None)
        heads = range(1, self.num_layers + 1) if self.head_layers is None else self.head_layers
        object.__setattr__(self, "head_layers", tuple(heads))  # how a frozen dataclass normalises itself
        object.__setattr__(self, "conv_layers", parse_conv_layers(self.conv_layers))
        for name in ("num_heads", "pos_conv_groups"):
            _expect(
                self.embed_dim % getattr(self, name) == 0,
                f"embed_dim a multiple of {name}",
                f"embed_dim {self.embed_dim}, {name} {getattr(self, name)}",
            )
        stride = 1
        for _, _, layer_stride in self.conv_layers:
            stride *= layer_stride
        _expect(stride == FRAME_RATE, f"conv_layers with a total stride of {FRAME_RATE} (20 ms)", stride)
        rising = list(self.head_layers) == sorted(set(self.head_layers)) and min(self.head_layers, default=1) >= 1
        if self.head_kind == "hint":
            rising = rising and max(self.head_layers, default=0) <= self.num_layers
        within = f" within 1..{self.num_layers}" if self.head_kind == "hint" else " from 1 on"
        _expect(rising, f"head_layers rising{within}", list(self.head_layers))

    @classmethod
    def from_dict(cls, data: Mapping[str, Any], where: str = "student config") -> "FitHubertConfig":
        return from_dict(cls, data, where)

    @classmethod
    def from_json(cls, text: str, where: str = "student config") -> "FitHubertConfig":
        try:
            return from_dict(cls, json.loads(text), where)
        except json.JSONDecodeError as error:
            raise FitHubertError(f"{where}: expected a config in JSON, found {text[:40]!r}") from error

    def to_dict(self) -> dict[str, Any]:
        """Plain lists and numbers, for YAML and JSON."""
        return to_dict(self)

    def to_json(self) -> str:
        return json.dumps(self.to_dict())


@dataclass(frozen=True)
class TeacherConfig:
    """Where the frozen teacher comes from.

    `source` says what `model` is:
    `transformers`: a directory, or a hub id such as facebook/hubert-base-ls960;
    `s3prl`: a name on `s3prl.hub` such as hubert_base; `ckpt`: the file that its *_local entries want;
    `torchaudio`: HUBERT_BASE, WAV2VEC2_BASE, WAVLM_BASE or WAVLM_BASE_PLUS; `ckpt`: its .pth, else downloaded;
    `fairseq`: a .pt of fairseq (in `model` or `ckpt`), which fairseq is not needed for;
    `fithubert`: a .safetensors of ours without time reduction, or the name of an embedded one;
    `whisper`: a transformers folder, a hub id such as openai/whisper-base, or a CTranslate2 model.bin (its parts with
    commas between);
    `speaker`: a speaker encoder's .pt, as Resemblyzer's pretrained.pt: one embedding of an utterance, which the mean
    over time of a student's layer learns. Not as the first of several.

    `layers`: which of its layers, counted from 1 and rising, the student's heads learn, one each; None for those of the
    same numbers as `head_layers`. `weight`: of its loss, where there are several teachers. `heads`: the student's
    layers that learn from it, for any teacher but the first; None for `head_layers`.
    """

    source: str = "transformers"
    model: str = "facebook/hubert-base-ls960"
    ckpt: str | None = None
    layers: tuple[int, ...] | None = None
    weight: float = 1.0
    heads: tuple[int, ...] | None = None

    def __post_init__(self) -> None:
        for name in ("layers", "heads"):
            given = getattr(self, name)
            ok = given is None or list(given) == sorted(set(given)) and min(given, default=0) >= 1
            _expect(ok, f"{name} rising from 1 on", given)
        _expect(0 < self.weight < float("inf"), "a weight above 0", self.weight)
        sources = ("transformers", "s3prl", "torchaudio", "fairseq", "fithubert", "whisper", "speaker")
        _expect(self.source in sources, f"teacher.source one of {', '.join(sources)}", self.source)
        if self.source in ("transformers", "fithubert"):  # which would not read it
            _expect(self.ckpt is None, f"the path in teacher.model, for source {self.source}", f"ckpt {self.ckpt}")


@dataclass(frozen=True)
class LossConfig:
    """How far a hint head is from its layer, and how much layers below the last count.

    `kind`: `mse`, FitHuBERT's; or `l1_cosine`, that of DistilHuBERT's heads (`losses.l1_cosine`), which learns faster.
    `hint_weight` is the official `random_layer_weight`.
    Prediction heads always have `l1_cosine`, with layers of equal weight, and read neither.
    """

    kind: str = "mse"
    hint_weight: float = 0.1

    def __post_init__(self) -> None:
        _expect(self.kind in ("mse", "l1_cosine"), "kind mse or l1_cosine", self.kind)
        _expect(0 <= self.hint_weight < float("inf"), "hint_weight of at least 0", self.hint_weight)


@dataclass(frozen=True)
class DistillationConfig:
    """The file behind `-g`: student, teacher and loss.

    `init_from_teacher`: the student begins as the teacher's convolutions and first transformer layers, whose
    shapes it must have, instead of at random.
    `init`: a file of a student of the same shape, or the name of an embedded one, that this one begins as; its heads,
    where they do not fit, are left out.
    `teachers`: several, to be learned from at once; the student's own heads, which its file keeps, are for the first,
    which is then `teacher` too.
    """

    student: FitHubertConfig = field(default_factory=FitHubertConfig)
    teacher: TeacherConfig = field(default_factory=TeacherConfig)
    loss: LossConfig = field(default_factory=LossConfig)
    init_from_teacher: bool = False
    init: str | None = None
    teachers: tuple[TeacherConfig, ...] = ()

    def __post_init__(self) -> None:
        _expect(not (self.init and self.init_from_teacher), "init or init_from_teacher", "both")
        if self.teachers:
            first = self.teachers[0]
            _expect(self.teacher in (TeacherConfig(), first), "teacher or teachers", "both, of which one is unlike")
            object.__setattr__(self, "teacher", first)  # how a frozen dataclass normalises itself

    @classmethod
    def from_dict(cls, data: Mapping[str, Any], where: str = "model config") -> "DistillationConfig":
        return from_dict(cls, data, where)

    @classmethod
    def from_yaml(cls, path: str | Path) -> "DistillationConfig":
        return from_dict(cls, read_yaml(path), str(path))

    def to_dict(self) -> dict[str, Any]:
        return to_dict(self)


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
    raise FitHubertError(
        f"{name}: no such file, and no packaged config of that name; packaged: {', '.join(available_configs(folders))}"
    )


def available_configs(folders: tuple[Path, ...] = MODEL_CONFIGS) -> list[str]:
    """Names of the packaged configs, as `find_config` takes them."""
    return sorted({path.relative_to(folder).as_posix() for folder in folders for path in folder.rglob("*.yaml")})


def expand_variables(value, key: str = "config"):
    """Fill in `${NAME}` from the environment, in every string of a config.

    Raises
    ------
    FitHubertError
        A variable is not set.
    """
    if isinstance(value, dict):
        return {name: expand_variables(entry, f"{key}.{name}") for name, entry in value.items()}
    if isinstance(value, list):
        return [expand_variables(entry, key) for entry in value]
    if not isinstance(value, str):
        return value

    def variable(match: re.Match) -> str:
        name = match.group(1)
        if name not in os.environ:
            flag = "-o " if key.startswith("config.") else ""  # s3prl's way, and `fithubert distill`'s
            raise FitHubertError(
                f"{key}: expected the environment variable {name} (the config says {value}), found it unset; "
                f"export {name}=..., or give {flag}{key}=..."
            )
        return os.environ[name]

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


def to_dict(config: Any) -> dict[str, Any]:
    return json.loads(json.dumps(dataclasses.asdict(config)))  # tuples become lists on the way


def parse_conv_layers(value: Any) -> tuple[tuple[int, int, int], ...]:
    """[(channels, kernel, stride), ...] from a list, or from fairseq's string form
    `[(512, 10, 5)] + [(512, 3, 2)] * 4`, read as data and never evaluated as code."""
    if isinstance(value, str):
        try:
            value = _read_layers(ast.parse(value.strip(), mode="eval").body)
        except (SyntaxError, ValueError) as error:
            raise FitHubertError(
                f"conv_layers: expected e.g. '[(512, 10, 5)] + [(512, 3, 2)] * 4', found {value!r}"
            ) from error
    try:
        layers = tuple(_convert_all((int, int, int), layer, "conv_layers") for layer in value)
    except (TypeError, FitHubertError) as error:
        raise FitHubertError(f"conv_layers: expected (channels, kernel, stride) triples, found {value!r}") from error
    _expect(bool(layers) and min(min(layer) for layer in layers) >= 1, "conv_layers of positive numbers", layers)
    return layers


def _read_layers(node: ast.expr) -> Any:
    match node:
        case ast.Constant(value=int(number)):
            return number
        case ast.List(elts=items) | ast.Tuple(elts=items):
            return [_read_layers(item) for item in items]
        case ast.BinOp(left=left, op=ast.Add(), right=right):
            left, right = _read_layers(left), _read_layers(right)
            if isinstance(left, list) and isinstance(right, list):
                return left + right
        case ast.BinOp(left=left, op=ast.Mult(), right=ast.Constant(value=int(times))) if 0 < times <= 64:
            layers = _read_layers(left)
            if isinstance(layers, list):
                return layers * times
    raise ValueError(ast.dump(node))


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
        return _convert_all(parts, value, where)
    if kind is float:
        return float(values.real(value, where))
    return {int: values.whole, str: values.text, bool: values.boolean}[kind](value, where)


def _convert_all(kinds: tuple, value: Any, where: str) -> tuple:
    """A list as `tuple[X, ...]` or `tuple[X, Y]` wants it; one word may stand for a list of it."""
    of = kinds[0]
    if of is str and isinstance(value, str):
        value = [value]
    expected = "blocks" if dataclasses.is_dataclass(of) else "numbers" if of in (int, float) else "words"
    if not isinstance(value, list | tuple):
        raise FitHubertError(f"{where}: expected a list of {expected}, found {value!r}")
    if kinds[-1] is not Ellipsis and len(value) != len(kinds):
        raise FitHubertError(f"{where}: expected {len(kinds)} {expected}, found {value!r}")
    return tuple(_convert(of, entry, where) for entry in value)


def nearest(key: Any, known: Iterable[str]) -> str:
    """What to say of an unknown key."""
    close = difflib.get_close_matches(str(key), list(known), n=1, cutoff=0.5)
    return f"did you mean {close[0]!r}?" if close else f"known keys: {', '.join(known) or 'none'}"


def _expect(ok: bool, what: str, found: Any) -> None:
    if not ok:
        raise FitHubertError(f"expected {what}, found {found}")

"""What a student looks like."""

import ast
import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ..errors import FitHubertError, expect
from ..settings.files import convert_all, from_dict, to_dict
from .lengths import FRAME_RATE

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

    `head_layers` are the layers with a head, counted from 1; `head_kind` is one of
    `hint` (FitHuBERT): a linear head per layer; student layer l predicts teacher layer l. `head_layers=None` means all
    layers, as in distillation. The paper counts and evaluates the last head alone.
    `prediction` (DistilHuBERT; Kerpicci et al., 2022): a head with one hidden layer for each of the teacher's
    `head_layers`, all on the student's last layer.
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
    head_layers: tuple[int, ...] = field(default=None, metadata={"read": True})  # type: ignore[arg-type]
    head_dim: int = 768  # the teacher's width
    dropout_input: float = 0.05
    dropout: float = 0.1
    attention_dropout: float = 0.1
    activation_dropout: float = 0.1

    def __post_init__(self) -> None:
        for f in dataclasses.fields(self):
            value = getattr(self, f.name)
            if f.type is int:
                expect(value >= 1, f"{f.name} of at least 1", value)
            if f.type is float:  # the dropouts
                expect(0 <= value < 1, f"{f.name} in [0, 1)", value)
        expect(self.head_kind in ("hint", "prediction"), "head_kind hint or prediction", self.head_kind)
        if self.head_kind == "prediction":
            expect(self.head_layers is not None, "head_layers, the teacher's layers to predict, e.g. [4, 8, 12]", None)
        heads = tuple(range(1, self.num_layers + 1)) if self.head_layers is None else self.head_layers
        heads = convert_all((int, ...), heads, "head_layers")
        object.__setattr__(self, "head_layers", heads)  # how a frozen dataclass normalises itself
        object.__setattr__(self, "conv_layers", parse_conv_layers(self.conv_layers))
        for name in ("num_heads", "pos_conv_groups"):
            expect(
                self.embed_dim % getattr(self, name) == 0,
                f"embed_dim a multiple of {name}",
                f"embed_dim {self.embed_dim}, {name} {getattr(self, name)}",
            )
        stride = 1
        for _, _, layer_stride in self.conv_layers:
            stride *= layer_stride
        expect(stride == FRAME_RATE, f"conv_layers with a total stride of {FRAME_RATE} (20 ms)", stride)
        rising = list(self.head_layers) == sorted(set(self.head_layers)) and min(self.head_layers, default=1) >= 1
        if self.head_kind == "hint":
            rising = rising and max(self.head_layers, default=0) <= self.num_layers
        within = f" within 1..{self.num_layers}" if self.head_kind == "hint" else " from 1 on"
        expect(rising, f"head_layers rising{within}", list(self.head_layers))

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
        layers = tuple(convert_all((int, int, int), layer, "conv_layers") for layer in value)
    except (TypeError, FitHubertError) as error:
        raise FitHubertError(f"conv_layers: expected (channels, kernel, stride) triples, found {value!r}") from error
    expect(bool(layers) and min(min(layer) for layer in layers) >= 1, "conv_layers of positive numbers", layers)
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

"""What a student looks like."""

import ast
import dataclasses
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from ..errors import FitHubertError, expect
from ..settings.files import convert_all, from_dict, to_dict
from ..settings.values import whole
from .lengths import FRAME_RATE

# FitHuBERT's extractor (official fithubert.yaml): HuBERT's strides, half its width, two pointwise layers.
FITHUBERT_CONV_LAYERS = (
    (128, 10, 5),
    (256, 1, 1),
    *[(256, 3, 2)] * 4,
    (512, 1, 1),
    *[(512, 2, 2)] * 2,
)

# What hidden states are made of, in this order.
STATES = ("projection", "layers", "heads")


@dataclass(frozen=True)
class FitHubertConfig:
    """A student. The defaults are the published FitHuBERT (official `data/conf/fithubert.yaml`).

    `head_layers` are the layers with a head, counted from 1; `head_kind` is one of
    `hint` (FitHuBERT): a linear head per layer; student layer l predicts teacher layer l. `head_layers=None` means all
    layers, as in distillation. The paper counts and evaluates the last head alone.
    `prediction` (DistilHuBERT; Kerpicci et al., 2022): a head with one hidden layer for each of the teacher's
    `head_layers`, all on the student's last layer.

    `num_heads` and `ffn_dim` are one number for all layers or a list with one for each, 0 where a layer has no
    attention or no FFN. `hidden_states` says what s3prl's weighted sum sees: `projection` (the features before the
    positional convolution), `layers`, `heads`.
    """

    # (channels, kernel, stride)
    conv_layers: tuple[tuple[int, int, int], ...] = field(default=FITHUBERT_CONV_LAYERS, metadata={"read": True})
    feature_scale: bool = False  # a factor for each channel of the last convolution (DPHuBERT)
    feature_norm: bool = True  # LayerNorm behind the convolutions
    feature_projection: bool = True  # from the last convolution's width to embed_dim, which are the same without it
    embed_dim: int = 480
    pos_conv_kernel: int = 128
    pos_conv_groups: int = 16
    time_reduction: int = 2  # conv frames to one transformer frame; 1 leaves the layer out
    num_layers: int = 12
    ffn_dim: int | tuple[int, ...] = field(default=480, metadata={"read": True})
    num_heads: int | tuple[int, ...] = field(default=12, metadata={"read": True})
    head_width: int | None = None  # None: embed_dim / num_heads
    reuse_attention: tuple[int, ...] = ()  # layers, from 1, that take the attention map of the one before (ARMHuBERT)
    position_buckets: int | None = None  # WavLM's relative position bias, None for none; WavLM Base has 320
    position_distance: int = 800  # frames, from which on all distances share a bucket
    kept_heads: tuple[tuple[int, ...], ...] | None = field(default=None, metadata={"read": True})  # of WavLM's, from 0
    head_kind: str = "hint"
    head_layers: tuple[int, ...] = field(default=None, metadata={"read": True})  # type: ignore[arg-type]
    head_dim: int = 768  # the teacher's width
    hidden_states: tuple[str, ...] = ("layers",)
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
        self._check_layers()
        expect(
            self.embed_dim % self.pos_conv_groups == 0,
            "embed_dim a multiple of pos_conv_groups",
            f"embed_dim {self.embed_dim}, pos_conv_groups {self.pos_conv_groups}",
        )
        if not self.feature_projection:
            channels = self.conv_layers[-1][0]
            expect(
                channels == self.embed_dim,
                f"feature_projection true, or conv_layers that end in embed_dim {self.embed_dim}",
                f"{channels} channels",
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
        self._check_positions()
        self._check_hidden_states()

    def _check_layers(self) -> None:
        """Heads, FFNs and reused maps."""
        for name in ("ffn_dim", "num_heads"):
            object.__setattr__(self, name, _of_each_layer(name, getattr(self, name), self.num_layers))
        if self.head_width is None:
            expect(isinstance(self.num_heads, int), "head_width beside num_heads that differ by layer", "none")
            expect(
                self.embed_dim % self.num_heads == 0,  # type: ignore[operator]
                "embed_dim a multiple of num_heads, or a head_width",
                f"embed_dim {self.embed_dim}, num_heads {self.num_heads}",
            )
        else:
            expect(self.head_width >= 1, "head_width of at least 1", self.head_width)
        heads = self.layer_heads
        for layer in self.reuse_attention:
            expect(2 <= layer <= self.num_layers, f"reuse_attention of layers within 2..{self.num_layers}", layer)
            before, own = heads[layer - 2 : layer]
            expect(
                before == own > 0,
                f"reuse_attention of a layer with the num_heads of the one before it, for layer {layer} {before}",
                own,
            )
        expect(
            list(self.reuse_attention) == sorted(set(self.reuse_attention)),
            "reuse_attention rising",
            list(self.reuse_attention),
        )

    def _check_positions(self) -> None:
        """The relative position bias, and the heads of WavLM's that are left."""
        if self.position_buckets is None:
            expect(self.kept_heads is None, "position_buckets beside kept_heads", "none")
            return
        expect(self.position_buckets >= 4, "position_buckets of at least 4", self.position_buckets)
        exact = self.position_buckets // 4
        expect(
            self.position_distance > exact,
            f"position_distance above position_buckets / 4, {exact}",
            self.position_distance,
        )
        expect(not self.reuse_attention, "reuse_attention without layers beside position_buckets", self.reuse_attention)
        width = self.width_of_head
        expect(
            self.embed_dim % width == 0,
            "embed_dim a multiple of head_width beside position_buckets",
            f"embed_dim {self.embed_dim}, head_width {width}",
        )
        total = self.embed_dim // width
        kept: Any = self.kept_heads
        if kept is None:
            kept = [list(range(heads)) for heads in self.layer_heads]
        expect(isinstance(kept, Sequence) and not isinstance(kept, str), "kept_heads, a list for each layer", kept)
        kept = tuple(convert_all((int, ...), heads, "kept_heads") for heads in kept)
        expect(
            tuple(map(len, kept)) == self.layer_heads,
            f"kept_heads, for each layer as many as num_heads, {list(self.layer_heads)}",
            [len(heads) for heads in kept],
        )
        for heads in kept:
            rising = list(heads) == sorted(set(heads)) and all(0 <= head < total for head in heads)
            expect(rising, f"kept_heads rising within 0..{total - 1}", list(heads))
        object.__setattr__(self, "kept_heads", kept)

    def _check_hidden_states(self) -> None:
        states = self.hidden_states
        known = [state for state in STATES if state in states]
        expect(list(states) == known, f"hidden_states of {', '.join(STATES)}, in this order", list(states))
        if "heads" in states:
            expect(bool(self.head_layers), "head_layers beside hidden_states of heads", "none")
            expect(
                len(states) == 1 or self.head_dim == self.embed_dim,
                f"hidden_states of one width, head_dim as embed_dim {self.embed_dim}",
                f"head_dim {self.head_dim}",
            )
        expect("layers" in states or "heads" in states, "hidden_states with layers or heads", list(states))
        if "projection" in states:
            expect(self.time_reduction == 1, "time_reduction 1 beside hidden_states of projection", self.time_reduction)

    @property
    def layer_heads(self) -> tuple[int, ...]:
        """Attention heads of each layer."""
        return (self.num_heads,) * self.num_layers if isinstance(self.num_heads, int) else self.num_heads

    @property
    def layer_ffn_dims(self) -> tuple[int, ...]:
        """The FFN's width in each layer."""
        return (self.ffn_dim,) * self.num_layers if isinstance(self.ffn_dim, int) else self.ffn_dim

    @property
    def width_of_head(self) -> int:
        """Channels of one attention head, the same in every layer."""
        if self.head_width is not None:
            return self.head_width
        assert isinstance(self.num_heads, int)
        return self.embed_dim // self.num_heads

    @property
    def num_states(self) -> int:
        """Tensors that the hidden states are."""
        counts = {"projection": 1, "layers": self.num_layers, "heads": len(self.head_layers)}
        return sum(counts[state] for state in self.hidden_states)

    @property
    def state_dim(self) -> int:
        """Width of each hidden state."""
        return self.head_dim if "heads" in self.hidden_states else self.embed_dim

    def with_heads(self, layers: tuple[int, ...]) -> "FitHubertConfig":
        """The same with heads for these layers only; where none is left, hidden states are the layers."""
        states = self.hidden_states
        if not layers:
            states = tuple(state for state in states if state != "heads")
            states = states if "layers" in states else (*states, "layers")
        return replace(self, head_layers=tuple(layers), hidden_states=states)

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


def _of_each_layer(name: str, value: Any, layers: int) -> int | tuple[int, ...]:
    """One positive number, or a tuple with one for each layer, 0 for none."""
    if not isinstance(value, list | tuple):
        number = whole(value, name)
        expect(number >= 1, f"{name} of at least 1", number)
        return number
    numbers = convert_all((int, ...), value, name)
    expect(len(numbers) == layers, f"{name}, a number or one for each of {layers} layers", list(numbers))
    expect(min(numbers) >= 0, f"{name} of at least 0 in each layer", list(numbers))
    return numbers


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

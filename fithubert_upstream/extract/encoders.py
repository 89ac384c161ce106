"""What turns waveforms into the features that are kept: an upstream in torch, or an ONNX file without it."""

import contextlib
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np

from .. import assets
from ..audio import SAMPLE_RATE
from ..errors import FitHubertError
from ..superb.names import Upstream, digest_of, parse_upstream

CHECKPOINTS = (".safetensors", ".onnx", ".ckpt", ".pth")
ALL = "all"


class Selection(NamedTuple):
    """Which features are kept.

    Parameters
    ----------
    layer : int, "all" or None
        An entry of `hidden_states` (or of the feature that the upstream's name ends with), from 0; all of them; or
        None for `last_hidden_state`.
    pool : "mean" or None
        The mean over the frames in place of the frames.
    """

    layer: int | str | None = None
    pool: str | None = None


class Encoder(Protocol):
    """Waveforms in, features out.

    Parameters
    ----------
    parallel : bool
        Whether each waveform is encoded by itself, on one core, so that several threads may call it at a time.
    batches : bool
        Whether waveforms of like length go through faster together.
    """

    parallel: bool
    batches: bool

    def __call__(self, waveforms: Sequence[np.ndarray]) -> list[tuple[np.ndarray, int]]:
        """(T,) float32 at 16 kHz each -> features, (L, D), (N, L, D), (D,) or (N, D), and L, their frames."""

    def running(self) -> contextlib.AbstractContextManager:
        """Around all calls."""


def name_upstream(text: str) -> Upstream:
    """Read what `fithubert superb -u` takes, or the path of a checkpoint, `FILE[@FEATURE]`.

    Raises
    ------
    FitHubertError
        It is neither.
    """
    match = re.fullmatch(r"(?P<path>.+?)(?:@(?P<feature>\w+))?", text, re.S)
    path = match["path"] if match else ""
    if Path(path).is_file() or (Path(path).suffix in CHECKPOINTS and not re.match(r"[\w.=-]+:", path)):
        return Upstream(Path(path).stem, "fithubert_local", path, match["feature"] if match else None)
    return parse_upstream(text)


def is_onnx(upstream: Upstream) -> bool:
    return upstream.name in ("fithubert", "fithubert_local") and str(upstream.ckpt).endswith(".onnx")


def open_encoder(upstream: Upstream, selection: Selection, device: str | None = None) -> Encoder:
    """An encoder, after it has encoded a second of silence: what it does not have is told before the work.

    Raises
    ------
    FitHubertError
        The upstream cannot be built or downloaded, or has no such feature or layer, or there is no such device.
    """
    encoder: Encoder
    if is_onnx(upstream):
        if device not in (None, "cpu"):
            raise FitHubertError(f"--device {device}: an ONNX file runs on the CPU; leave it out")
        encoder = OnnxEncoder(upstream, selection)
    else:
        from .torch_encoder import TorchEncoder

        encoder = TorchEncoder(upstream, selection, device)
    encoder([np.zeros(SAMPLE_RATE, dtype=np.float32)])
    return encoder


def identify(upstream: Upstream, selection: Selection) -> dict[str, Any]:
    """What features depend on, beside the recordings, in JSON's types."""
    ckpt = str(assets.find(upstream.name)) if upstream.name in assets.NAMES else upstream.ckpt
    settings = {
        "upstream": upstream.name,
        "weights": digest_of(ckpt),
        "feature": upstream.feature,
        **selection._asdict(),
    }
    if not is_onnx(upstream):
        from ..models.inference import inference_settings

        settings |= inference_settings()
    return settings


def pick(features: Mapping[str, Any], upstream: Upstream, layer: int | str | None) -> list[Any]:
    """The layers that are kept of what an upstream gives; a feature is an array, or a list with one for each layer."""
    key = upstream.feature or ("last_hidden_state" if layer is None else "hidden_states")
    if key not in features and upstream.feature is None and layer is None:
        key = "hidden_states"
    if key not in features:
        there = ", ".join(name for name in features if not name.startswith("_"))
        raise FitHubertError(f"-u {upstream.label}: expected a feature named {key}, found {there}")
    value = features[key]
    layers = list(value.values() if isinstance(value, Mapping) else value) if isinstance(value, _LISTS) else None
    if layers is None and layer is not None:
        raise FitHubertError(f"-u {upstream.label}: expected a feature with layers, found {key}, which has none")
    if layers is None:
        return [value]
    if layer == ALL:
        widths = sorted({part.shape[-1] for part in layers})
        if len(widths) > 1:
            raise FitHubertError(f"--layers all: expected layers of one width, found {widths}; take one with --layer")
        return layers
    if layer is None:
        return layers[-1:]
    if not 0 <= int(layer) < len(layers):
        raise FitHubertError(
            f"--layer {layer}: expected a layer from 0 to {len(layers) - 1} ({key} of {upstream.label}), found {layer}"
        )
    return [layers[int(layer)]]


_LISTS = (list, tuple, Mapping)


def encode_each(encoder: Encoder, waveforms: Sequence[np.ndarray]) -> list[tuple[np.ndarray, int] | Exception]:
    """Features of each, or why there are none: too short for an upstream, too long for the memory."""
    if not waveforms:
        return []
    try:
        return list(encoder(waveforms))
    except (FitHubertError, RuntimeError, MemoryError) as error:
        if len(waveforms) == 1:
            return [error]
    return [result for waveform in waveforms for result in encode_each(encoder, [waveform])]


class OnnxEncoder:
    """A file of `fithubert export`, with numpy and onnxruntime alone. An utterance runs on one core."""

    parallel, batches = True, False

    def __init__(self, upstream: Upstream, selection: Selection):
        from ..export.numpy_features import OnnxFeatures

        self.upstream, self.selection = upstream, selection
        self.model: Callable[[np.ndarray], dict[str, np.ndarray]] = OnnxFeatures(str(upstream.ckpt))

    def __call__(self, waveforms: Sequence[np.ndarray]) -> list[tuple[np.ndarray, int]]:
        return [self._encode(waveform) for waveform in waveforms]

    def _encode(self, waveform: np.ndarray) -> tuple[np.ndarray, int]:
        features = {name: value if value.ndim == 2 else list(value) for name, value in self.model(waveform).items()}
        layers = pick(features, self.upstream, self.selection.layer)
        value = np.stack(layers) if self.selection.layer == ALL else layers[0]  # (N, L, D) or (L, D)
        frames = value.shape[-2]
        if self.selection.pool:
            return value.mean(axis=-2), frames
        return value.copy(), frames  # without the other layers, whose memory it shares

    @contextlib.contextmanager
    def running(self) -> Iterator[None]:
        yield

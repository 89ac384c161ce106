"""An ONNX file as an encoder of recordings, without torch."""

import contextlib
from collections.abc import Callable, Iterator, Sequence

import numpy as np

from ..export.numpy_features import OnnxFeatures
from ..superb.names import Upstream
from .selection import ALL, Selection, pick


class OnnxEncoder:
    """A file of `fithubert export`, with numpy and onnxruntime alone. An utterance runs on one core."""

    parallel, batches = True, False

    def __init__(self, upstream: Upstream, selection: Selection):
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

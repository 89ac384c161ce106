"""What turns waveforms into the features that are kept: an upstream in torch, or an ONNX file without it."""

import contextlib
from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np

from .. import assets
from ..audio import SAMPLE_RATE
from ..errors import FitHubertError
from ..superb.names import Upstream, digest_of
from .selection import Selection, is_onnx


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


def open_encoder(upstream: Upstream, selection: Selection, device: str | None = None) -> Encoder:
    """An encoder, after it has encoded a second of silence: what it does not have is told before the work.

    Raises
    ------
    FitHubertError
        The upstream cannot be built or downloaded, or has no such feature or layer, or there is no such device.
    """
    encoder: Encoder
    if is_onnx(upstream):
        from .onnx_encoder import OnnxEncoder

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


def encode_each(encoder: Encoder, waveforms: Sequence[np.ndarray]) -> list[tuple[np.ndarray, int] | Exception]:
    """Features of each, or why there are none: too short for an upstream, too long for the memory, and whatever else an
    upstream or onnxruntime, whose errors are of classes of their own, raises."""
    if not waveforms:
        return []
    try:
        return list(encoder(waveforms))
    except Exception as error:
        if len(waveforms) == 1:
            return [error]
    return [result for waveform in waveforms for result in encode_each(encoder, [waveform])]

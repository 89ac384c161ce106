"""How a student is run: its precision, compiled or not, long recordings in windows; waveforms as a batch."""

import logging
import os
from collections.abc import Iterable, Sequence

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from ..audio import SAMPLE_RATE
from ..errors import FitHubertError
from ..runs.precision import bf16_is_native
from .fithubert import FitHubert

log = logging.getLogger(__name__)

PRECISIONS = {"fp32": torch.float32, "bf16": torch.bfloat16}
INFERENCE_VARIABLES = ("FITHUBERT_PRECISION", "FITHUBERT_COMPILE", "FITHUBERT_CHUNK_SECONDS")


def inference_settings() -> dict[str, str]:
    """Those of `INFERENCE_VARIABLES` that are set: features, and so results, depend on them."""
    return {name: value for name, value in os.environ.items() if name in INFERENCE_VARIABLES and value}


Feature = Tensor | list[Tensor]  # (B, L, D), or one for each layer


def prepare(model: FitHubert, precision: str = "fp32", compile: bool = False) -> FitHubert:
    """The model in eval mode, with weights in that precision; `compile`: its layers by `torch.compile`, in place.

    Norms of waveforms stay in fp32 in every precision. Compilation happens at the first call and takes about a minute.
    Where neither the processor nor a GPU has units for bf16, a warning says so: it is emulated there, and slow.

    Raises
    ------
    FitHubertError
        The precision is not one of `PRECISIONS`.
    """
    if precision not in PRECISIONS:
        raise FitHubertError(f"expected precision {' or '.join(PRECISIONS)}, found {precision!r}")
    if precision == "bf16" and not bf16_is_native("cuda" if torch.cuda.is_available() else "cpu"):
        log.warning("bf16: this machine has no units for it; it is emulated and many times slower than fp32")
    model = model.eval().to(PRECISIONS[precision])
    if compile:
        compile_layers(model)
    return model


def compile_layers(model: FitHubert) -> None:
    """Let the convolutions and the transformer layers run through torch.compile, in place."""
    model.feature_extractor.compiled = True
    for layer in model.layers:
        layer.compile(dynamic=True)


def from_environment(
    precision: str | None = None, compile: bool | None = None, chunk_seconds: float | None = None
) -> tuple[str, bool, float]:
    """Fill options that are None from FITHUBERT_PRECISION, FITHUBERT_COMPILE (0 or 1) and FITHUBERT_CHUNK_SECONDS.

    Defaults: fp32, not compiled, 0 (whole recordings).

    Raises
    ------
    FitHubertError
        A variable is not what it should be.
    """
    if precision is None:
        precision = os.environ.get("FITHUBERT_PRECISION") or "fp32"
    if compile is None:
        text = os.environ.get("FITHUBERT_COMPILE") or "0"
        if text not in ("0", "1"):
            raise FitHubertError(f"expected FITHUBERT_COMPILE to be 0 or 1, found {text!r}")
        compile = text == "1"
    if chunk_seconds is None:
        text = os.environ.get("FITHUBERT_CHUNK_SECONDS") or "0"
        try:
            chunk_seconds = float(text)
        except ValueError as error:
            raise FitHubertError(f"expected FITHUBERT_CHUNK_SECONDS to be a number, found {text!r}") from error
    if chunk_seconds != 0 and not chunk_seconds >= 1:
        raise FitHubertError(f"expected chunk_seconds of at least 1, or 0 for one piece, found {chunk_seconds}")
    return precision, compile, chunk_seconds


def check_waveform(wav: Tensor, name: str = "waveform") -> None:
    """Raise FitHubertError, with `name` in front, unless this is (T,) finite floating-point samples, T >= 1."""
    if not isinstance(wav, Tensor) or wav.dim() != 1:
        found = f"shape {tuple(wav.shape)}" if isinstance(wav, Tensor) else type(wav).__name__
        raise FitHubertError(
            f"{name}: expected a 1-D tensor of {SAMPLE_RATE} Hz samples, found {found}; "
            "pass each mono waveform as a tensor of its own"
        )
    if not wav.is_floating_point():
        raise FitHubertError(f"{name}: expected float samples in [-1, 1], found {wav.dtype}; divide by 32768")
    if len(wav) == 0:
        raise FitHubertError(f"{name}: expected at least one sample, found shape (0,)")
    if not bool(torch.isfinite(wav.float()).all()):
        raise FitHubertError(f"{name}: found NaN or infinite samples")


def collate(wavs: list[Tensor]) -> tuple[Tensor, Tensor]:
    """List of (T_i,) -> zero-padded (B, T) float32, lengths (B,). Raises what `check_waveform` says."""
    if len(wavs) == 0:
        raise FitHubertError("expected a list of waveforms, found an empty list")
    for i, wav in enumerate(wavs):
        check_waveform(wav, f"waveform {i}")
    waveforms = pad_sequence([wav.float() for wav in wavs], batch_first=True)  # (B, T)
    return waveforms, torch.tensor([len(wav) for wav in wavs])


def stack_utterances(features: Sequence[Feature]) -> Feature:
    """Features of single utterances, (1, L_i, D) each, or lists of them -> zero-padded (B, L, D)."""
    if isinstance(features[0], list):
        return [_stack(layer) for layer in zip(*features, strict=True)]
    return _stack(features)


def _stack(utterances: Iterable[Tensor | list[Tensor]]) -> Tensor:
    return pad_sequence([utterance[0] for utterance in utterances], batch_first=True)  # (B, L, D)

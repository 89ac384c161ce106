"""The SoX effects that SUPERB's tasks use, without SoX: channels, rate, gain, silence.

Written after experiments with the program `sox` 14.4.2 and its manual page: `channels`, `gain` and
`silence` give its very samples. `rate` is soxr's HQ: the same length, and samples mostly within one
step of 16 bits (the filters differ a little close to the highest frequency). As in SoX an effect
takes and gives 32-bit integers; a level is relative to the largest of them.
"""

import os
import re
from dataclasses import dataclass, replace

import numpy as np
import soxr
import torch
from torch import Tensor

from ..errors import FitHubertError
from .decode import read_audio

COVERED = "channels 1, channels N of mono, rate HZ, gain DB, silence 1 DURATION LEVEL% [-1 DURATION LEVEL%] of mono"
FULL_SCALE = 2**31
# Bits of a sample as `silence` sees it; every other format, float among them, counts as 24.
BITS = {"PCM_S8": 8, "PCM_U8": 8, "PCM_16": 16, "PCM_32": 32}


@dataclass(frozen=True)
class Sound:
    """What goes through a chain of effects."""

    samples: np.ndarray  # (time, channels) int32
    rate: int  # Hz
    bits: int  # how many of the 32 carry signal


def apply_effects_file(
    path: str | os.PathLike,
    effects: list[list[str]],
    normalize: bool = True,
    channels_first: bool = True,
    format: str | None = None,
) -> tuple[Tensor, int]:
    """`torchaudio.sox_effects.apply_effects_file`: decode a file and run effects on it.

    Parameters
    ----------
    path
        Any file that soundfile decodes.
    effects
        Each effect as its name and arguments, such as `[["channels", "1"], ["gain", "-3.0"]]`.
    normalize
        Must be True: the result is float32 in [-1, 1].
    format
        Not needed, soundfile looks into the file.

    Returns
    -------
    (channels, time) float32, or (time, channels) without channels_first; and the rate in Hz.

    Raises
    ------
    FitHubertError
        The file cannot be decoded, holds NaN, or an effect is not one of `COVERED`.
    """
    if not normalize:
        raise FitHubertError("apply_effects_file: expected normalize=True, found False; integers are not covered")
    audio = read_audio(path, "float64")
    sound = Sound(_to_integers(audio.samples * FULL_SCALE), audio.rate, BITS.get(audio.subtype, 24))
    return _to_tensor(_run(sound, effects), channels_first)


def apply_effects_tensor(
    tensor: Tensor, sample_rate: int, effects: list[list[str]], channels_first: bool = True
) -> tuple[Tensor, int]:
    """`torchaudio.sox_effects.apply_effects_tensor`: run effects on float samples in [-1, 1].

    The tensor is (channels, time), or (time, channels) without channels_first; so is the result,
    float32, which comes with its rate in Hz.

    Raises
    ------
    FitHubertError
        The tensor is not 2-D float, or an effect is not one of `COVERED`.
    """
    if tensor.ndim != 2 or not tensor.is_floating_point():
        found = f"{tensor.dtype} of shape {tuple(tensor.shape)}"
        raise FitHubertError(f"apply_effects_tensor: expected a 2-D float tensor, found {found}")
    samples = tensor.detach().cpu().double().numpy()
    samples = _to_integers((samples.T if channels_first else samples) * FULL_SCALE)
    return _to_tensor(_run(Sound(samples, sample_rate, 24), effects), channels_first)


def _run(sound: Sound, effects: list[list[str]]) -> Sound:
    for effect in effects:
        match list(map(str, effect)):
            case ["channels", count] if _is_count(count) and (1 in (int(count), sound.samples.shape[1])):
                sound = _channels(sound, int(count))
            case ["rate", rate] if _is_count(rate):
                sound = _rate(sound, int(rate))
            case ["gain", decibels] if _NUMBER.fullmatch(decibels):
                sound = _gain(sound, float(decibels))
            case ["silence", "1", *above] if _is_period(above) and sound.samples.shape[1] == 1:
                sound = _silence(sound, above)
            case ["silence", "1", *above, "-1", duration, level] if (
                _is_period(above) and _is_period([duration, level]) and sound.samples.shape[1] == 1
            ):
                sound = _silence(sound, above, [duration, level])
            case words:
                found = f"SoX effect '{' '.join(words)}' on {sound.samples.shape[1]} channel(s)"
                raise FitHubertError(f"{found} is not supported; expected {COVERED}")
    return sound


_NUMBER = re.compile(r"[+-]?\d+(\.\d*)?")


def _is_count(word: str) -> bool:
    return word.isdecimal() and int(word) > 0


def _is_period(words: list[str]) -> bool:
    """Whether this is a duration and a level in percent."""
    return len(words) == 2 and bool(re.fullmatch(r"\d+(\.\d*)? \d+(\.\d*)?%", " ".join(words)))


def _to_tensor(sound: Sound, channels_first: bool) -> tuple[Tensor, int]:
    samples = torch.from_numpy(sound.samples.astype(np.float32) / FULL_SCALE)
    return (samples.t().contiguous() if channels_first else samples), sound.rate


def _to_integers(values: np.ndarray) -> np.ndarray:
    """Round halves away from zero, clip to 32 bits."""
    values = np.trunc(values + np.copysign(0.5, values))
    return np.clip(values, -FULL_SCALE, FULL_SCALE - 1).astype(np.int32)


def _channels(sound: Sound, count: int) -> Sound:
    """The mean of all channels, or copies of the only one."""
    present = sound.samples.shape[1]
    if count == present:
        return sound
    if count > 1:
        return replace(sound, samples=np.repeat(sound.samples, count, axis=1), bits=32)
    mean = (sound.samples * (1 / present)).sum(axis=1, keepdims=True)
    return replace(sound, samples=_to_integers(mean), bits=32)


def _rate(sound: Sound, rate: int) -> Sound:
    if rate == sound.rate:
        return sound
    samples = soxr.resample(sound.samples.astype(np.float64), sound.rate, rate, quality="HQ")
    return Sound(_to_integers(samples), rate, bits=32)


def _gain(sound: Sound, decibels: float) -> Sound:
    if decibels == 0:
        return sound
    factor = np.exp(decibels * np.log(10) / 20)  # not 10 ** (decibels / 20): SoX's last bit
    return replace(sound, samples=_to_integers(sound.samples * factor), bits=32)


def _silence(sound: Sound, above: list[str], below: list[str] | None = None) -> Sound:
    """Drop samples until sound begins and, with `below`, every silence after it.

    A sample is loud when the RMS of the last 20 ms exceeds a level. Copying starts with the first
    of so many loud samples in a row (`above`) and stops before so many quiet ones (`below`); then
    the window is emptied and the search for loud ones begins anew. At the end, quiet samples that
    are too few for a silence are kept, loud ones that are too few for a start are not.
    """
    samples = sound.samples[:, 0]
    window = sound.rate // 50
    loud_count, loud_power = _parse_period(above, sound, window)
    total = np.concatenate([[0.0], np.cumsum(samples.astype(np.float64) ** 2)])
    power = total[1:].copy()  # of the window that ends with this sample
    power[window:] -= total[1:-window]
    loud = power >= loud_power
    loud_starts = _find_runs(loud, loud_count)
    if below is None:
        kept = [samples[loud_starts[0] :]] if len(loud_starts) else []
        return replace(sound, samples=np.concatenate([samples[:0], *kept])[:, None])

    quiet_count, quiet_power = _parse_period(below, sound, window)
    quiet = power < quiet_power
    quiet_starts = _find_runs(quiet, quiet_count)
    kept = [samples[:0]]
    position = full = 0  # from `full` on, `power` has not been touched by an emptied window
    while (start := _next_run(loud, loud_starts, position, loud_count, full)) is not None:
        stop = _next_run(quiet, quiet_starts, start + loud_count, quiet_count, full)
        kept.append(samples[start:stop])
        if stop is None:
            break
        position = stop + quiet_count
        full = position + window
        power = total[position + 1 : full + 1] - total[position]
        loud[position:full] = power >= loud_power
        quiet[position:full] = power < quiet_power
    return replace(sound, samples=np.concatenate(kept)[:, None])


def _parse_period(words: list[str], sound: Sound, window: int) -> tuple[int, float]:
    """A duration in samples, and the power of a window that is just above a level in percent."""
    duration, level = words
    # SoX takes a number without a point for samples, one with a point for seconds.
    count = int(float(duration) * sound.rate + 0.5) if "." in duration else int(duration)
    # It cuts the RMS down to an integer, and off that the bits that a short sample never had.
    step = 2 ** (32 - sound.bits)
    rms = int(float(level[:-1]) / 100 * (FULL_SCALE - 1)) + 1
    rms = -(-rms // step) * step
    return max(count, 1), window * float(rms) ** 2


def _find_runs(flags: np.ndarray, count: int) -> np.ndarray:
    """Where each run of at least `count` True begins."""
    edges = np.flatnonzero(np.diff(flags, prepend=False, append=False)).reshape(-1, 2)
    return edges[edges[:, 1] - edges[:, 0] >= count, 0]


def _next_run(flags: np.ndarray, starts: np.ndarray, begin: int, count: int, full: int) -> int | None:
    """The first of `count` True in a row from `begin` on.

    `starts` are those of the whole recording, as they were before `flags[:full]` were changed.
    """
    far = max(begin, full)
    near = _find_runs(flags[begin : far + count], count)
    if len(near):
        return begin + int(near[0])
    after = np.searchsorted(starts, far, side="right")
    return int(starts[after]) if after < len(starts) else None

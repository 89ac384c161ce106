"""The one place that decodes audio files: every error names its file. Imports no torch."""

import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import BinaryIO

import numpy as np
import soundfile
import soxr

from ..errors import FitHubertError
from . import SAMPLE_RATE
from .containers import missing_bytes, with_length
from .walk import printable

BLOCK = 1 << 16  # samples
UNKNOWN_SAMPLES = 1 << 40  # libsndfile says this or more of a FLAC without a length

Source = str | Path | BytesIO


@dataclass(frozen=True)
class Audio:
    """A decoded file: (T, C) `samples` in [-1, 1], `rate` in Hz, libsndfile's name `subtype` of its numbers."""

    samples: np.ndarray
    rate: int
    subtype: str


def read_audio(source: Source, dtype: str = "float32", start: int = 0, count: int | None = None) -> Audio:
    """Decode a file, or a piece of it.

    Parameters
    ----------
    source : a file of any kind that libsndfile decodes, or its bytes.
    dtype : "float32" or "float64"; "int16" or "int32" for the integers of PCM as they are.
    start, count : the piece in samples of each channel, by default to the end. What lies behind the end is not there.

    Raises
    ------
    FitHubertError
        It is not there, cannot be decoded to its end, is shorter than its header says, holds no sample, or holds NaN
        or infinity; of a piece, where that shows in it. The message begins with the file's name.
    """
    with opened(source) as file:
        if start == 0 and (count is None or count >= file.frames):
            blocks = list(_blocks(file, source, dtype, max(file.frames, 1)))
            samples = blocks[0] if len(blocks) == 1 else np.concatenate(blocks)
        else:
            start = min(start, file.frames)
            with _decoding(source):
                file.seek(start)
                length = file.frames - start if count is None else min(count, file.frames - start)
                samples = file.read(length, dtype=dtype, always_2d=True)
            _check_finite(samples, file, source)
        return Audio(samples, file.samplerate, file.subtype)


def read_speech(source: Source) -> tuple[np.ndarray, int]:
    """(T,) float32 samples at 16 kHz, channels averaged, and the rate that the file has. Raises as `read_audio`."""
    audio = read_audio(source)
    return to_speech(audio.samples, audio.rate), audio.rate


def to_speech(samples: np.ndarray, rate: float) -> np.ndarray:
    """(T, C) samples at any rate -> (T',) at 16 kHz, channels averaged."""
    mono = samples[:, 0] if samples.shape[1] == 1 else samples.mean(axis=1)  # (T,)
    return mono if rate == SAMPLE_RATE else soxr.resample(mono, rate, SAMPLE_RATE)


def measure(source: Source) -> tuple[int, int, int]:
    """(samples, Hz, channels) of a file, decoded to its end block by block. Raises as `read_audio`."""
    with opened(source) as file:
        return sum(map(len, _blocks(file, source, "float32", BLOCK))), file.samplerate, file.channels


def header(source: Source) -> tuple[int, int, int]:
    """`measure` without decoding, by the header. Raises as `read_audio`, for what it sees."""
    with opened(source) as file:
        if file.frames == 0:
            raise _empty(source)
        return file.frames, file.samplerate, file.channels


def opened(source: Source) -> soundfile.SoundFile:
    """An audio file to read, whose length is known. Raises as `read_audio`, for what it sees."""
    file = _sound_file(source)
    if 0 < file.frames < UNKNOWN_SAMPLES:
        return file
    with _raw(source) as raw:
        filled = with_length(raw)
    if filled is not None:
        return _sound_file(source, filled)
    if file.frames:
        raise FitHubertError(
            f"{_name(source)}: expected a header with a length, found none; decode it and write it again"
        )
    return file


def _sound_file(source: Source, data: bytes | None = None) -> soundfile.SoundFile:
    try:
        if data is not None:
            return soundfile.SoundFile(BytesIO(data))
        if isinstance(source, BytesIO):
            source.seek(0)
            return soundfile.SoundFile(source)
        # as bytes, for names that are no text
        return soundfile.SoundFile(os.fsencode(source) if os.name == "posix" else os.fspath(source))
    except (soundfile.SoundFileError, OSError, TypeError) as error:
        if isinstance(error, OSError) or not (isinstance(source, BytesIO) or Path(source).exists()):
            found = getattr(error, "strerror", None) or "no such file"
        else:
            found = _reason(error)
        raise FitHubertError(f"{_name(source)}: expected an audio file, found: {found}") from error


def _blocks(file: soundfile.SoundFile, source: Source, dtype: str, size: int) -> Iterator[np.ndarray]:
    """The whole file in (T, C) blocks of `size`."""
    promised, count = file.frames, 0
    while count < promised:
        with _decoding(source):
            block = file.read(size, dtype=dtype, always_2d=True)
        if not len(block):
            break
        _check_finite(block, file, source)
        count += len(block)
        yield block
    with _raw(source) as raw:
        missing = missing_bytes(raw)
    short = count < promised and file.format != "MP3"  # an MP3's header only estimates
    if missing or short:
        found = f"{missing} fewer bytes" if missing else f"{count} samples of {promised}"
        raise FitHubertError(
            f"{_name(source)}: expected as much audio as its header says, found {found}; copy or unpack it again"
        )
    if not count:
        raise _empty(source)


@contextlib.contextmanager
def _decoding(source: Source) -> Iterator[None]:
    try:
        yield
    except soundfile.SoundFileError as error:
        raise FitHubertError(
            f"{_name(source)}: expected an audio file that decodes to its end, found: {_reason(error)}; copy or unpack "
            "it again"
        ) from error


def _check_finite(samples: np.ndarray, file: soundfile.SoundFile, source: Source) -> None:
    if file.subtype in ("FLOAT", "DOUBLE") and not np.isfinite(samples).all():
        raise FitHubertError(f"{_name(source)}: found NaN or infinite samples")


@contextlib.contextmanager
def _raw(source: Source) -> Iterator[BinaryIO]:
    if isinstance(source, BytesIO):
        yield source
    else:
        with open(source, "rb") as file:
            yield file


def _name(source: Source) -> str:
    return "a recording in memory" if isinstance(source, BytesIO) else printable(source)


def _empty(source: Source) -> FitHubertError:
    return FitHubertError(f"{_name(source)}: expected samples, found an empty file")


def _reason(error: Exception) -> str:
    return " ".join(str(getattr(error, "error_string", "") or error).split()) or type(error).__name__


def require_16k_mono(path: str | Path, rate: int, channels: int) -> None:
    """Raise FitHubertError unless a file has that rate and one channel."""
    if rate != SAMPLE_RATE:
        raise FitHubertError(
            f"{printable(path)}: expected {SAMPLE_RATE} Hz, found {rate} Hz; resample the corpus first"
        )
    if channels != 1:
        raise FitHubertError(f"{printable(path)}: expected a mono file, found {channels} channels")

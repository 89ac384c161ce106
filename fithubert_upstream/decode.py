"""The one place that decodes audio files: every error names its file. Imports no torch."""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile

from .errors import FitHubertError
from .walk import printable

BLOCK = 1 << 16  # samples
# A WAV that was written to a pipe holds a length of this size or more: nobody knew it yet. libsndfile says as much of a
# FLAC without a length.
UNKNOWN_BYTES, UNKNOWN_SAMPLES = 0x7FFF_F000, 1 << 40


@dataclass(frozen=True)
class Audio:
    """A decoded file: (T, C) `samples` in [-1, 1], `rate` in Hz, libsndfile's name `subtype` of its numbers."""

    samples: np.ndarray
    rate: int
    subtype: str


def read_audio(path: str | Path, dtype: str = "float32") -> Audio:
    """Decode a whole file.

    Parameters
    ----------
    path : a file of any kind that libsndfile decodes.
    dtype : "float32" or "float64".

    Raises
    ------
    FitHubertError
        It is not there, cannot be decoded to its end, is shorter than its header says, holds no sample, or holds NaN
        or infinity. The message begins with `path`.
    """
    blocks: list[np.ndarray] = []
    with _opened(path) as file:
        for block in _blocks(file, path, dtype):
            blocks.append(block)
        return Audio(blocks[0] if len(blocks) == 1 else np.concatenate(blocks), file.samplerate, file.subtype)


def measure(path: str | Path) -> tuple[int, int, int]:
    """(samples, Hz, channels) of a file, decoded to its end block by block. Raises as `read_audio`."""
    with _opened(path) as file:
        return sum(map(len, _blocks(file, path, "float32", BLOCK))), file.samplerate, file.channels


def header(path: str | Path) -> tuple[int, int, int]:
    """`measure` without decoding, where the header knows the length. Raises as `read_audio`, for what it sees."""
    with _opened(path) as file:
        known, rate, channels = file.frames, file.samplerate, file.channels
    if known >= UNKNOWN_SAMPLES:
        return measure(path)
    if known == 0:
        raise _empty(path)
    return known, rate, channels


def _opened(path: str | Path) -> soundfile.SoundFile:
    try:
        return soundfile.SoundFile(path)
    except (soundfile.SoundFileError, OSError, TypeError) as error:
        if isinstance(error, OSError) or not Path(path).exists():
            found = getattr(error, "strerror", None) or "no such file"
        else:
            found = f"{_reason(error)}"
        raise FitHubertError(f"{printable(path)}: expected an audio file, found: {found}") from error


def _blocks(file: soundfile.SoundFile, path: str | Path, dtype: str, size: int = 0) -> Iterator[np.ndarray]:
    """The whole file in (T, C) blocks of `size`, in one if that is 0 and the length is known."""
    promised, count = file.frames, 0
    known = promised < UNKNOWN_SAMPLES
    size = size or (max(promised, 1) if known else BLOCK)
    is_float = file.subtype in ("FLOAT", "DOUBLE")
    try:
        while not known or count < promised:
            block = _read(file, size, dtype, known)
            if not len(block):
                break
            if is_float and not np.isfinite(block).all():
                raise FitHubertError(f"{printable(path)}: found NaN or infinite samples")
            count += len(block)
            yield block
    except soundfile.SoundFileError as error:
        raise FitHubertError(
            f"{printable(path)}: expected an audio file that decodes to its end, found: {_reason(error)}; copy or "
            "unpack it anew"
        ) from error
    missing = _missing_bytes(path)
    short = known and count < promised and file.format != "MP3"  # an MP3's header only estimates
    if missing or short:
        found = f"{missing} bytes fewer" if missing else f"{count} samples of {promised}"
        raise FitHubertError(
            f"{printable(path)}: expected as much audio as its header says, found {found}; copy or unpack it anew"
        )
    if not count:
        raise _empty(path)


def _read(file: soundfile.SoundFile, size: int, dtype: str, known: bool) -> np.ndarray:
    if known:
        return file.read(size, dtype=dtype, always_2d=True)
    # At the end of a FLAC without a length libsndfile gives the last samples and an error at once.
    block = np.full((size, file.channels), np.nan, dtype)
    try:
        return block[: file.buffer_read_into(block, dtype=dtype)]
    except soundfile.SoundFileError:
        return block[: int((~np.isnan(block[:, 0])).sum())]


def _empty(path: str | Path) -> FitHubertError:
    return FitHubertError(f"{printable(path)}: expected samples, found an empty file")


def _reason(error: Exception) -> str:
    return " ".join(str(getattr(error, "error_string", "") or error).split()) or type(error).__name__


def _missing_bytes(path: str | Path) -> int:
    """Bytes of audio that a WAV's header promises and the file lacks (libsndfile lets that pass); 0 for other files."""
    with open(path, "rb") as file:
        size = os.fstat(file.fileno()).st_size
        start = file.read(12)
        if start[:4] != b"RIFF" or start[8:] != b"WAVE":
            return 0
        position = 12
        while len(chunk := file.read(8)) == 8:
            length = int.from_bytes(chunk[4:], "little")
            position += 8 + length
            if chunk[:4] == b"data":
                return max(0, position - size) if length < UNKNOWN_BYTES else 0
            position += length % 2  # chunks start at even places
            file.seek(position)
    return 0

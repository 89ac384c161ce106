"""16-bit samples from a pipe, such as `arecord` and `ffmpeg` write, as they come. Imports no torch."""

import struct
from collections.abc import Callable, Iterator
from typing import BinaryIO

import numpy as np
import soxr

from ..errors import FitHubertError, expect
from . import SAMPLE_RATE

TRY = "try: arecord -f S16_LE -r 16000 | fithubert listen -"
LARGEST = 1 << 16  # bytes taken from the pipe at a time
OTHERS = {b"fLaC": "FLAC", b"OggS": "Ogg", b"ID3\x03": "MP3", b"ID3\x04": "MP3", b"RF64": "RF64", b"FORM": "AIFF"}


def read_pcm(stream: BinaryIO, rate: int = SAMPLE_RATE, tell: Callable[[str], None] = print) -> Iterator[np.ndarray]:
    """Samples at 16 kHz, as the pipe gives them.

    Raw 16-bit little-endian mono samples at `rate` Hz; or a WAV of such samples, as `arecord` writes without `-t raw`,
    whose header says rate and channels, which are averaged. Another rate than 16 kHz is resampled.

    Parameters
    ----------
    stream : a binary file whose `read1` returns what is there, such as `sys.stdin.buffer`.
    rate : Hz of raw samples.
    tell : gets a line for what the user should know: that it is resampled, half a sample at the end.

    Returns
    -------
    Iterator of (T,) float32 arrays in [-1, 1], T >= 1.

    Raises
    ------
    FitHubertError
        The stream holds nothing, or a file of another format.
    """
    expect(4000 <= rate <= 384_000, "a rate of 4000 to 384000 Hz", rate)
    rest, channels = _at_least(stream, 4), 1
    if not rest:
        raise FitHubertError(f"standard input: expected 16-bit samples, found nothing (no microphone?); {TRY}")
    if rest[:4] in OTHERS:
        raise FitHubertError(
            f"standard input: expected 16-bit samples, found {OTHERS[rest[:4]]}; decode it: ffmpeg -i FILE -f s16le "
            f"-ac 1 -ar {SAMPLE_RATE} - | fithubert listen -"
        )
    if rest[:4] == b"RIFF":
        rate, channels, rest = _wav_header(stream, rest)
    resampler = None
    if rate != SAMPLE_RATE:
        tell(f"{rate} Hz is resampled to {SAMPLE_RATE} Hz")
        resampler = soxr.ResampleStream(rate, SAMPLE_RATE, 1, dtype="float32")
    size, heard = 2 * channels, False
    while True:
        whole = len(rest) // size * size
        samples = np.frombuffer(rest[:whole], "<i2").reshape(-1, channels).mean(axis=1, dtype=np.float32) / 32768
        rest = rest[whole:]
        heard = heard or len(samples) > 0
        if resampler is not None:
            samples = resampler.resample_chunk(samples)
        if len(samples):
            yield samples.astype(np.float32, copy=False)
        new = stream.read1(LARGEST)
        if not new:
            break
        rest += new
    if resampler is not None and len(samples := resampler.resample_chunk(np.zeros(0, np.float32), last=True)):
        yield samples
    if not heard:
        raise FitHubertError(f"standard input: expected 16-bit samples, found less than one; {TRY}")
    if rest:
        tell(f"bytes at the end that are no whole sample: {len(rest)}, left out; is the stream 16-bit?")


def _at_least(stream: BinaryIO, count: int, start: bytes = b"") -> bytes:
    """So many bytes or more, fewer only at the end of the stream."""
    while len(start) < count and (new := stream.read1(LARGEST)):
        start += new
    return start


def _wav_header(stream: BinaryIO, start: bytes) -> tuple[int, int, bytes]:
    """(rate, channels, what was read behind the header) of a WAV whose first bytes are `start`.

    A RIFF of chunks, each a name of 4 bytes, its size in 4 and so many bytes; samples lie in `data`, behind `fmt `
    (Microsoft and IBM, Multimedia Programming Interface, 1991). Sizes in a pipe's `data` are invented.
    """
    start, place, form = _at_least(stream, 12, start), 12, None
    while start[8:12] == b"WAVE":
        start = _at_least(stream, place + 8, start)
        if len(start) < place + 8:
            break
        name, size = struct.unpack("<4sI", start[place : place + 8])
        if name == b"data" or size > LARGEST:
            break
        start = _at_least(stream, place + 8 + size, start)
        if name == b"fmt " and size >= 16 and len(start) >= place + 24:
            form = struct.unpack("<HHIIHH", start[place + 8 : place + 24])
        place += 8 + size + size % 2
    # 1 is PCM; 0xFFFE says so further on, and its 16 bits are PCM in all that write to pipes
    if form is None or form[0] not in (1, 0xFFFE) or form[5] != 16 or not form[1] or not form[2]:
        found = "a damaged header" if form is None else f"format {form[0]} of {form[5]} bits"
        raise FitHubertError(f"standard input: expected a WAV of 16-bit samples, found {found}; {TRY}")
    return form[2], form[1], start[place + 8 :]

"""Samples from a pipe, in whatever pieces it gives them."""

import io
import struct

import numpy as np
import pytest
import soundfile
import soxr

from fithubert_upstream.audio.pcm import read_pcm
from fithubert_upstream.errors import FitHubertError

SAMPLES = (np.random.default_rng(0).normal(0, 3000, 5000)).astype("<i2")


class Pipe:
    """Gives pieces of some size, as a pipe does."""

    def __init__(self, content: bytes, size: int):
        self.file, self.size = io.BytesIO(content), size

    def read1(self, count):
        return self.file.read(min(count, self.size))


def read(content: bytes, size: int = 1001, **options):
    told = []
    return np.concatenate(list(read_pcm(Pipe(content, size), tell=told.append, **options))), told


def wav(samples, rate=16000, **options) -> bytes:
    file = io.BytesIO()
    soundfile.write(file, samples, rate, format="WAV", **options)
    return file.getvalue()


@pytest.mark.parametrize("size", [1, 3, 4096, 1 << 20])
def test_raw(size):
    samples, told = read(SAMPLES.tobytes(), size)
    np.testing.assert_array_equal(samples, SAMPLES / np.float32(32768))
    assert samples.dtype == np.float32 and told == []


@pytest.mark.parametrize("size", [1, 43, 1 << 20])
def test_the_header_of_a_wav_is_no_sound(size):
    """`arecord` writes one, unless told `-t raw`; its size of the data is invented in a pipe."""
    content = bytearray(wav(SAMPLES))
    content[4:8] = content[40:44] = struct.pack("<I", 0x7FFFFFFF)
    samples, told = read(bytes(content), size)
    np.testing.assert_array_equal(samples, SAMPLES / np.float32(32768))
    assert told == []


def test_channels_of_a_wav_are_averaged_and_its_rate_is_used():
    both = np.stack([SAMPLES, SAMPLES // 2], axis=1)
    samples, told = read(wav(both, 8000), rate=16000)
    expected = soxr.resample(both.mean(axis=1).astype(np.float32) / 32768, 8000, 16000)
    assert len(samples) == len(expected) and told == ["8000 Hz is resampled to 16000 Hz"]
    np.testing.assert_allclose(samples, expected, atol=2e-4)


def test_telephone_audio_is_resampled_and_said():
    samples, told = read(SAMPLES.tobytes(), rate=8000)
    assert len(samples) == 2 * len(SAMPLES) and told == ["8000 Hz is resampled to 16000 Hz"]


def test_half_a_sample_at_the_end():
    samples, told = read(SAMPLES.tobytes() + b"x")
    assert len(samples) == len(SAMPLES) and told == [
        "bytes at the end that are no whole sample: 1, left out; is the stream 16-bit?"
    ]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", ["found nothing", "no microphone", "arecord"]),
        (b"x", ["found less than one", "arecord"]),
        (b"fLaC0000", ["found FLAC", "ffmpeg"]),
        (wav(SAMPLES)[:30], ["found a damaged header"]),
        (b"RIFF....AVI 0000", ["found a damaged header"]),
        (wav(SAMPLES, subtype="PCM_24"), ["of 24 bits"]),
        (wav(SAMPLES / 32768, subtype="FLOAT"), ["format 3 of 32 bits"]),
    ],
)
def test_what_is_no_pcm(content, words):
    with pytest.raises(FitHubertError) as caught:
        read(content)
    assert all(word in str(caught.value) for word in words) and "\n" not in str(caught.value)


def test_rates_that_nobody_records():
    for rate in (0, -8000, 999):
        with pytest.raises(FitHubertError, match="a rate of 4000 to 384000 Hz"):
            read(SAMPLES.tobytes(), rate=rate)

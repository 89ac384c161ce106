"""A folder of recordings, and an upstream that is not the point: the sums of its frames, from which a test computes
the features itself."""

import numpy as np
import pytest
import soundfile

from fithubert_upstream.extract import run

HOP = 320


class Sums:
    """Features of (T,) samples that a test can compute itself: of each frame the sum, and the sum of squares."""

    parallel, batches = True, False

    def __init__(self, selection):
        self.selection = selection
        self.heard = []

    def __call__(self, waveforms):
        self.heard += [len(waveform) for waveform in waveforms]
        return [(sums_of(waveform), len(waveform) // HOP) for waveform in waveforms]

    def running(self):
        import contextlib

        return contextlib.nullcontext()


def sums_of(waveform):
    frames = waveform[: len(waveform) // HOP * HOP].reshape(-1, HOP)  # (L, 320)
    return np.stack([frames.sum(1), np.square(frames).sum(1)], axis=1).astype(np.float32)  # (L, 2)


@pytest.fixture
def sums(monkeypatch):
    """Every encoder is this one."""
    encoder = Sums(None)
    monkeypatch.setattr(run, "open_encoder", lambda *_: encoder)
    return encoder


@pytest.fixture
def folder(tmp_path):
    """Eight recordings of noise in two folders, 16 kHz, one channel."""
    draw = np.random.default_rng(0)
    for number in range(8):
        path = tmp_path / "audio" / "ab"[number % 2] / f"{number}.flac"
        path.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(path, draw.uniform(-0.5, 0.5, int(16000 * draw.uniform(0.2, 0.6))), 16000)
    return tmp_path / "audio"

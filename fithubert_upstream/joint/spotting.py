"""Keywords in a stream: a window that slides, a gate that saves work, and each word once."""

from collections import deque
from typing import Any, NamedTuple

import numpy as np

from ..audio import SAMPLE_RATE
from ..errors import expect
from ..export.numpy_features import check_samples
from .onnx_model import Scores

BLOCK = SAMPLE_RATE // 100  # samples whose energy is one number
WINDOW = 100  # blocks that the model hears: the second that its training clips last
HOP = 10  # blocks from one window to the next
TAIL = 15  # blocks at the end of a window that are quieter than the word
HEAD = 5  # blocks at its beginning that are, too
LOUD = 10  # blocks over which a word's loudest part is measured
EDGE_DB = 10.0  # how much quieter
QUIETEST = 1e-6  # mean square of that part below which nothing was said: 60 dB below full scale
THRESHOLD = 0.95  # mean probability from which on a word is told
SMOOTHED = 3  # windows of which that is the mean
REST = 80  # blocks after a word in which no other is told
VOICE = 4  # words at most that a voice is judged by, each with the second that it was heard in
FEWEST = 3  # and at least: of one word or two the embedding says little
RECENT = 3000  # blocks back to which such words are taken


class Keyword(NamedTuple):
    """A word that ended `at` seconds into the stream, how probable it is, and the embedding of the voice.

    `voices` are the words that the embedding is of; it is None where they are fewer than `FEWEST`.
    """

    at: float
    word: str
    confidence: float
    voices: int
    embedding: np.ndarray | None


class Spotter:
    """Push samples, get keywords.

    Every 0.1 s the model hears the last second if `holds_a_word` says that a word may lie in it. A word is told when
    its mean probability over the last windows, all of them heard, reaches the threshold; then nothing for 0.8 s, so
    that it is told once. `_silence_` and `_unknown_` are never told. What is kept, and what is done for each second,
    does not grow with the stream.

    One word is too short to tell a voice by. With `voices`, the embedding is that of the last words together, the four
    last of half a minute at most, which are taken to be one speaker's.

    Parameters
    ----------
    model : OnnxJoint or TorchJoint
        With a keyword head.
    threshold : float
        Above 0, at most 1. A higher one gives fewer false alarms and more misses (docs/streaming.md).
    voices : bool
        Embed the speaker, with a model that has a head for that.

    Attributes
    ----------
    seconds : float
        How much was heard.
    windows, runs : int
        Windows so far, and how many of them the model heard.

    Raises
    ------
    FitHubertError
        The model knows no keywords, or the threshold is out of range.
    """

    def __init__(self, model: Any, threshold: float = THRESHOLD, voices: bool = False):
        expect("ks" in model.tasks, "a model that knows keywords", "one that knows speakers alone")
        expect(0 < threshold <= 1, "a threshold above 0 and at most 1", threshold)
        expect("sv" in model.tasks or not voices, "a model that knows speakers", "one that knows keywords alone")
        self.model, self.threshold = model, threshold
        self.told = np.array([not name.startswith("_") for name in model.classes])
        self.recent: deque[Scores] = deque(maxlen=SMOOTHED)
        self.window = np.zeros(WINDOW * BLOCK, np.float32)
        self.waiting = np.zeros(0, np.float32)  # less than a hop
        self.seconds, self.windows, self.runs = 0.0, 0, 0
        self.rest_until = 0  # windows
        self.voice: deque[tuple[int, np.ndarray]] | None = deque(maxlen=VOICE) if voices else None  # (window, samples)

    def push(self, samples: np.ndarray) -> list[Keyword]:
        """Take the next (T,) float samples at 16 kHz; give the words that they complete.

        Raises FitHubertError if they are not 1-D, empty, not floating point, or hold NaN or infinity.
        """
        samples = check_samples(samples)
        self.seconds += len(samples) / SAMPLE_RATE
        return self._take(samples)

    def finish(self) -> list[Keyword]:
        """The words that the end of the stream completes: as if half a second of silence followed."""
        return self._take(np.zeros(SAMPLE_RATE // 2, np.float32))

    def _take(self, samples: np.ndarray) -> list[Keyword]:
        samples, size, found = np.concatenate([self.waiting, samples]), HOP * BLOCK, []
        whole = len(samples) // size * size
        for start in range(0, whole, size):
            self.window = np.concatenate([self.window[size:], samples[start : start + size]])
            self.windows += 1
            found += self._hear()
        self.waiting = samples[whole:].copy()
        return found

    def _hear(self) -> list[Keyword]:
        energy = np.square(self.window.reshape(WINDOW, BLOCK)).mean(axis=1)  # (WINDOW,)
        if not holds_a_word(energy):
            self.recent.clear()
            return []
        if self.windows < self.rest_until:
            return []
        self.runs += 1
        self.recent.append(self.model.scores(self.window))
        if len(self.recent) < SMOOTHED:
            return []
        mean = np.mean([scores.classes for scores in self.recent], axis=0)  # (K,)
        best = int(np.where(self.told, mean, -1.0).argmax())
        if mean[best] < self.threshold:
            return []
        self.rest_until = self.windows + REST // HOP
        self.recent.clear()
        (loud,) = np.nonzero(energy >= energy.max() / 100)  # within 20 dB
        at = (self.windows * HOP - WINDOW + int(loud[-1]) + 1) * BLOCK / SAMPLE_RATE
        return [Keyword(at, self.model.classes[best], float(mean[best]), *self._embed())]

    def _embed(self) -> tuple[int, np.ndarray | None]:
        """How many words the voice is known by, this one among them, and its embedding where they are enough."""
        if self.voice is None:
            return 0, None
        self.voice.append((self.windows, self.window))
        recent = [samples for when, samples in self.voice if (self.windows - when) * HOP <= RECENT]
        if len(recent) < FEWEST:
            return len(recent), None
        return len(recent), self.model.scores(np.concatenate(recent)).embedding


def holds_a_word(energy: np.ndarray) -> bool:
    """Whether a whole word may lie in a window: it is loud somewhere, and quieter at both ends.

    (WINDOW,) mean squares of its blocks. In running speech both ends are seldom quiet, so that this saves most of the
    work and most false alarms.
    """
    sums = np.concatenate([[0.0], energy.cumsum(dtype=np.float64)])
    loudest = (sums[LOUD:] - sums[:-LOUD]).max() / LOUD
    limit = loudest * 10 ** (-EDGE_DB / 10)
    return bool(loudest > QUIETEST and energy[-TAIL:].mean() < limit and energy[:HEAD].mean() < limit)

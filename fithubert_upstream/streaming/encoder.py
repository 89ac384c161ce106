"""Features while the sound still comes: the student on windows that slide over a stream."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from ..audio import SAMPLE_RATE
from ..errors import FitHubertError, expect
from ..export.numpy_features import OnnxFeatures, check_samples

HOP, FIRST = 320, 400  # samples from frame to frame, and samples that a frame's convolutions see
KEYS = ("last_hidden_state", "hidden_states", "projected_states")
Features = Callable[[np.ndarray], dict[str, np.ndarray]]


class StreamingEncoder:
    """Push samples, get frames of 20 ms.

    FitHuBERT was not made for streams: its attention looks both ways and its first norm takes the mean of a whole
    utterance. So the model runs on windows. A window gives the frames of one step, and sees `left` seconds before
    them and `look_ahead` seconds behind them. An utterance that fits into one window gives the features of
    `UpstreamExpert`; those of a longer one differ, the less so the wider the window (docs/streaming.md has the table).
    Work and memory of a push depend on the window and on the samples pushed, not on how long the stream is.

    Parameters
    ----------
    model : str, path, FitHubert, OnnxFeatures or callable
        What `load_fithubert` takes, or an `.onnx` of `fithubert export`, which needs no torch; or a model that is
        loaded; or any function of (T,) samples that returns what `OnnxFeatures` does.
    look_ahead : float
        Seconds behind a frame that must be there before it is given, at least 0.
    left : float
        Seconds before a step that the model sees, at least 0.
    step : float
        Seconds of frames that one window gives. A longer step costs less for each second, and delays its first frames.
    feature : str
        `last_hidden_state`, `hidden_states` or `projected_states`.

    Times are rounded up to 40 ms, two frames, which is one of the transformer's.

    Raises
    ------
    FitHubertError
        There is no such model, a time is negative, `step` is 0, or there is no such feature.
    """

    def __init__(
        self,
        model: Any = "fithubert_mini",
        look_ahead: float = 0.5,
        left: float = 4.0,
        step: float = 0.2,
        feature: str = "last_hidden_state",
    ):
        expect(feature in KEYS, f"a feature of {', '.join(KEYS)}", feature)
        for name, seconds in (("look_ahead", look_ahead), ("left", left)):
            expect(0 <= seconds < 3600, f"{name} of at least 0 seconds", seconds)
        expect(0 < step < 3600, "a step of more than 0 seconds", step)
        self.features, self.feature = load_features(model), feature
        self.step, self.left, self.ahead = (_pairs(seconds) for seconds in (step, left, look_ahead))
        self.reset()

    @property
    def latency(self) -> float:
        """Seconds from the beginning of a step's first frame until all samples that it waits for are there."""
        return ((self.step + self.ahead - 1) * HOP + FIRST) / SAMPLE_RATE

    def reset(self) -> None:
        """Forget the stream, for the next one."""
        self.buffer = np.zeros(0, np.float32)
        self.begin = 0  # the frame that the buffer begins with; even
        self.given = 0  # frames that were given

    def push(self, samples: np.ndarray) -> np.ndarray:
        """Take the next samples of the stream; give the frames that are ready.

        Parameters
        ----------
        samples : (T,) float samples in [-1, 1] at 16 kHz, at least one.

        Returns
        -------
        np.ndarray
            (n, D) float32, or (N, n, D) of a feature with N layers: the n frames behind those given before, n a
            multiple of a step's, often 0.

        Raises
        ------
        FitHubertError
            The samples are not 1-D, empty, not floating point, or hold NaN or infinity.
        """
        self.buffer = np.concatenate([self.buffer, check_samples(samples)])
        ready = []
        while (self.given + self.step + self.ahead - self.begin - 1) * HOP + FIRST <= len(self.buffer):
            ready.append(self._window(self.step, self.ahead))
        return self._join(ready)

    def finish(self) -> np.ndarray:
        """The frames that are left at the end of a stream, as `push` gives them; then `reset`.

        The stream has then given as many frames as `UpstreamExpert` gives for the whole.

        Raises
        ------
        FitHubertError
            Nothing was pushed.
        """
        if not self.given and not len(self.buffer):
            raise FitHubertError("expected samples before the end of the stream, found none")
        total = max(1, self.begin + (len(self.buffer) - FIRST) // HOP + 1)
        ready = []
        while self.given < total:
            ready.append(self._window(min(self.step, total - self.given), total))
        joined = self._join(ready)
        self.reset()
        return joined

    def _window(self, count: int, ahead: int) -> np.ndarray:
        """The next `count` frames, seen with so many behind them where the buffer has them."""
        end = (self.given + count + ahead - self.begin - 1) * HOP + FIRST
        frames = self.features(self.buffer[:end])[self.feature]
        inside = self.given - self.begin
        frames = frames[..., inside : inside + count, :]
        self.given += count
        passed = max(0, self.given - self.left - self.begin) // 2 * 2
        self.buffer = self.buffer[passed * HOP :]
        self.begin += passed
        return frames

    def _join(self, ready: list[np.ndarray]) -> np.ndarray:
        if ready:
            self.empty = ready[0][..., :0, :]
        elif not hasattr(self, "empty"):
            self.empty = self.features(np.zeros(FIRST, np.float32))[self.feature][..., :0, :]
        return np.concatenate(ready, axis=-2) if ready else self.empty


def load_features(model: Any) -> Features:
    """A function of (T,) samples that returns features as numpy arrays, of what `StreamingEncoder` takes."""
    if isinstance(model, str | Path):
        if str(model).lower().endswith(".onnx"):
            return OnnxFeatures(model)
        from ..checkpoints.load import load_fithubert

        model = load_fithubert(model)
    if hasattr(model, "frame_lengths"):  # a FitHubert
        from .tensors import TensorFeatures

        return TensorFeatures(model)
    expect(callable(model), "a name, a path, a FitHubert or an OnnxFeatures", type(model).__name__)
    return model


def _pairs(seconds: float) -> int:
    """Frames of so many seconds, rounded up to pairs."""
    return -int(-round(seconds * SAMPLE_RATE) // (2 * HOP)) * 2

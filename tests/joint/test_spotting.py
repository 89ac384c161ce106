"""Words in a stream: told once, at the right time, whatever the pieces are."""

import numpy as np
import pytest

from fithubert_upstream.errors import FitHubertError
from fithubert_upstream.joint.onnx_model import Scores, load_listener
from fithubert_upstream.joint.spotting import EDGE_DB, LOUD, SMOOTHED, WINDOW, Spotter, holds_a_word

CLASSES = ("yes", "no", "_unknown_", "_silence_")


class Pitch:
    """A model that takes a tone below 1 kHz for "yes", up to 3 kHz for "no", above for "_unknown_"."""

    tasks, classes, threshold = ("ks", "sv"), CLASSES, 0.5

    def __init__(self):
        self.heard = []

    def scores(self, window):
        self.heard.append(len(window))
        place = np.abs(np.fft.rfft(window)).argmax()  # in Hz, for a window of a second
        scores = np.full(4, 0.01)
        scores[0 if place < 1000 else 1 if place < 3000 else 2] = 0.97
        return Scores(scores, np.array([1.0, 0.0]))


def tone(hertz: float, seconds: float = 0.4) -> np.ndarray:
    return 0.3 * np.sin(2 * np.pi * hertz * np.arange(round(16000 * seconds)) / 16000)


def quiet(seconds: float) -> np.ndarray:
    return np.random.default_rng(0).normal(0, 1e-4, round(16000 * seconds))


def said(spotter: Spotter, *pieces: np.ndarray, size: int = 1600) -> list[tuple[str, float]]:
    stream, found = np.concatenate(pieces).astype(np.float32), []
    for start in range(0, len(stream), size):
        found += spotter.push(stream[start : start + size])
    return [(keyword.word, keyword.at) for keyword in found + spotter.finish()]


@pytest.mark.parametrize("size", [160, 1600, 1777, 1 << 20])
def test_each_word_is_told_once_with_its_end(size):
    pieces = quiet(0.9), tone(500), quiet(0.8), tone(2000), quiet(0.7), tone(500), quiet(1)
    found = said(Spotter(Pitch()), *pieces, size=size)
    assert [word for word, _ in found] == ["yes", "no", "yes"]
    np.testing.assert_allclose([at for _, at in found], [1.3, 2.5, 3.6], atol=0.011)


def test_a_word_at_the_very_end_and_at_the_very_beginning():
    assert said(Spotter(Pitch()), tone(500)) == [("yes", pytest.approx(0.4, abs=0.011))]


def test_what_is_no_keyword_is_not_told():
    assert said(Spotter(Pitch()), quiet(1), tone(5000), quiet(1)) == []
    assert said(Spotter(Pitch()), quiet(3)) == []


def test_the_threshold():
    pieces = quiet(1), tone(500), quiet(1)
    assert said(Spotter(Pitch(), 0.98), *pieces) == [] and len(said(Spotter(Pitch(), 0.96), *pieces)) == 1


def test_the_model_hears_no_silence_and_no_running_speech():
    for stream in (quiet(5), tone(500, 5)):
        model = Pitch()
        spotter = Spotter(model)
        for start in range(0, len(stream), 1600):
            spotter.push(stream[start : start + 1600].astype(np.float32))
        assert model.heard == [] or len(stream) and spotter.runs == len(model.heard) <= SMOOTHED
        assert spotter.windows == 50 and spotter.seconds == pytest.approx(5)


def test_a_voice_is_that_of_the_last_words():
    word, model = (tone(500), quiet(0.9)), Pitch()
    spotter = Spotter(model, voices=True)
    stream = np.concatenate([quiet(1), *5 * word, quiet(40), *word]).astype(np.float32)
    found = [keyword for start in range(0, len(stream), 1600) for keyword in spotter.push(stream[start : start + 1600])]
    assert [keyword.voices for keyword in found] == [1, 2, 3, 4, 4, 1]  # the last comes more than half a minute later
    assert [keyword.embedding is None for keyword in found] == [True, True, False, False, False, True]
    assert sorted({samples for samples in model.heard if samples > 16000}) == [48000, 64000]
    assert all(keyword.embedding is None for keyword in Spotter(Pitch()).push(stream))


def test_memory_does_not_grow():
    spotter = Spotter(Pitch())
    for _ in range(100):
        spotter.push(quiet(0.33).astype(np.float32))
    assert len(spotter.window) == 16000 and len(spotter.waiting) < 1600 and len(spotter.recent) <= SMOOTHED


def test_a_word_has_quiet_ends():
    energy = np.full(WINDOW, 1e-7)
    assert not holds_a_word(energy)
    energy[40:60] = 1e-3
    assert holds_a_word(energy)
    for end in (slice(None, LOUD), slice(-LOUD, None)):
        loud = energy.copy()
        loud[end] = 1e-3 * 10 ** (-(EDGE_DB - 3) / 10)
        assert not holds_a_word(loud)


def test_errors():
    model = Pitch()
    for threshold in (0, -1, 1.5, float("nan")):
        with pytest.raises(FitHubertError, match="a threshold above 0 and at most 1"):
            Spotter(model, threshold)
    model.tasks = ("sv",)
    with pytest.raises(FitHubertError, match="a model that knows keywords"):
        Spotter(model)
    model.tasks = ("ks",)
    with pytest.raises(FitHubertError, match="a model that knows speakers"):
        Spotter(model, voices=True)
    with pytest.raises(FitHubertError, match="divide by 32768"):
        Spotter(Pitch()).push(np.zeros(100, np.int16))


def test_real_words(real_data):
    """The embedded model and clips that it was trained on: most are told, nothing else is."""
    from fithubert_upstream.audio.decode import read_speech

    clips = [
        sorted((real_data / "speech_commands" / "train" / word).glob("*.wav"))[0] for word in ("yes", "stop", "left")
    ]
    pieces = [piece for clip in clips for piece in (quiet(1), read_speech(clip)[0])]
    found = [word for word, _ in said(Spotter(load_listener()), *pieces, quiet(1))]
    assert len(found) >= 2 and found == [word for word in ("yes", "stop", "left") if word in found]

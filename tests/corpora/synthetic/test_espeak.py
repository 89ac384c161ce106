import numpy as np
import pytest

from fithubert_upstream.corpora.synthetic.espeak import Voice, all_voices, speak
from fithubert_upstream.corpora.synthetic.sentences import random_sentence
from fithubert_upstream.errors import FitHubertError


def test_voices_are_many_and_differ():
    voices = all_voices()
    assert len({(voice.name, voice.pitch) for voice in voices}) == len(voices) >= 40
    assert len({voice.speaker for voice in voices}) == len(voices)
    spectra = []
    for voice in voices[:9]:
        audio = speak("a good voice", voice)
        spectrum = np.abs(np.fft.rfft(audio[: len(audio) // 512 * 512].reshape(-1, 512))).mean(0)
        spectra.append(spectrum / np.linalg.norm(spectrum))
    similarity = np.array(spectra) @ np.array(spectra).T
    assert np.triu(similarity, 1).max() < 0.99


def test_voices_are_told_apart_by_other_sentences():
    """By the nearest mean spectrum; MFCCs and F0 are right for 97 % of 216 sentences of all 72 voices."""
    generator = np.random.default_rng(0)
    voices = all_voices()[::6]
    heard = np.array([[_mean_spectrum(speak(random_sentence(generator), voice)) for _ in range(6)] for voice in voices])
    heard /= (heard - heard.mean(1, keepdims=True)).std((0, 1))
    known, new = heard[:, :4].mean(1), heard[:, 4:]
    nearest = ((new[:, :, None] - known) ** 2).sum(-1).argmin(-1)  # (voices, 2)
    right = (nearest == np.arange(len(voices))[:, None]).mean()
    assert right > 0.75, right  # by chance 1 / 12


def _mean_spectrum(audio):
    """24 bands, evenly wide in octaves, in log power; level taken out."""
    power = np.abs(np.fft.rfft(audio[: len(audio) // 1024 * 1024].reshape(-1, 1024) * np.hanning(1024))) ** 2
    edges = np.geomspace(4, 500, 25).astype(int)
    bands = np.log([power[:, low:high].sum(1) + 1e-4 for low, high in zip(edges, edges[1:], strict=False)]).mean(1)
    return bands - bands.mean()


def test_an_utterance_does_not_depend_on_those_before():
    """Also of Klatt voices with breath (Reed), whose noise is the C library's rand()."""
    voices = all_voices()
    forwards = [speak("sheila", voice, seed=5) for voice in voices]
    backwards = [speak("sheila", voice, seed=5) for voice in reversed(voices)][::-1]
    assert [v.name for v, a, b in zip(voices, forwards, backwards, strict=True) if not np.array_equal(a, b)] == []


def test_the_seed_is_that_of_the_breath():
    reed = next(voice for voice in all_voices() if voice.name.endswith("Reed"))
    one, other = speak("sheila", reed, seed=1), speak("sheila", reed, seed=2)
    assert len(one) == len(other) and not np.array_equal(one, other)


def test_unknown_voice_and_empty_text():
    with pytest.raises(FitHubertError, match="nobody"):
        speak("hello", Voice(1, "en-us-nobody"))
    with pytest.raises(FitHubertError, match="words"):
        speak("", all_voices()[0])

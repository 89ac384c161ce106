from dataclasses import replace

import numpy as np
import pytest

from fithubert_upstream.corpora.synthetic.espeak import all_voices
from fithubert_upstream.corpora.synthetic.recordings import (
    EQUALISER_HERTZ,
    NOISES,
    SAMPLE_RATE,
    Conditions,
    background_noise,
    coloured_noise,
    random_conditions,
    record,
    say,
    vary,
)

QUIET = Conditions(peak=0.5, noise=0, noise_slope=0, equaliser=np.zeros(len(EQUALISER_HERTZ)), room=np.ones(1))


@pytest.fixture
def generator():
    return np.random.default_rng(0)


def test_a_recording_is_the_seeds_own():
    voice, other = all_voices()[0], all_voices()[20]
    first = record("the quick brown fox", voice, np.random.default_rng(0))
    record("something else", other, np.random.default_rng(1))
    np.testing.assert_array_equal(first, record("the quick brown fox", voice, np.random.default_rng(0)))


def test_room_is_a_convolution(generator):
    speech, room = generator.standard_normal(3000), random_conditions(generator).room
    heard = replace(QUIET, room=room).apply(speech, generator)
    slow = np.convolve(speech, room)[: len(speech)]
    np.testing.assert_allclose(heard, 0.5 * slow / np.abs(slow).max(), atol=1e-6)


def test_equaliser_and_noise(generator):
    time = np.arange(SAMPLE_RATE) / SAMPLE_RATE
    tones = np.sin(2 * np.pi * 500 * time) + np.sin(2 * np.pi * 4000 * time)
    gains = np.array([6.0 if hertz <= 1000 else -6.0 for hertz in EQUALISER_HERTZ])
    spectrum = np.abs(np.fft.rfft(replace(QUIET, equaliser=gains).apply(tones, generator)))
    assert 20 * np.log10(spectrum[500] / spectrum[4000]) == pytest.approx(12, abs=0.5)

    noise = replace(QUIET, noise=0.1).apply(tones, generator) - QUIET.apply(tones, generator)
    assert noise.std() / QUIET.apply(tones, generator).std() == pytest.approx(0.1, rel=0.02)


@pytest.mark.parametrize("slope", [0, 1, 2])
def test_the_slope_of_coloured_noise(slope, generator):
    noise = coloured_noise(3 * SAMPLE_RATE, slope, generator)
    power = np.abs(np.fft.rfft(noise)) ** 2
    octaves = [power[3 * hertz : 6 * hertz].mean() for hertz in (100, 200, 400, 800, 1600, 3200)]
    decline = -np.polyfit(np.arange(6), np.log2(octaves), 1)[0]
    assert decline == pytest.approx(slope, abs=0.15)
    assert noise.std() == pytest.approx(1)


def test_sessions_differ_and_are_neither_silent_nor_clipped(generator):
    speech = say("the old house was red", all_voices()[0], generator)
    heard = [random_conditions(generator).apply(speech, generator) for _ in range(8)]
    for audio in heard:
        assert audio.shape == speech.shape and audio.dtype == np.float32
        assert 0.1 < np.abs(audio).max() <= 1 and (np.abs(audio) == 1).mean() < 1e-3
    spectra = np.log([np.abs(np.fft.rfft(audio))[100:2000].reshape(-1, 100).mean(1) for audio in heard])
    spectra -= spectra.mean(1, keepdims=True)
    distances = np.abs(spectra[:, None] - spectra).mean(-1)[~np.eye(8, dtype=bool)]
    assert distances.min() > 0.1  # in nepers: about 1 dB


def test_a_varied_voice_is_the_same_speaker(generator):
    voice = all_voices()[0]
    varied = [vary(voice, generator) for _ in range(30)]
    assert {(v.speaker, v.name) for v in varied} == {(voice.speaker, voice.name)}
    assert len(set(varied)) > 20
    assert max(abs(v.pitch - voice.pitch) for v in varied) == 3


def test_background_noises(generator):
    noises = [background_noise(kind, 20000, all_voices()[:2], generator) for kind in NOISES]
    for noise in noises:
        assert noise.shape == (20000,) and noise.dtype == np.float32
        assert 0.003 < noise.std() < 0.1 and np.abs(noise).max() <= 1
    likeness = np.abs(np.corrcoef(noises)) - np.eye(len(NOISES))
    assert likeness.max() < 0.2

"""Synthetic voices as if recorded: rooms, microphones, background noise."""

from dataclasses import dataclass, replace

import numpy as np
import soxr

from ...audio import SAMPLE_RATE
from .espeak import ESPEAK_RATE, Phone, Voice, speak_phones
from .sentences import random_sentence

# Also in lengths.py, which imports torch: 2 s for each process that synthesises speech and needs none.

EQUALISER_HERTZ = (0, 250, 500, 1000, 2000, 4000, 8000)
BABBLE_VOICES = 5
NOISE_SLOPES = {"white_noise": 0, "pink_noise": 1, "brown_noise": 2}
NOISES = (*NOISE_SLOPES, "running_tap", "mains_hum", "babble")


def say(text: str, voice: Voice, generator: np.random.Generator) -> np.ndarray:
    """(T,) float32 samples at 16 kHz of a text, without silence at its ends."""
    return _say(text, voice, generator)[0]


def _say(text: str, voice: Voice, generator: np.random.Generator) -> tuple[np.ndarray, list[Phone]]:
    speech, phones = speak_phones(text, voice, seed=int(generator.integers(2**31)))
    return soxr.resample(speech, ESPEAK_RATE, SAMPLE_RATE), phones


def record(text: str, voice: Voice, generator: np.random.Generator) -> np.ndarray:
    """A text as if recorded: some level, 0.1 to 0.25 s of room before and after, faint white noise.

    Returns
    -------
    np.ndarray
        (T,) float32 at 16 kHz.
    """
    return record_phones(text, voice, generator)[0]


def record_phones(text: str, voice: Voice, generator: np.random.Generator) -> tuple[np.ndarray, list[Phone]]:
    """`record`, and the phones, each up to the start of the next; the last is a pause."""
    speech, phones = _say(text, voice, generator)
    before, after = generator.integers(SAMPLE_RATE // 10, SAMPLE_RATE // 4, size=2)
    audio = np.pad(speech * generator.uniform(0.5, 0.8), (before, after))
    noise = generator.standard_normal(len(audio)) * 10 ** generator.uniform(-3.5, -3.0)
    shifted = [Phone(name, start + before / SAMPLE_RATE) for name, start in phones]
    return np.clip(audio + noise, -1, 1).astype(np.float32), shifted


def vary(voice: Voice, generator: np.random.Generator) -> Voice:
    """The same speaker on another day: pitch and rate move by less than what parts two speakers."""
    pitch, rate = generator.integers((-3, -10), (4, 11))
    return replace(voice, pitch=int(voice.pitch + pitch), rate=int(voice.rate + rate))


@dataclass(frozen=True)
class Conditions:
    """Room, microphone and noise of a recording session.

    Attributes
    ----------
    peak : float
        Loudest sample of the speech.
    noise : float
        Standard deviation of the noise over that of the speech.
    noise_slope : float
        0 white, 1 pink, 2 brown.
    equaliser : np.ndarray
        dB at EQUALISER_HERTZ.
    room : np.ndarray
        Impulse response; its first sample is the direct sound.
    """

    peak: float
    noise: float
    noise_slope: float
    equaliser: np.ndarray
    room: np.ndarray

    def apply(self, speech: np.ndarray, generator: np.random.Generator) -> np.ndarray:
        """(T,) clean speech -> (T,) float32 as heard through the microphone."""
        size = _fft_size(len(speech) + len(self.room))
        hertz = np.fft.rfftfreq(size, 1 / SAMPLE_RATE)
        gains = 10 ** (np.interp(hertz, EQUALISER_HERTZ, self.equaliser) / 20)
        spectrum = np.fft.rfft(speech, size) * np.fft.rfft(self.room, size) * gains
        audio = np.fft.irfft(spectrum, size)[: len(speech)]
        audio *= self.peak / np.abs(audio).max()
        audio += self.noise * audio.std() * coloured_noise(len(audio), self.noise_slope, generator)
        return np.clip(audio, -1, 1).astype(np.float32)


def random_conditions(generator: np.random.Generator) -> Conditions:
    """A session: peak 0.15 to 0.9, 15 to 40 dB over noise of some colour, an uneven microphone, a small room."""
    decay = generator.uniform(0.1, 0.4)  # seconds until the echoes have lost 60 dB
    seconds = np.arange(int(decay * SAMPLE_RATE)) / SAMPLE_RATE
    echoes = generator.standard_normal(len(seconds)) * 10 ** (-3 * seconds / decay)
    echoes *= 10 ** (-generator.uniform(5, 20) / 20) / np.linalg.norm(echoes)
    echoes[0] = 1
    return Conditions(
        peak=generator.uniform(0.15, 0.9),
        noise=10 ** (-generator.uniform(15, 40) / 20),
        noise_slope=generator.uniform(0, 2),
        equaliser=generator.normal(0, 4, size=len(EQUALISER_HERTZ)),
        room=echoes,
    )


def coloured_noise(samples: int, slope: float, generator: np.random.Generator) -> np.ndarray:
    """(samples,) Gaussian noise whose power falls as frequency to the `slope`, above 20 Hz; standard deviation 1."""
    size = _fft_size(samples)
    hertz = np.fft.rfftfreq(size, 1 / SAMPLE_RATE)
    spectrum = np.fft.rfft(generator.standard_normal(size)) * np.maximum(hertz, 20) ** (-slope / 2)
    noise = np.fft.irfft(spectrum, size)[:samples]
    return noise / noise.std()


def _fft_size(samples: int) -> int:
    """The power of two that holds them: lengths with large prime factors take many times longer."""
    return 1 << (samples - 1).bit_length()


def running_tap(samples: int, generator: np.random.Generator) -> np.ndarray:
    """(samples,) bright noise that flutters, over a pink rumble."""
    flutter = np.repeat(generator.uniform(0.3, 1, samples // 400 + 1), 400)[:samples]
    bright = np.diff(coloured_noise(samples + 1, 0, generator))
    return bright * flutter + 0.5 * coloured_noise(samples, 1, generator)


def mains_hum(samples: int, generator: np.random.Generator) -> np.ndarray:
    """(samples,) 50 Hz with overtones of random strength, over faint pink noise."""
    phase = 2 * np.pi * 50 * np.arange(samples) / SAMPLE_RATE
    hum = sum(generator.uniform(0.1, 1) / k * np.sin(k * phase + generator.uniform(0, 6)) for k in range(1, 12))
    return hum + 0.05 * coloured_noise(samples, 1, generator)


def babble(samples: int, voices: list[Voice], generator: np.random.Generator) -> np.ndarray:
    """(samples,) several people talking at once, each going round and round the same few sentences."""
    mixture = np.zeros(samples)
    for k in range(BABBLE_VOICES):
        voice = voices[k % len(voices)]
        speech = np.concatenate([say(random_sentence(generator), voice, generator) for _ in range(3)])
        mixture += np.resize(np.roll(speech, generator.integers(len(speech))), samples)
    return mixture


def background_noise(kind: str, samples: int, voices: list[Voice], generator: np.random.Generator) -> np.ndarray:
    """(samples,) float32 of one of NOISES at some level; the voices are those of the babble."""
    match kind:
        case "running_tap":
            noise = running_tap(samples, generator)
        case "mains_hum":
            noise = mains_hum(samples, generator)
        case "babble":
            noise = babble(samples, voices, generator)
        case _:
            noise = coloured_noise(samples, NOISE_SLOPES[kind], generator)
    noise *= 10 ** generator.uniform(-2.2, -1.2) / noise.std()
    return np.clip(noise, -1, 1).astype(np.float32)

"""Makes the inputs of this folder: generated bursts, and speech of eSpeak NG in three formats."""

from pathlib import Path

import numpy as np
import soundfile
import soxr

from fithubert_upstream.corpora.synthetic.espeak import all_voices, speak

HERE = Path(__file__).parent
LENGTHS = (1, 319, 320, 321, 1279, 1280, 1281, 1599, 1600, 1601, 1918, 1919, 1920, 3300)  # around 20 ms and 0.1 s
LEVELS = (0, 0, 0, 3e-4, 9e-4, 1.1e-3, 1.3e-3, 1.5e-3, 3e-3, 0.05, 0.5)  # around 0.1 %, before and after -3 dB


def bursts(seconds: float) -> np.ndarray:
    """Pieces of tone, noise and direct current, long and loud about as much as it takes."""
    generator = np.random.default_rng(0)
    pieces = [np.zeros(3000)]
    while sum(map(len, pieces)) < seconds * 16000:
        length, level = generator.choice(LENGTHS), generator.choice(LEVELS)
        tone = np.sqrt(2) * np.sin(np.arange(length) * generator.uniform(0.01, 0.5))
        noise = generator.standard_normal(length) if level < 0.01 else tone
        pieces.append(level * [tone, noise, np.ones(length)][generator.integers(3)])
    return np.concatenate([*pieces, np.full(700, 0.5)])


def write(name: str, samples: np.ndarray, rate: int) -> None:
    soundfile.write(HERE / name, np.clip(samples, -1, 1), rate, subtype="PCM_16")


if __name__ == "__main__":
    voice = all_voices()[0]
    one, two = (soxr.resample(speak(word, voice), 22050, 16000) for word in ("fit", "birds"))
    pause = 3e-4 * np.random.default_rng(1).standard_normal(4000)
    speech = np.concatenate([pause, one, pause, two, pause])
    left = soxr.resample(speech[3000:12000], 16000, 44100)
    write("bursts.flac", bursts(4), 16000)
    write("speech.flac", speech, 16000)
    write("stereo44.flac", np.stack([left, 0.25 * left[::-1]], axis=1), 44100)
    write("phone8.flac", soxr.resample(speech, 16000, 8000), 8000)

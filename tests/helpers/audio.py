"""Small recordings, whole and damaged, alone and in LibriSpeech's layout."""

import numpy as np
import soundfile


def noise(path, samples=16000, rate=16000, channels=1):
    path.parent.mkdir(parents=True, exist_ok=True)
    shape = samples if channels == 1 else (samples, channels)
    soundfile.write(path, np.random.default_rng(0).uniform(-0.5, 0.5, shape), rate)
    return path


def cut(path, share):
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])


def write_split(folder, lines, suffix="flac"):
    """Utterances of 1000, 1100, ... samples in LibriSpeech's layout."""
    for i, (name, words) in enumerate(lines.items()):
        speaker, chapter, _ = name.split("-")
        audio = noise(folder / speaker / chapter / f"{name}.{suffix}", samples=1000 + 100 * i)
        with open(audio.with_name(f"{speaker}-{chapter}.trans.txt"), "a") as file:
            file.write(f"{name} {words}\n")

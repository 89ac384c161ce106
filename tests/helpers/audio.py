"""Small recordings, whole and damaged, alone and in LibriSpeech's layout."""

import numpy as np
import soundfile


def noise(path, samples=16000, rate=16000, channels=1, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    shape = samples if channels == 1 else (samples, channels)
    soundfile.write(path, np.random.default_rng(0).uniform(-0.5, 0.5, shape), rate, **options)
    return path


def cut(path, share):
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])


def without_length(path):
    """A FLAC as it is written to a pipe: the number of samples in its header, 36 bits from byte 21 on, is 0."""
    data = bytearray(path.read_bytes())
    data[21] &= 0xF0
    data[22:26] = bytes(4)
    path.write_bytes(data)
    return path


def write_split(folder, lines, suffix="flac"):
    """Utterances of 1000, 1100, ... samples in LibriSpeech's layout."""
    for i, (name, words) in enumerate(lines.items()):
        speaker, chapter, _ = name.split("-")
        audio = noise(folder / speaker / chapter / f"{name}.{suffix}", samples=1000 + 100 * i)
        with open(audio.with_name(f"{speaker}-{chapter}.trans.txt"), "a") as file:
            file.write(f"{name} {words}\n")

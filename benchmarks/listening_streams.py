"""Streams to measure `fithubert listen -` on: speech without keywords, and keywords padded by silence."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from fithubert_upstream.audio import SAMPLE_RATE
from fithubert_upstream.audio.decode import read_speech

KEYWORDS = ("yes", "no", "up", "down", "left", "right", "on", "off", "stop", "go")
# Speakers of `speech_commands/train` who are in the official test set, too.
TEST_SPEAKERS = ("563aa4e6", "aef8dcf5", "af130f12", "dc75148d")
AUDIO = (".wav", ".flac", ".opus", ".ogg")
NOISE = 10 ** (-65 / 20)  # deviation of the silence between clips: a quiet room, 65 dB below full scale


def utterances_without(folder: Path, words: tuple[str, ...] = KEYWORDS) -> list[Path]:
    """Recordings below a folder of LibriSpeech's layout whose transcripts hold none of these words."""
    found = []
    for transcripts in sorted(folder.rglob("*.trans.txt")):
        for line in transcripts.read_text(encoding="utf-8").splitlines():
            name, _, text = line.partition(" ")
            if not set(text.lower().split()) & set(words):
                found += [path for ending in AUDIO if (path := transcripts.parent / f"{name}{ending}").is_file()]
    return found


def speech(paths: list[Path], seconds: float, seed: int = 0) -> np.ndarray:
    """(T,) utterances one after the other, in an order drawn by the seed, at most so many seconds."""
    order, parts, left = np.random.default_rng(seed).permutation(len(paths)), [], round(seconds * SAMPLE_RATE)
    for i in order:
        samples, _ = read_speech(paths[i])
        parts.append(samples[:left])
        left -= len(parts[-1])
        if left <= 0:
            break
    return np.concatenate(parts)


def clips(folder: Path, labels: tuple[str, ...] = KEYWORDS, without: tuple[str, ...] = ()) -> list[tuple[Path, str]]:
    """(path, label) of `folder/label/speaker_*` but for some speakers."""
    return [
        (path, label)
        for label in labels
        for path in sorted((folder / label).iterdir())
        if path.suffix in AUDIO and not path.name.startswith(without)
    ]


def words_in_silence(
    chosen: list[tuple[Path, str]], seed: int = 0
) -> Iterator[tuple[np.ndarray, tuple[int, int, str]]]:
    """Pieces of a stream, and in each the clip's (start, end, label) in samples from the stream's beginning.

    Each clip comes after 0.7 to 1.3 s of a quiet room.
    """
    draw, place = np.random.default_rng(seed), 0
    for i in draw.permutation(len(chosen)):
        path, label = chosen[i]
        clip, _ = read_speech(path)
        pause = draw.normal(0, NOISE, draw.integers(11200, 20800)).astype(np.float32)
        yield np.concatenate([pause, clip]), (place + len(pause), place + len(pause) + len(clip), label)
        place += len(pause) + len(clip)

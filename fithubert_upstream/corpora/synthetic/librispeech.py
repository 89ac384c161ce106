"""Synthetic read sentences in the layout of LibriSpeech."""

from functools import partial
from pathlib import Path

import numpy as np
import soundfile

from .corpus import Corpus, Task, cast_voices, describe, write_corpus
from .espeak import Voice
from .recordings import SAMPLE_RATE, record
from .sentences import phones, random_sentence

CHAPTER_SECONDS = 60
VOICES_A_MINUTE = 2
# Raised whenever the same parameters give other files, so that an older corpus is not taken for the same.
VERSION = 3


def plan_librispeech(minutes: dict[str, float], seed: int = 0) -> Corpus:
    """What `synthesise_librispeech` writes."""
    parameters = describe("librispeech", VERSION, minutes, seed)
    speakers = cast_voices({split: VOICES_A_MINUTE * minutes[split] for split in sorted(minutes)}, seed)
    tasks = []
    for split, voices in speakers.items():
        seconds = 60 * minutes[split] / len(voices)
        count = max(1, round(seconds / CHAPTER_SECONDS))
        for voice in voices:
            for k in range(count):
                tasks.append(Task(seconds / count, partial(_write_chapter, split, voice, k, seconds / count, seed)))
    return Corpus(parameters, speakers, tasks)


def synthesise_librispeech(
    root: str | Path,
    minutes: dict[str, float],
    seed: int = 0,
    jobs: int | None = None,
    progress: bool = True,
) -> Path:
    """Write a corpus of read sentences in the layout of LibriSpeech.

    `root/<split>/<speaker>/<chapter>/` holds `<speaker>-<chapter>-<utterance>.flac` (16 kHz, 16 bit, mono),
    `<speaker>-<chapter>.trans.txt` with a line `<utterance id> WORDS IN CAPITALS` for each, and
    `<speaker>-<chapter>.phones.txt` with a line `<utterance id> W ER1 D Z` in ARPAbet. A speaker has about
    half a minute (more where the voices do not suffice, two speakers at least) and is in one split only.
    `root/corpus.json` tells the parameters and the voices.

    The corpus appears at `root` when it is complete; what an interrupted call left is written anew. A
    complete one with the same parameters is kept as it is. The files do not depend on `jobs`.

    Parameters
    ----------
    root : path
        A folder that does not exist, is empty, or holds such a corpus.
    minutes : dict
        Minutes of audio of each split, e.g. `{"train": 20, "dev": 2, "test": 4}`.
    seed : int
    jobs : int, optional
        Processes; by default one for each core.
    progress : bool
        Show a bar.

    Raises
    ------
    FitHubertError
        `root` holds something else; `minutes` is empty or not positive, or has too many splits.
    """
    return write_corpus(root, plan_librispeech(minutes, seed), jobs, progress)


def _write_chapter(split: str, voice: Voice, k: int, wanted_seconds: float, seed: int, root: Path) -> None:
    """Write the k-th chapter of a speaker, at least so many seconds."""
    name = f"{voice.speaker}-{100 * voice.speaker + k}"
    folder = root / split / name.replace("-", "/")
    folder.mkdir(parents=True)
    words_of, phones_of, seconds = [], [], 0.0
    while seconds < wanted_seconds:
        # Each utterance has a generator of its own, so that none depends on the ones before it.
        generator = np.random.default_rng([seed, voice.speaker, k, len(words_of)])
        text = random_sentence(generator)
        audio = record(text, voice, generator)
        utterance = f"{name}-{len(words_of):04d}"
        soundfile.write(folder / f"{utterance}.flac", audio, SAMPLE_RATE, subtype="PCM_16")
        words_of.append(f"{utterance} {text.upper()}\n")
        phones_of.append(f"{utterance} {' '.join(phones(text))}\n")
        seconds += len(audio) / SAMPLE_RATE
    (folder / f"{name}.trans.txt").write_text("".join(words_of), encoding="utf-8")
    (folder / f"{name}.phones.txt").write_text("".join(phones_of), encoding="utf-8")

"""Synthetic read sentences in the layout of LibriSpeech."""

import re
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import soundfile

from ..items import HEAD, SUFFIX
from .corpus import Corpus, Piece, cast_voices, describe
from .espeak import Phone, Voice
from .recordings import SAMPLE_RATE, record_phones
from .sentences import phones, random_sentence

CHAPTER_SECONDS = 60
VOICES_A_MINUTE = 2
# Raised whenever the same parameters give other files, so that an older corpus is not taken for the same.
VERSION = 4


def plan_librispeech(minutes: dict[str, float], seed: int = 0) -> Corpus:
    """Read sentences in the layout of LibriSpeech.

    `<split>/<speaker>/<chapter>/` holds `<speaker>-<chapter>-<utterance>.flac` (16 kHz, 16 bit, mono),
    `<speaker>-<chapter>.trans.txt` with a line `<utterance id> WORDS IN CAPITALS` for each, and
    `<speaker>-<chapter>.phones.txt` with a line `<utterance id> W ER1 D Z` in ARPAbet, and `<speaker>-<chapter>.item`
    with eSpeak's triphones and their times (`corpora.items`). A speaker has about half a minute (more where the voices
    do not suffice, two speakers at least) and is in one split only.

    Parameters
    ----------
    minutes : dict
        Minutes of audio of each split, e.g. `{"train": 20, "dev": 2, "test": 4}`.
    seed : int

    Raises
    ------
    FitHubertError
        `minutes` is empty or not positive, or has too many splits.
    """
    parameters = describe("librispeech", VERSION, minutes, seed)
    speakers = cast_voices({split: VOICES_A_MINUTE * minutes[split] for split in sorted(minutes)}, seed)
    pieces = []
    for split, voices in speakers.items():
        seconds = 60 * minutes[split] / len(voices)
        count = max(1, round(seconds / CHAPTER_SECONDS))
        for voice in voices:
            for k in range(count):
                write = partial(_write_chapter, split, voice, k, seconds / count, seed)
                pieces.append(Piece(seconds / count, write))
    return Corpus(parameters, speakers, pieces)


def _write_chapter(split: str, voice: Voice, k: int, wanted_seconds: float, seed: int, root: Path) -> None:
    """Write the k-th chapter of a speaker, at least so many seconds."""
    name = f"{voice.speaker}-{100 * voice.speaker + k}"
    folder = root / split / name.replace("-", "/")
    folder.mkdir(parents=True)
    words_of, phones_of, items, seconds = [], [], [f"{' '.join(HEAD)}\n"], 0.0
    while seconds < wanted_seconds:
        # Each utterance has a generator of its own, so that none depends on the ones before it.
        generator = np.random.default_rng([seed, voice.speaker, k, len(words_of)])
        text = random_sentence(generator)
        audio, said = record_phones(text, voice, generator)
        utterance = f"{name}-{len(words_of):04d}"
        soundfile.write(folder / f"{utterance}.flac", audio, SAMPLE_RATE, subtype="PCM_16")
        words_of.append(f"{utterance} {text.upper()}\n")
        phones_of.append(f"{utterance} {' '.join(phones(text))}\n")
        items += [f"{utterance} {triphone} {voice.speaker}\n" for triphone in triphones(said)]
        seconds += len(audio) / SAMPLE_RATE
    (folder / f"{name}.trans.txt").write_text("".join(words_of), encoding="utf-8")
    (folder / f"{name}.phones.txt").write_text("".join(phones_of), encoding="utf-8")
    (folder / f"{name}{SUFFIX}").write_text("".join(items), encoding="utf-8")


def triphones(said: Sequence[Phone]) -> Iterator[str]:
    """`onset offset phone before after` of each phone between two others, pauses being none; stress is left out."""
    plain = [re.sub("[',%=|]", "", phone.name) for phone in said]
    plain = ["" if name.startswith("_") else name for name in plain]
    for number in range(1, len(said) - 2):
        before, phone, after = plain[number - 1 : number + 2]
        if before and phone and after:
            yield f"{said[number - 1].start:.4f} {said[number + 2].start:.4f} {phone} {before} {after}"

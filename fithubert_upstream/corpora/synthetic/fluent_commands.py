"""Synthetic spoken commands in the layout of Fluent Speech Commands: what is to be done, to what, and where."""

import csv
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import soundfile

from ...errors import FitHubertError
from ...files import atomic_path
from ..layouts.fluent_commands import SLOTS, TABLES, table_of
from .corpus import Corpus, Piece, cast_voices, describe
from .espeak import Voice
from .recordings import SAMPLE_RATE, random_conditions, say, vary


class Intent(NamedTuple):
    """What is asked for, and ways to say it."""

    action: str
    object: str
    location: str
    phrases: tuple[str, ...]


_PHRASES = {
    "activate": ("turn on the {object}", "switch the {object} on", "put the {object} on"),
    "deactivate": ("turn off the {object}", "switch the {object} off", "no more {object}"),
    "increase": ("turn up the {object}", "make the {object} higher", "give me more {object}"),
    "decrease": ("turn down the {object}", "make the {object} lower", "give me less {object}"),
    "bring": ("bring me the {object}", "get the {object} for me", "I need the {object}"),
    "choose": ("set the language to {object}", "please speak {object}", "use {object} from now on"),
}
_PLACES = {  # action -> its objects -> where; "none" is nowhere in particular
    "activate": {"lights": ("kitchen", "bedroom", "none"), "music": ("none",), "lamp": ("none",)},
    "deactivate": {"lights": ("kitchen", "bedroom", "none"), "music": ("none",), "lamp": ("none",)},
    "increase": {"heat": ("kitchen", "bedroom", "none"), "volume": ("none",)},
    "decrease": {"heat": ("kitchen", "bedroom", "none"), "volume": ("none",)},
    "bring": {"newspaper": ("none",), "juice": ("none",), "socks": ("none",), "shoes": ("none",)},
    "choose": {"English": ("none",), "German": ("none",), "Korean": ("none",), "Chinese": ("none",)},
}
INTENTS = tuple(
    Intent(action, thing, place, _PHRASES[action])
    for action, things in _PLACES.items()
    for thing, places in things.items()
    for place in places
)
SECONDS = 1.7  # of a recording, about
ROUND_SECONDS = SECONDS * len(INTENTS)
# Raised whenever the same parameters give other files, so that an older corpus is not taken for the same.
VERSION = 1


def plan_fluent_commands(minutes: dict[str, float], seed: int = 0) -> Corpus:
    """Commands in the layout of Fluent Speech Commands.

    `wavs/speakers/<speaker>/<speaker>-<round>-<number>.wav` (16 kHz, 16 bit, mono) are 26 intents of six actions,
    each said in one of three ways; `data/{train,valid,test}_data.csv` name them, with the columns of the corpus:
    path, speakerId, transcription, action, object, location. No speaker is in two tables, and each has room,
    microphone and noise of each round.

    A round of all intents takes about 45 s. Each speaker has one, two speakers of a table are the least, and where the
    voices do not suffice they have more.

    Parameters
    ----------
    minutes : dict
        `{"train": 20, "valid": 2, "test": 4}` gives 27, 3 and 5 speakers.
    seed : int

    Raises
    ------
    FitHubertError
        `minutes` has other splits or is not positive.
    """
    parameters = describe("fluent_commands", VERSION, minutes, seed)
    names = [table.removesuffix("_data.csv") for table in TABLES.values()]
    if set(minutes) != set(names):
        raise FitHubertError(f"expected minutes of {', '.join(names)}, found {', '.join(minutes) or 'none'}")
    speakers = cast_voices({name: 60 * minutes[name] / ROUND_SECONDS for name in ("test", "valid", "train")}, seed)
    pieces = []
    for split, name in zip(TABLES, names, strict=True):
        voices = speakers[name]
        total = max(len(voices), round(60 * minutes[name] / ROUND_SECONDS))
        rounds = [(voices[k % len(voices)], k // len(voices)) for k in range(total)]
        pieces += [Piece(ROUND_SECONDS, partial(_write_round, voice, number, seed)) for voice, number in rounds]
        pieces.append(Piece(0, partial(_write_table, split, rounds, seed)))
    return Corpus(parameters, speakers, pieces)


def sentence(intent: Intent, generator: np.random.Generator) -> str:
    """One way to say it."""
    text = intent.phrases[generator.integers(len(intent.phrases))].format(object=intent.object)
    return text if intent.location == "none" else f"{text} in the {intent.location}"


def _commands(voice: Voice, number: int, seed: int) -> list[tuple[str, Intent, str, np.random.Generator]]:
    """(recording, intent, text, generator of the rest) of the n-th round of a speaker."""
    found = []
    for k, intent in enumerate(INTENTS):
        generator = np.random.default_rng([seed, voice.speaker, number, k])
        path = f"wavs/speakers/{voice.speaker}/{voice.speaker}-{number}-{k:02d}.wav"
        found.append((path, intent, sentence(intent, generator), generator))
    return found


def _write_round(voice: Voice, number: int, seed: int, root: Path) -> None:
    generator = np.random.default_rng([seed, voice.speaker, number])
    conditions, mood = random_conditions(generator), vary(voice, generator)
    for path, _, text, draw in _commands(voice, number, seed):
        before, after = draw.integers(SAMPLE_RATE // 10, SAMPLE_RATE // 3, size=2)
        speech = np.pad(say(text, mood, draw), (before, after))
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(root / path, conditions.apply(speech, draw), SAMPLE_RATE, subtype="PCM_16")


def _write_table(split: str, rounds: list[tuple[Voice, int]], seed: int, root: Path) -> None:
    with atomic_path(table_of(root, split)) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow(["", "path", "speakerId", "transcription", *SLOTS])
        rows = [(voice, *command) for voice, number in rounds for command in _commands(voice, number, seed)]
        for k, (voice, path, intent, text, _) in enumerate(rows):
            values = [getattr(intent, slot) for slot in SLOTS]
            table.writerow([k, path, voice.speaker, text[0].upper() + text[1:], *values])

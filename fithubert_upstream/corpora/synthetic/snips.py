"""Synthetic requests in the layout of Audio SNIPS: sentences whose words fill slots."""

import re
from functools import partial
from pathlib import Path

import numpy as np
import soundfile

from ...errors import FitHubertError
from ...files import write_text
from ..layouts.snips import FOLDERS, OUTSIDE, TABLE, prepare_snips
from .corpus import Corpus, Piece, cast_voices, describe
from .espeak import Voice
from .recordings import SAMPLE_RATE, random_conditions, say, vary

VALUES = {  # slot -> what may fill it, in words that are said as they are written
    "artist": ("Martha Stone", "the Lucky Monkeys", "Owen King", "Ruth and Paul", "the Silver Fish", "George Moon"),
    "playlist": ("morning coffee", "summer beach", "quiet rain", "road music", "garden party", "late at night"),
    "city": ("London", "Paris", "Boston", "Chicago", "Madrid", "Toronto", "Berlin", "Denver"),
    "time": ("today", "tomorrow", "on Monday", "next Friday", "this evening", "in two hours"),
    "weather": ("rain", "snow", "wind", "fog", "sunshine", "a storm"),
    "dish": ("pizza", "noodles", "fish", "soup", "pancakes", "chicken"),
    "people": ("two", "three", "four", "five", "six", "seven", "eight", "nine"),
    "place": ("bar", "tavern", "cafe", "diner", "bakery", "restaurant"),
    "book": ("the yellow boat", "seven winters", "a thief in the house", "my young teacher", "the last island"),
    "stars": ("one", "two", "three", "four", "five"),
}
REQUESTS = {  # intent -> ways to ask; a slot in braces
    "AddToPlaylist": ("add {artist} to my list {playlist}", "put {artist} on {playlist}"),
    "PlayMusic": ("play something by {artist}", "I want to hear {playlist}", "play {playlist} {time}"),
    "GetWeather": ("will there be {weather} in {city} {time}", "what is the weather in {city}", "do we get {weather}"),
    "BookRestaurant": (
        "book a {place} for {people} in {city}",
        "a table for {people} {time}",
        "find {dish} at a {place}",
    ),
    "RateBook": ("give {book} {stars} stars", "I rate {book} {stars}"),
    "SearchCreativeWork": ("find {book}", "show me {book} please"),
}
SENTENCES = 24  # of a round: each intent four times
SECONDS = 2.2  # of a recording, about
ROUND_SECONDS = SECONDS * SENTENCES
# Raised whenever the same parameters give other files, so that an older corpus is not taken for the same.
VERSION = 1


def plan_snips(minutes: dict[str, float], seed: int = 0) -> Corpus:
    """Requests in the layout of Audio SNIPS.

    `{train,valid,test}/<speaker>-snips-<split>-<number>.wav` (16 kHz, 16 bit, mono) are requests of six intents with
    ten slots; `all.iob.snips.txt` has their words in capitals and their slots, `slots.txt` the slots. No speaker is in
    two splits, and each has room, microphone and noise of each round.

    A round of 24 requests takes about 53 s. Each speaker has one, two speakers of a split are the least, and where the
    voices do not suffice they have more.

    Parameters
    ----------
    minutes : dict
        `{"train": 20, "valid": 2, "test": 4}` gives 23, 2 and 5 speakers.
    seed : int

    Raises
    ------
    FitHubertError
        `minutes` has other splits or is not positive.
    """
    parameters = describe("snips", VERSION, minutes, seed)
    if set(minutes) != set(FOLDERS):
        raise FitHubertError(f"expected minutes of {', '.join(FOLDERS)}, found {', '.join(minutes) or 'none'}")
    speakers = cast_voices({name: 60 * minutes[name] / ROUND_SECONDS for name in ("test", "valid", "train")}, seed)
    pieces, rounds = [], []
    for folder in FOLDERS:
        voices = speakers[folder]
        total = max(len(voices), round(60 * minutes[folder] / ROUND_SECONDS))
        own = [(folder, voices[k % len(voices)], k // len(voices)) for k in range(total)]
        pieces += [Piece(ROUND_SECONDS, partial(_write_round, *one, seed)) for one in own]
        rounds += own
    pieces.append(Piece(0, partial(_write_table, rounds, seed)))
    return Corpus(parameters, speakers, pieces)


def request(intent: str, generator: np.random.Generator) -> tuple[list[str], list[str]]:
    """Words of one way to ask, and the slot of each."""
    words, slots = [], []
    for part in REQUESTS[intent][generator.integers(len(REQUESTS[intent]))].split():
        slot = re.fullmatch(r"{(.+)}", part)
        value = VALUES[slot[1]][generator.integers(len(VALUES[slot[1]]))] if slot else part
        words += value.split()
        slots += [slot[1] if slot else OUTSIDE] * len(value.split())
    return words, slots


def _requests(
    folder: str, voice: Voice, number: int, seed: int
) -> list[tuple[str, list[str], list[str], str, np.random.Generator]]:
    """(name, words, slots, intent, generator of the rest) of the n-th round of a speaker."""
    found = []
    for k in range(SENTENCES):
        generator = np.random.default_rng([seed, voice.speaker, number, k])
        intent = list(REQUESTS)[k % len(REQUESTS)]
        name = f"{voice.speaker}-snips-{folder}-{number * SENTENCES + k}"
        found.append((name, *request(intent, generator), intent, generator))
    return found


def _write_round(folder: str, voice: Voice, number: int, seed: int, root: Path) -> None:
    generator = np.random.default_rng([seed, voice.speaker, number])
    conditions, mood = random_conditions(generator), vary(voice, generator)
    (root / folder).mkdir(exist_ok=True)
    for name, words, _, _, draw in _requests(folder, voice, number, seed):
        before, after = draw.integers(SAMPLE_RATE // 10, SAMPLE_RATE // 3, size=2)
        speech = np.pad(say(" ".join(words), mood, draw), (before, after))
        soundfile.write(root / folder / f"{name}.wav", conditions.apply(speech, draw), SAMPLE_RATE, subtype="PCM_16")


def _write_table(rounds: list[tuple[str, Voice, int]], seed: int, root: Path) -> None:
    lines = [
        f"{name} BOS {' '.join(words).upper()} EOS\tO {' '.join(slots)} {intent}\n"
        for one in rounds
        for name, words, slots, intent, _ in _requests(*one, seed)
    ]
    write_text(root / TABLE, "".join(lines))
    prepare_snips(root, progress=False)

"""Synthetic single words in the layout of Speech Commands v0.01, as s3prl's keyword spotting reads it."""

import hashlib
from functools import partial
from itertools import count
from pathlib import Path

import numpy as np
import soundfile

from ...errors import FitHubertError
from ..layouts.speech_commands import BACKGROUND, COMMANDS, TEST_CLASSES, part_of_speaker
from .corpus import Corpus, Piece, cast_voices, describe
from .espeak import Voice
from .recordings import NOISES, SAMPLE_RATE, Conditions, background_noise, random_conditions, say, vary

OTHER_WORDS = tuple(
    "zero one two three four five six seven eight nine bed bird cat dog happy house marvin sheila tree wow".split()
)
WORDS = (*COMMANDS, *OTHER_WORDS)
NOISE_SECONDS = 30
# Of a voice: each of the 30 words once, and each of the 12 test classes twice, as long as the voices suffice.
TRAIN_SECONDS, TEST_SECONDS = len(WORDS), 2 * len(TEST_CLASSES)
# Raised whenever the same parameters give other files, so that an older corpus is not taken for the same.
VERSION = 1


def plan_speech_commands(minutes: dict[str, float], seed: int = 0) -> Corpus:
    """Clips of single words in the layout of Speech Commands v0.01 and of its test archive.

    `train/<word>/<8 hex digits>_nohash_<take>.wav`: the 30 words, 1 s or a little less (16 kHz, 16 bit,
    mono); the digits stand for the speaker, and their SHA1, by which s3prl splits this folder, puts a tenth
    of the speakers (one at least) into dev and none into the tenth that s3prl discards.
    `train/_background_noise_/*.wav`: six noises of 30 s.
    `test/<class>/*.wav`: the ten commands, `_unknown_` (one of the other 20 words) and `_silence_` (1 s
    of noise), all equally often, by speakers that are not in train.

    A minute of train is two speakers who say each word once, a minute of test two and a half who do each
    class twice; there are two at least of each, and where the voices do not suffice they say more takes.
    Each take of a speaker has its own room, microphone and noise.

    Parameters
    ----------
    minutes : dict
        `{"train": 10, "test": 2}` gives 20 x 30 and 5 x 24 clips.
    seed : int

    Raises
    ------
    FitHubertError
        `minutes` has other splits or is not positive.
    """
    parameters = describe("speech_commands", VERSION, minutes, seed)
    if set(minutes) != {"train", "test"}:
        raise FitHubertError(f"expected minutes of train and test, found {', '.join(minutes) or 'none'}")
    wanted = {"test": 60 * minutes["test"] / TEST_SECONDS, "train": 60 * minutes["train"] / TRAIN_SECONDS}
    speakers = cast_voices(wanted, seed)
    train, test = speakers["train"], speakers["test"]
    in_dev = train[-max(1, round(len(train) / 10)) :]

    pieces = [Piece(NOISE_SECONDS, partial(_write_background, kind, train, seed)) for kind in NOISES]
    for voice, take in _takes(minutes["train"], train, len(WORDS)):
        name = clip_name(voice, "dev" if voice in in_dev else "train", take)
        pieces.append(Piece(len(WORDS), partial(_write_train_clips, voice, name, [seed, voice.speaker, take])))
    test_takes = _takes(minutes["test"], test, len(TEST_CLASSES))
    for voice, take in test_takes:
        write = partial(_write_test_clips, voice, clip_name(voice, "left out", take), [seed, voice.speaker, take])
        pieces.append(Piece(len(TEST_CLASSES) - 1, write))
    pieces.append(Piece(len(test_takes), partial(_write_silences, len(test_takes), test, seed)))
    return Corpus(parameters, speakers, pieces)


def clip_name(voice: Voice, part: str, take: int) -> str:
    """`<8 hex digits>_nohash_<take>`, with digits that s3prl puts into "train", "dev" or "left out"."""
    for attempt in count():
        digits = hashlib.sha256(f"{voice.speaker} {attempt}".encode()).hexdigest()[:8]
        if part_of_speaker(digits) == part:
            return f"{digits}_nohash_{take}"


def _takes(minutes: float, voices: list[Voice], clips: int) -> list[tuple[Voice, int]]:
    """Who says all the words for which time, each voice once at least: (voice, its n-th take)."""
    total = max(len(voices), round(60 * minutes / clips))
    return [(voices[k % len(voices)], k // len(voices)) for k in range(total)]


def _say_word(word: str, voice: Voice, conditions: Conditions, generator: np.random.Generator) -> np.ndarray:
    """(T,) a word somewhere in a second; one clip of ten is up to a quarter shorter."""
    speech = say(word, vary(voice, generator), generator)[:SAMPLE_RATE]
    size = SAMPLE_RATE
    if generator.random() < 0.1:
        size = max(len(speech), int(SAMPLE_RATE * generator.uniform(0.75, 1)))
    before = generator.integers(size - len(speech) + 1)
    return conditions.apply(np.pad(speech, (before, size - len(speech) - before)), generator)


def _write_train_clips(voice: Voice, name: str, seeds: list[int], root: Path) -> None:
    conditions = random_conditions(np.random.default_rng(seeds))
    for k, word in enumerate(WORDS):
        clip = _say_word(word, voice, conditions, np.random.default_rng([*seeds, k]))
        _write(root / "train" / word / f"{name}.wav", clip)


def _write_test_clips(voice: Voice, name: str, seeds: list[int], root: Path) -> None:
    generator = np.random.default_rng(seeds)
    conditions = random_conditions(generator)
    other = OTHER_WORDS[generator.integers(len(OTHER_WORDS))]
    for k, word in enumerate((*COMMANDS, other)):
        clip = _say_word(word, voice, conditions, np.random.default_rng([*seeds, k]))
        place = f"_unknown_/{word}_{name}" if word == other else f"{word}/{name}"
        _write(root / "test" / f"{place}.wav", clip)


def _write_background(kind: str, voices: list[Voice], seed: int, root: Path) -> None:
    generator = np.random.default_rng([seed, NOISES.index(kind)])
    noise = background_noise(kind, NOISE_SECONDS * SAMPLE_RATE, voices, generator)
    _write(root / "train" / BACKGROUND / f"{kind}.wav", noise)


def _write_silences(count: int, voices: list[Voice], seed: int, root: Path) -> None:
    for k in range(count):
        generator = np.random.default_rng([seed, len(NOISES) + k])
        kind = NOISES[k % len(NOISES)]
        noise = background_noise(kind, SAMPLE_RATE, voices, generator)
        _write(root / "test" / "_silence_" / f"{kind}_{k}.wav", noise)


def _write(path: Path, audio: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, audio, SAMPLE_RATE, subtype="PCM_16")

"""Synthetic single words in the layout of Speech Commands v0.01, as s3prl's keyword spotting reads it."""

import hashlib
from functools import partial
from itertools import count
from pathlib import Path

import numpy as np
import soundfile

from ...errors import FitHubertError
from .corpus import Corpus, Task, cast_voices, describe, write_corpus
from .espeak import Voice
from .recordings import NOISES, SAMPLE_RATE, Conditions, background_noise, random_conditions, say, vary

COMMANDS = tuple("yes no up down left right on off stop go".split())
OTHER_WORDS = tuple(
    "zero one two three four five six seven eight nine bed bird cat dog happy house marvin sheila tree wow".split()
)
WORDS = (*COMMANDS, *OTHER_WORDS)
CLASSES = (*COMMANDS, "_unknown_", "_silence_")
NOISE_SECONDS = 30
# Of a voice: each of the 30 words once, and each of the 12 test classes twice, as long as the voices suffice.
TRAIN_SECONDS, TEST_SECONDS = len(WORDS), 2 * len(CLASSES)
# Raised whenever the same parameters give other files, so that an older corpus is not taken for the same.
VERSION = 1


def plan_speech_commands(minutes: dict[str, float], seed: int = 0) -> Corpus:
    """What `synthesise_speech_commands` writes."""
    parameters = describe("speech_commands", VERSION, minutes, seed)
    if set(minutes) != {"train", "test"}:
        raise FitHubertError(f"expected minutes of train and test, found {', '.join(minutes) or 'none'}")
    wanted = {"test": 60 * minutes["test"] / TEST_SECONDS, "train": 60 * minutes["train"] / TRAIN_SECONDS}
    speakers = cast_voices(wanted, seed)
    train, test = speakers["train"], speakers["test"]
    in_dev = train[-max(1, round(len(train) / 10)) :]

    tasks = [Task(NOISE_SECONDS, partial(_write_background, kind, train, seed)) for kind in NOISES]
    for voice, take in _takes(minutes["train"], train, len(WORDS)):
        name = clip_name(voice, "dev" if voice in in_dev else "train", take)
        tasks.append(Task(len(WORDS), partial(_write_train_clips, voice, name, [seed, voice.speaker, take])))
    test_takes = _takes(minutes["test"], test, len(CLASSES))
    for voice, take in test_takes:
        name = clip_name(voice, "test", take)
        tasks.append(Task(len(CLASSES) - 1, partial(_write_test_clips, voice, name, [seed, voice.speaker, take])))
    tasks.append(Task(len(test_takes), partial(_write_silences, len(test_takes), test, seed)))
    return Corpus(parameters, speakers, tasks)


def synthesise_speech_commands(
    root: str | Path,
    minutes: dict[str, float],
    seed: int = 0,
    jobs: int | None = None,
    progress: bool = True,
) -> Path:
    """Write clips of single words in the layout of Speech Commands v0.01 and of its test archive.

    `root/train/<word>/<8 hex digits>_nohash_<take>.wav`: the 30 words, 1 s or a little less (16 kHz, 16 bit,
    mono); the digits stand for the speaker, and their SHA1, by which s3prl splits this folder, puts a tenth
    of the speakers (one at least) into dev and none into the tenth that s3prl discards.
    `root/train/_background_noise_/*.wav`: six noises of 30 s.
    `root/test/<class>/*.wav`: the ten commands, `_unknown_` (one of the other 20 words) and `_silence_` (1 s
    of noise), all equally often, by speakers that are not in train.

    A minute of train is two speakers who say each word once, a minute of test two and a half who do each
    class twice; there are two at least of each, and where the voices do not suffice they say more takes.
    Each take of a speaker has its own room, microphone and noise.

    Parameters
    ----------
    root : path
        A folder that does not exist, is empty, or holds such a corpus.
    minutes : dict
        `{"train": 10, "test": 2}` gives 20 x 30 and 5 x 24 clips.
    seed, jobs, progress
        As of `synthesise_librispeech`, and so are the promises about interruptions and reuse.

    Raises
    ------
    FitHubertError
        `root` holds something else; `minutes` has other splits or is not positive.
    """
    return write_corpus(root, plan_speech_commands(minutes, seed), jobs, progress)


def clip_name(voice: Voice, part: str, take: int) -> str:
    """`<8 hex digits>_nohash_<take>`, with digits that s3prl takes for a speaker of "train", "dev" or "test"."""
    for attempt in count():
        digits = hashlib.sha256(f"{voice.speaker} {attempt}".encode()).hexdigest()[:8]
        if _part(digits) == part:
            return f"{digits}_nohash_{take}"


def _part(digits: str) -> str:
    """Where the rule of Speech Commands (and s3prl's split_dataset) puts a speaker: by the SHA1 of the name."""
    most = 2**27 - 1
    percentage = int(hashlib.sha1(digits.encode()).hexdigest(), 16) % (most + 1) * 100 / most
    return "dev" if percentage < 10 else "test" if percentage < 20 else "train"


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
    _write(root / "train" / "_background_noise_" / f"{kind}.wav", noise)


def _write_silences(count: int, voices: list[Voice], seed: int, root: Path) -> None:
    for k in range(count):
        generator = np.random.default_rng([seed, len(NOISES) + k])
        kind = NOISES[k % len(NOISES)]
        noise = background_noise(kind, SAMPLE_RATE, voices, generator)
        _write(root / "test" / "_silence_" / f"{kind}_{k}.wav", noise)


def _write(path: Path, audio: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, audio, SAMPLE_RATE, subtype="PCM_16")

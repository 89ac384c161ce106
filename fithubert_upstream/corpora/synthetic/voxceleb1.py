"""Synthetic speakers in several recording sessions, in the layout of VoxCeleb1, with its lists."""

from functools import partial
from itertools import combinations, product
from pathlib import Path

import numpy as np
import soundfile

from ...errors import FitHubertError
from ...files import write_text
from ..layouts.voxceleb1 import FIRST_SPEAKER, IDENTIFICATION
from .corpus import Corpus, Piece, cast_voices, describe
from .espeak import Voice, all_voices
from .recordings import SAMPLE_RATE, random_conditions, say, vary
from .sentences import random_sentence

SHORTEST, LONGEST = 3.0, 6.0  # seconds of an utterance
UTTERANCES = 5  # of a speaker, as long as the voices suffice
SESSION_UTTERANCES = 3
MOST_TARGETS = 2000
# Raised whenever the same parameters give other files, so that an older corpus is not taken for the same.
VERSION = 2


def plan_voxceleb1(minutes: dict[str, float], seed: int = 0) -> Corpus:
    """Speakers, each in two or more sessions, in the layout of VoxCeleb1, with lists for both of its tasks.

    `<split>/wav/id1<speaker>/<session>/0000<n>.wav` are 3 to 6 s of random sentences (16 kHz, 16 bit,
    mono); dev and test share no speaker. Room, microphone, level and noise are drawn anew for each session,
    so that they tell nothing about who speaks.
    `dev_trials.txt` and `test_trials.txt` hold lines `label path path`, the paths below `<split>/wav`:
    label 1 for the pairs of one speaker, all of which are from two sessions (2000 at most), and as many
    with label 0 for two speakers.
    `veri_test_class.txt` holds lines `1 path` (train), `2 path` (dev) and `3 path` (test) for the identification of
    dev's speakers: of each, the last fifth of the utterances is for test and the fifth before for dev, one at least.

    22.5 s (five utterances, 3 + 2 in two sessions) are one speaker; two speakers of four utterances are the
    least, and where the voices do not suffice they get more sessions of about three.

    Parameters
    ----------
    minutes : dict
        `{"dev": 15, "test": 3}` gives 40 and 8 speakers.
    seed : int

    Raises
    ------
    FitHubertError
        `minutes` has other splits or is not positive.
    """
    parameters = describe("voxceleb1", VERSION, minutes, seed)
    if set(minutes) != {"dev", "test"}:
        raise FitHubertError(f"expected minutes of dev and test, found {', '.join(minutes) or 'none'}")
    seconds = (SHORTEST + LONGEST) / 2
    speakers = cast_voices({split: 60 * minutes[split] / (UTTERANCES * seconds) for split in ("test", "dev")}, seed)
    pieces = []
    for number, (split, voices) in enumerate(speakers.items()):
        utterances = max(4, round(60 * minutes[split] / (len(voices) * seconds)))
        sessions = np.array_split(range(1, utterances + 1), max(2, round(utterances / SESSION_UTTERANCES)))
        sizes = [len(session) for session in sessions]
        for voice in voices:
            for session, size in enumerate(sizes):
                write = partial(_write_session, split, voice, session, size, seed)
                pieces.append(Piece(size * seconds, write))
        names = {voice.speaker: [utterance_names(voice, k, size) for k, size in enumerate(sizes)] for voice in voices}
        pieces.append(Piece(0, partial(_write_trials, split, list(names.values()), [seed, number])))
        if split == "dev":
            pieces.append(Piece(0, partial(_write_identification, list(names.values()))))
    return Corpus(parameters, speakers, pieces)


def utterance_names(voice: Voice, session: int, size: int) -> list[str]:
    """Paths of a session's utterances, relative to `wav`."""
    number = FIRST_SPEAKER + all_voices().index(voice)
    return [f"id{number}/session{session}/{n:05d}.wav" for n in range(1, size + 1)]


def _write_session(split: str, voice: Voice, session: int, size: int, seed: int, root: Path) -> None:
    generator = np.random.default_rng([seed, voice.speaker, session])
    conditions, mood = random_conditions(generator), vary(voice, generator)
    for n, name in enumerate(utterance_names(voice, session, size)):
        generator = np.random.default_rng([seed, voice.speaker, session, n])
        audio = conditions.apply(_talk(mood, generator.uniform(SHORTEST, LONGEST), generator), generator)
        path = root / split / "wav" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(path, audio, SAMPLE_RATE, subtype="PCM_16")


def _talk(voice: Voice, seconds: float, generator: np.random.Generator) -> np.ndarray:
    """(T,) sentences one after the other, broken off where the time is over, with a breath before and after."""
    before, after, pause = generator.integers(SAMPLE_RATE // 20, SAMPLE_RATE // 4, size=3)
    size = round(seconds * SAMPLE_RATE) - before - after
    speech = np.zeros(0, dtype=np.float32)
    while len(speech) < size:
        speech = np.concatenate([speech, say(random_sentence(generator), voice, generator), np.zeros(pause)])
    return np.pad(speech[:size], (before, after))


def _write_trials(split: str, speakers: list[list[list[str]]], seeds: list[int], root: Path) -> None:
    """Pairs of `speakers`: for each speaker, for each session, the utterances."""
    generator = np.random.default_rng(seeds)
    targets = [
        pair for sessions in speakers for one, other in combinations(sessions, 2) for pair in product(one, other)
    ]
    if len(targets) > MOST_TARGETS:
        targets = [targets[k] for k in sorted(generator.choice(len(targets), MOST_TARGETS, replace=False))]
    utterances = [[name for session in sessions for name in session] for sessions in speakers]
    others: dict[tuple[str, str], None] = {}  # a set that keeps its order
    while len(others) < len(targets):
        first, second = sorted(generator.choice(len(utterances), 2, replace=False))
        others[str(generator.choice(utterances[first])), str(generator.choice(utterances[second]))] = None
    lines = [f"1 {one} {other}\n" for one, other in targets] + [f"0 {one} {other}\n" for one, other in others]
    (root / f"{split}_trials.txt").write_text("".join(lines), encoding="utf-8")


def _write_identification(speakers: list[list[list[str]]], root: Path) -> None:
    """The parts of `speakers`: for each speaker, for each session, the utterances."""
    lines = []
    for sessions in speakers:
        names = [name for session in sessions for name in session]
        held = max(1, len(names) // 5)
        parts = ["1"] * (len(names) - 2 * held) + ["2"] * held + ["3"] * held
        lines += [f"{part} {name}\n" for part, name in zip(parts, names, strict=True)]
    write_text(root / IDENTIFICATION, "".join(lines))

"""Two synthetic speakers in each recording, with overlap and pauses, in the Kaldi folders of LibriMix."""

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import soundfile

from ...errors import FitHubertError
from ...files import write_text
from ..layouts.librimix import REFERENCE, SPLITS, Turn
from .corpus import Corpus, Piece, cast_voices, describe
from .espeak import Voice
from .recordings import SAMPLE_RATE, random_conditions, say, vary
from .sentences import random_sentence

VOICES_A_MINUTE = 1.5
SECONDS, RANGE = 12.0, 3.0  # of a recording: about, and by how much more or less
PEAKS = (0.3, 0.5)  # loudest sample of a speaker
TURNS, PAUSES = (1.0, 3.5), (0.3, 2.5)  # shortest and longest, in seconds, of each speaker
FADE = SAMPLE_RATE // 100  # samples over which a turn that is broken off ends
# Raised whenever the same parameters give other files, so that an older corpus is not taken for the same.
VERSION = 1


class Mixture(NamedTuple):
    """A recording that will be written.

    Attributes
    ----------
    name : str
    seconds : float
    voices : pair of Voice
    turns : list of Turn
        When they speak, named by their numbers.
    """

    name: str
    seconds: float
    voices: tuple[Voice, Voice]
    turns: list[Turn]


def plan_librimix(minutes: dict[str, float], seed: int = 0) -> Corpus:
    """Two speakers in each recording of 9 to 15 s, in Kaldi's folders as s3prl has them of LibriMix.

    `<split>/wav/<name>.wav` (16 kHz, 16 bit, mono) are sums of two voices, each in a room and with a microphone of its
    own but about as loud, that say random sentences in turns of 1 to 3.5 s with pauses of 0.3 to 2.5 s, whatever the
    other does; a turn may end within a word. `<split>/` also holds `wav.scp`, `segments`, `utt2spk`, `spk2utt`,
    `reco2dur` and `rttm`. train, dev and test share no speaker.

    A minute is five recordings; two speakers of a split are the least, and a pair may come again.

    Parameters
    ----------
    minutes : dict
        `{"train": 20, "dev": 2, "test": 4}` gives 100, 10 and 20 recordings of 30, 3 and 6 speakers.
    seed : int

    Raises
    ------
    FitHubertError
        `minutes` has other splits or is not positive.
    """
    parameters = describe("librimix", VERSION, minutes, seed)
    if set(minutes) != set(SPLITS):
        raise FitHubertError(f"expected minutes of {', '.join(SPLITS)}, found {', '.join(minutes) or 'none'}")
    wanted = {split: VOICES_A_MINUTE * minutes[split] for split in ("test", "dev", "train")}
    speakers = cast_voices(wanted, seed)
    pieces = []
    for split in SPLITS:
        count = max(1, round(60 * minutes[split] / SECONDS))
        mixtures = [_mixture(split, number, speakers[split], seed) for number in range(count)]
        pieces += [Piece(SECONDS, partial(_write_mixture, split, mixture, seed)) for mixture in mixtures]
        pieces.append(Piece(0, partial(_write_tables, split, mixtures)))
    return Corpus(parameters, speakers, pieces)


def _mixture(split: str, number: int, voices: list[Voice], seed: int) -> Mixture:
    generator = np.random.default_rng([seed, SPLITS.index(split), number])
    one, other = (voices[k] for k in generator.choice(len(voices), 2, replace=False))
    seconds = round(SECONDS + generator.uniform(-RANGE, RANGE), 2)
    turns = []
    for voice in (one, other):
        end = 0.0
        while True:
            start = end + generator.uniform(*PAUSES)
            end = start + generator.uniform(*TURNS)
            if end > seconds:
                break
            turns.append(Turn(round(start, 2), round(end, 2), str(voice.speaker)))
    return Mixture(f"{one.speaker}-{other.speaker}-{number:04d}", seconds, (one, other), turns)


def _write_mixture(split: str, mixture: Mixture, seed: int, root: Path) -> None:
    sides = []
    for voice in mixture.voices:
        generator = np.random.default_rng([seed, *map(ord, mixture.name), voice.speaker])
        conditions = replace(random_conditions(generator), peak=generator.uniform(*PEAKS))
        mood = vary(voice, generator)
        side = np.zeros(round(mixture.seconds * SAMPLE_RATE))
        for turn in mixture.turns:
            if turn.speaker == str(voice.speaker):
                start, end = (round(time * SAMPLE_RATE) for time in (turn.start, turn.end))
                side[start:end] = _talk(end - start, mood, generator)
        sides.append(conditions.apply(side, generator))
    audio = sum(sides)
    path = root / split / "wav" / f"{mixture.name}.wav"
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, audio / max(1.0, np.abs(audio).max()), SAMPLE_RATE, subtype="PCM_16")


def _talk(samples: int, voice: Voice, generator: np.random.Generator) -> np.ndarray:
    """(samples,) sentences one after the other, broken off where the time is over."""
    speech = np.zeros(0, dtype=np.float32)
    while len(speech) < samples:
        speech = np.concatenate([speech, say(random_sentence(generator), voice, generator)])
    speech = speech[:samples]
    speech[-FADE:] *= np.linspace(1, 0, FADE)
    return speech


def _write_tables(split: str, mixtures: list[Mixture], root: Path) -> None:
    lines: dict[str, list[str]] = {name: [] for name in ("wav.scp", "reco2dur", "segments", "utt2spk", REFERENCE)}
    spoken: dict[str, list[str]] = {}
    for name, seconds, _, turns in mixtures:
        lines["wav.scp"].append(f"{name} wav/{name}.wav\n")
        lines["reco2dur"].append(f"{name} {seconds}\n")
        for start, end, speaker in turns:
            utterance = f"{speaker}_{name}_{round(1000 * start):06d}_{round(1000 * end):06d}"
            lines["segments"].append(f"{utterance} {name} {start:.2f} {end:.2f}\n")
            lines["utt2spk"].append(f"{utterance} {speaker}\n")
            lines[REFERENCE].append(f"SPEAKER {name} 1 {start:.2f} {end - start:.2f} <NA> <NA> {speaker} <NA> <NA>\n")
            spoken.setdefault(speaker, []).append(utterance)
    lines["spk2utt"] = [f"{speaker} {' '.join(utterances)}\n" for speaker, utterances in spoken.items()]
    for table, content in lines.items():
        write_text(root / split / table, "".join(content))

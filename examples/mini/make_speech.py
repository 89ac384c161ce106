"""Hours of synthetic speech by many speakers, to pretrain and distil the embedded models on.

    python examples/mini/make_speech.py speech --hours 12

`fithubert synth` has 72 fixed voices and a small vocabulary. Here every speaker is drawn anew: one of eSpeak NG's
voice variants, an accent (one in four a foreign language's phones), pitch, range, rate, and a length of the vocal
tract; half of what is said are random words of the CMU dictionary. The recordings are clean: rooms,
microphones and noise are added in training, so that the targets can be those of clean speech.
"""

import argparse
from functools import partial
from pathlib import Path

import numpy as np
import soundfile
import soxr

from fithubert_upstream.audio.walk import find_audio
from fithubert_upstream.corpora import cmudict
from fithubert_upstream.corpora.synthetic.corpus import Corpus, Piece, describe, write_corpus
from fithubert_upstream.corpora.synthetic.espeak import ESPEAK_RATE, MEN, WOMEN, Voice, speak
from fithubert_upstream.corpora.synthetic.recordings import SAMPLE_RATE, random_conditions
from fithubert_upstream.corpora.synthetic.sentences import random_sentence
from fithubert_upstream.errors import FitHubertError

VERSION = 1
SPEAKER_SECONDS = 40
MORE_VARIANTS = """
    Andrea Andy Gene Hugo Jacky Lee Mario Michael Mike anika antonio aunty benjamin boris caleb ed edward grandpa
    gustave ian iven iven2 iven3 john linda marcelo max michel miguel norbert pablo pedro quincy rob robert sandro
    steph2 steph3 travis victor zac klatt klatt2 klatt4 klatt5 klatt6 m2 m6
""".split()
ACCENTS = ("en-us", "en-us", "en-us", "en-us", "en-us-nyc", "en", "en-gb-scotland", "en-029", "en-gb-x-rp")
FOREIGN = "de fr es it nl pl sv pt-br ro hu fi da tr id cs ca nb hr sw".split()
LONGEST_WORDS = 9
CLEAN = 0.25  # share of the utterances that are heard as they are


def draw_voice(speaker: int, generator: np.random.Generator) -> tuple[Voice, float]:
    """A speaker, and the factor by which all of its frequencies move (a shorter or longer vocal tract)."""
    variant = generator.choice([*WOMEN, *MEN, *MORE_VARIANTS])
    language = generator.choice(ACCENTS if generator.random() < 0.75 else FOREIGN)
    pitch, pitch_range, rate = generator.integers((20, 25, 130), (80, 80, 210)).tolist()
    return Voice(speaker, f"{language}+{variant}", pitch, pitch_range, rate), float(generator.uniform(0.84, 1.19))


def random_text(words: list[str], generator: np.random.Generator) -> str:
    """A sentence of the grammar, or random words of the dictionary."""
    if generator.random() < 0.5:
        return random_sentence(generator)
    return " ".join(generator.choice(words, size=generator.integers(1, LONGEST_WORDS + 1)))


def write_speaker(split: str, speaker: int, seed: int, root: Path) -> None:
    """SPEAKER_SECONDS of one speaker as `root/split/speaker/speaker-NNN.flac`, and as it is heard."""
    folder = root / split / f"{speaker}"
    folder.mkdir(parents=True)
    words = sorted(word for word, _ in cmudict.entries() if word.isalpha())
    generator = np.random.default_rng([seed, speaker])
    voice, factor = draw_voice(speaker, generator)
    seconds, count = 0.0, 0
    while seconds < SPEAKER_SECONDS:
        text = random_text(words, generator)
        try:
            audio = speak(text, voice, seed=int(generator.integers(2**31)))
        except FitHubertError:  # a word that this language's rules leave silent
            continue
        audio = soxr.resample(audio, ESPEAK_RATE * factor, SAMPLE_RATE)
        audio = np.pad(audio * generator.uniform(0.5, 0.8), generator.integers(800, 4000, size=2))
        audio = np.clip(audio + generator.standard_normal(len(audio)) * 10 ** generator.uniform(-4, -3), -1, 1)
        soundfile.write(folder / f"{speaker}-{count:03d}.flac", audio, SAMPLE_RATE, subtype="PCM_16")
        seconds += len(audio) / SAMPLE_RATE
        count += 1
    hear(folder, root / f"{split}-heard" / f"{speaker}", np.random.default_rng([seed, speaker, 1]))


def hear(clean: Path, folder: Path, generator: np.random.Generator) -> None:
    """A speaker's utterances, each somewhere else."""
    folder.mkdir(parents=True)
    for path in find_audio(clean):
        audio, _ = soundfile.read(path, dtype="float32")
        if generator.random() >= CLEAN:
            audio = random_conditions(generator).apply(audio, generator)
        soundfile.write(folder / path.name, audio, SAMPLE_RATE, subtype="PCM_16")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--hours", type=float, default=12.0, help="of training speech (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=1337)
    parser.add_argument("--jobs", type=int, help="processes (default: one for each core)")
    args = parser.parse_args()

    minutes = {"train": 60 * args.hours, "dev": max(1.0, 0.6 * args.hours)}
    counts = {split: round(60 * size / SPEAKER_SECONDS) for split, size in minutes.items()}
    first = {"train": 0, "dev": counts["train"]}  # no speaker is in both
    pieces = [
        Piece(SPEAKER_SECONDS, partial(write_speaker, split, first[split] + i, args.seed))
        for split, count in counts.items()
        for i in range(count)
    ]
    corpus = Corpus(describe("examples/mini", VERSION, minutes, args.seed), {}, pieces)
    write_corpus(args.folder, corpus, args.jobs)


if __name__ == "__main__":
    main()

"""Synthetic speech corpora, in the layouts of the real ones, for where the real ones cannot be had."""

import json
import multiprocessing
import os
import shutil
from dataclasses import asdict
from pathlib import Path

import numpy as np
import soundfile
import soxr
from tqdm import tqdm

from .errors import FitHubertError
from .espeak import ESPEAK_RATE, Voice, all_voices, speak
from .lengths import SAMPLE_RATE
from .sentences import phones, random_sentence

CHAPTER_SECONDS = 60
VOICES_A_MINUTE = 2
# Raised whenever the same parameters give other files, so that an older corpus is not taken for the same.
CORPUS_VERSION = 2
DESCRIPTION = "corpus.json"


def record(text: str, voice: Voice, generator: np.random.Generator) -> np.ndarray:
    """A text as if recorded: some level, 0.1 to 0.25 s of room before and after, faint white noise.

    Returns
    -------
    np.ndarray
        (T,) float32 at 16 kHz.
    """
    speech = soxr.resample(speak(text, voice, seed=int(generator.integers(2**31))), ESPEAK_RATE, SAMPLE_RATE)
    before, after = generator.integers(SAMPLE_RATE // 10, SAMPLE_RATE // 4, size=2)
    audio = np.pad(speech * generator.uniform(0.5, 0.8), (before, after))
    noise = generator.standard_normal(len(audio)) * 10 ** generator.uniform(-3.5, -3.0)
    return np.clip(audio + noise, -1, 1).astype(np.float32)


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
    root = Path(root)
    parameters = {"layout": "librispeech", "version": CORPUS_VERSION, "seed": seed, "minutes": dict(minutes)}
    for split, duration in parameters["minutes"].items():
        if not 0 < duration < float("inf") or not split or Path(split).name != split:
            raise FitHubertError(f"expected a split's name and minutes > 0, found {split!r}: {duration}")
    if _is_complete(root, parameters):
        return root
    speakers = _cast(parameters["minutes"], np.random.default_rng(seed))
    unfinished = root.with_name(root.name + ".partial")
    shutil.rmtree(unfinished, ignore_errors=True)

    chapters = []
    for split, voices in speakers.items():
        seconds = 60 * minutes[split] / len(voices)
        count = max(1, round(seconds / CHAPTER_SECONDS))
        for voice in voices:
            chapters += [(unfinished / split, voice, k, seconds / count, seed) for k in range(count)]
    jobs = min(jobs or os.cpu_count() or 1, len(chapters))
    total = round(60 * sum(minutes.values()))
    with tqdm(total=total, unit="s", desc=f"Speech for {root.name}", disable=not progress) as bar:
        if jobs == 1:
            for seconds in map(_write_chapter, chapters):
                bar.update(round(seconds))
        else:
            # spawn: a fork would copy the locks of whatever threads the caller has.
            with multiprocessing.get_context("spawn").Pool(jobs) as pool:
                for seconds in pool.imap_unordered(_write_chapter, chapters):
                    bar.update(round(seconds))

    voices = {split: [asdict(voice) for voice in cast] for split, cast in speakers.items()}
    description = json.dumps(parameters | {"speakers": voices}, indent=1)
    (unfinished / DESCRIPTION).write_text(description + "\n", encoding="utf-8")
    unfinished.rename(root)
    return root


def _is_complete(root: Path, parameters: dict) -> bool:
    """Whether this very corpus is at `root`; an error if anything else is."""
    if not root.exists() or (root.is_dir() and not any(root.iterdir())):
        return False
    advice = "give another folder, or remove this one"
    try:
        found = json.loads((root / DESCRIPTION).read_text(encoding="utf-8"))
        found = {key: found.get(key) for key in parameters}
    except (OSError, ValueError, AttributeError):
        raise FitHubertError(f"{root} holds something other than a synthetic corpus: {advice}") from None
    if found != parameters:
        raise FitHubertError(f"{root} holds a corpus of {found}, wanted is one of {parameters}: {advice}")
    return True


def _cast(minutes: dict[str, float], generator: np.random.Generator) -> dict[str, list[Voice]]:
    """Voices for each split, none of them in two: two a minute, fewer where there are not enough."""
    voices = all_voices()
    if not 0 < len(minutes) <= len(voices) // 2:
        raise FitHubertError(f"expected 1 to {len(voices) // 2} splits, found {len(minutes)}: change `minutes`")
    share = min(VOICES_A_MINUTE, len(voices) / sum(minutes.values()))
    counts = {split: max(2, round(duration * share)) for split, duration in sorted(minutes.items())}
    while sum(counts.values()) > len(voices):
        counts[max(counts, key=counts.get)] -= 1
    order = iter(generator.permutation(len(voices)))
    return {split: [voices[next(order)] for _ in range(count)] for split, count in counts.items()}


def _write_chapter(chapter: tuple[Path, Voice, int, float, int]) -> float:
    """Write the k-th chapter of a speaker, at least so many seconds; returns this number for the bar."""
    folder, voice, k, wanted_seconds, seed = chapter
    name = f"{voice.speaker}-{100 * voice.speaker + k}"
    folder = folder / name.replace("-", "/")
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
    return wanted_seconds

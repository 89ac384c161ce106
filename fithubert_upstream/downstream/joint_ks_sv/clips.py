"""The clips and trials of a joint run, out of Speech Commands, VoxCeleb1, or folders `speaker/word-take.flac`.

The readers raise FitHubertError, in one line, for whatever would stop a training later on.
"""

import os
import random
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ...audio.decode import header
from ...audio.scan import count_samples_16k, scan
from ...audio.walk import AUDIO, audio_in, files_in, find_audio, folders_in, other_audio_problems
from ...corpora.layouts.speech_commands import (
    BACKGROUND,
    check_speech_commands,
    speech_commands_clips,
    speech_commands_part,
)
from ...corpora.layouts.voxceleb1 import check_voxceleb1, trial_problems
from ...corpora.problems import require
from ...errors import FitHubertError
from .config import JointConfig, KeywordConfig, SpeakerConfig

UNKNOWN, SILENCE = "_unknown_", "_silence_"
SILENCE_SECONDS = 1.0


@dataclass(frozen=True)
class Clip:
    """A recording, or `SILENCE_SECONDS` of one from `start` (in seconds) on; `label` is its keyword or speaker."""

    path: Path
    label: str
    start: float | None = None


@dataclass(frozen=True)
class Trial:
    """Whether two recordings are of one speaker."""

    target: bool
    enrolment: Path
    test: Path


@dataclass(frozen=True)
class Keywords:
    classes: tuple[str, ...]
    train: list[Clip]
    dev: list[Clip]
    test: list[Clip]


@dataclass(frozen=True)
class SpeakerTrials:
    """Clips to train on, of `speakers`, and trials between others."""

    speakers: tuple[str, ...]
    train: list[Clip]
    dev: list[Trial]
    test: list[Trial]


def read_corpora(config: JointConfig) -> tuple[Keywords | None, SpeakerTrials | None]:
    """What each of the config's tasks is trained and tested on; None for a task that it leaves out."""
    keywords = read_keywords(config.ks) if "ks" in config.tasks else None
    return keywords, read_speakers(config.sv) if "sv" in config.tasks else None


def read_keywords(config: KeywordConfig) -> Keywords:
    """The clips of keyword spotting.

    Raises FitHubertError for an incomplete corpus, audio that is not whole, mono and 16 kHz, a word that is no
    class, and a class of dev or test without a clip to train on.
    """
    read = _speech_commands if config.corpus == "speech_commands" else _words
    splits = read(config)
    for name, clips in splits.items():
        if not clips:
            raise FitHubertError(f"{config.root}: expected clips for {name}, found none")
    trained = {clip.label for clip in splits["train"]}
    for name in ("dev", "test"):
        for clip in splits[name]:
            if clip.label not in trained:
                raise FitHubertError(
                    f"{clip.path}: expected a class that has clips to train on ({', '.join(sorted(trained))}), found "
                    f"{clip.label} in {name} only; add clips for train, or move it"
                )
    missing = [name for name in config.classes if name not in trained]
    if missing:
        raise FitHubertError(
            f"{config.root}: expected clips for train of every class, found none of {', '.join(missing)}; "
            "add clips, or take it out of classes"
        )
    _check_audio({clip.path for clips in splits.values() for clip in clips})
    return Keywords(config.classes, **splits)


def read_speakers(config: SpeakerConfig) -> SpeakerTrials:
    """The clips and trials of speaker verification.

    Raises FitHubertError for an incomplete corpus, audio that is not whole, mono and 16 kHz, fewer than two speakers
    to train on, and trials that name missing files or are all of one label.
    """
    found = _voxceleb1(config) if config.corpus == "voxceleb1" else _word_speakers(config)
    if len(found.speakers) < 2:
        raise FitHubertError(f"{config.root}: expected two speakers or more to train on, found {len(found.speakers)}")
    for name, trials in (("dev", found.dev), ("test", found.test)):
        if len({trial.target for trial in trials}) < 2:
            raise FitHubertError(
                f"{config.root}: expected {name} trials of both labels, 0 and 1, found {len(trials)} trials"
                f"{' of one' if trials else ''}; give more speakers, or another list"
            )
    heard = {path for trial in (*found.dev, *found.test) for path in (trial.enrolment, trial.test)}
    _check_audio({clip.path for clip in found.train} | heard)
    return found


def _check_audio(files: set[Path]) -> None:
    for length in scan(sorted(files), count_samples_16k, "Reading audio").values():
        if isinstance(length, str):
            raise FitHubertError(length)


# --- keyword spotting -------------------------------------------------------------------------------


def _speech_commands(config: KeywordConfig) -> dict[str, list[Clip]]:
    """s3prl's split of version 0.01 by speaker; the dev set made as even over the classes as the test set is."""
    root, test_root = Path(config.root), Path(config.test_root)
    require(check_speech_commands(root, test_root))
    splits: dict[str, list[Clip]] = {"train": [], "dev": [], "test": [], "left out": []}
    for word, path in speech_commands_clips(root):
        splits[speech_commands_part(path)].append(_clip(path, word, config.classes))
    if SILENCE in config.classes:
        for path in audio_in(root / BACKGROUND):
            windows = [Clip(path, SILENCE, start) for start in _windows(path)]
            held = max(1, len(windows) // 10)  # the end of each recording is for dev
            splits["train"] += windows[:-held] or windows
            splits["dev"] += windows[-held:]
    commands = [clip for clip in splits["dev"] if clip.label not in (UNKNOWN, SILENCE)]
    even = round(len(commands) / max(1, len({clip.label for clip in commands})))
    splits["dev"] = commands + [
        clip for label in (UNKNOWN, SILENCE) for clip in _some([c for c in splits["dev"] if c.label == label], even)
    ]
    splits["test"] = [_clip(path, word, config.classes) for word, path in speech_commands_clips(test_root)]
    del splits["left out"]
    return splits


def _windows(path: Path) -> list[float]:
    """Starts of the seconds of a recording, half overlapping."""
    samples, rate, _ = header(path)
    seconds = samples / rate
    return [start / 2 for start in range(int((seconds - SILENCE_SECONDS) * 2) + 1)]


def _some(clips: list[Clip], count: int) -> list[Clip]:
    return sorted(random.Random(0).sample(clips, min(count, len(clips))), key=lambda clip: (clip.path, clip.start or 0))


def _words(config: KeywordConfig) -> dict[str, list[Clip]]:
    """Folders `speaker/word-take.flac`."""
    return {
        name: [
            _clip(path, _word(path), config.classes)
            for speaker in getattr(config.speakers, name)
            for path in _recordings(config.root, speaker)
        ]
        for name in ("train", "dev", "test")
    }


def _clip(path: Path, word: str, classes: Sequence[str]) -> Clip:
    if word in classes:
        return Clip(path, word)
    if UNKNOWN in classes:
        return Clip(path, UNKNOWN)
    raise FitHubertError(
        f"{path}: expected one of the classes {', '.join(classes)}, found {word or 'a name without a word'}; add it to "
        f"ks.classes (or {UNKNOWN}, for all other words), or move the file"
    )


# --- speaker verification ---------------------------------------------------------------------------


def _voxceleb1(config: SpeakerConfig) -> SpeakerTrials:
    root = Path(config.root)
    if not config.trials:
        raise FitHubertError("sv: expected trials, the list of test trials such as voxceleb1_test_v2.txt, found none")
    require(check_voxceleb1(root, Path(config.dev_trials or os.devnull), Path(config.trials)))
    clips: dict[str, list[Path]] = defaultdict(list)
    for path in find_audio(root / "dev" / "wav"):
        clips[path.parts[-3]].append(path)
    speakers = sorted(clips)
    if config.dev_trials:
        dev = _read_trials(Path(config.dev_trials), root / "dev" / "wav")
        # whoever is tried is not trained on
        held = {path.parts[-3] for trial in dev for path in (trial.enrolment, trial.test)}
    else:
        held = set(random.Random(0).sample(speakers, min(config.dev_speakers, len(speakers))))
        dev = draw_trials({name: clips[name] for name in sorted(held)}, config.drawn_trials)
    trained = tuple(name for name in speakers if name not in held)
    test = _read_trials(Path(config.trials), root / "test" / "wav")
    return SpeakerTrials(trained, [Clip(path, name) for name in trained for path in clips[name]], dev, test)


def _word_speakers(config: SpeakerConfig) -> SpeakerTrials:
    trials = {}
    for name, listed in (("dev", config.dev_trials), ("test", config.trials)):
        clips = {speaker: _recordings(config.root, speaker) for speaker in getattr(config.speakers, name)}
        if listed:
            of_split = {path for paths in clips.values() for path in paths}
            everything = _read_trials(Path(listed), Path(config.root))
            trials[name] = [trial for trial in everything if {trial.enrolment, trial.test} <= of_split]
        else:
            trials[name] = draw_trials(clips, config.drawn_trials, by_word=True)
    speakers = config.speakers.train
    train = [Clip(path, speaker) for speaker in speakers for path in _recordings(config.root, speaker)]
    return SpeakerTrials(speakers, train, trials["dev"], trials["test"])


def _recordings(root: str, speaker: str) -> list[Path]:
    folder = Path(root, speaker)
    if not folder.is_dir():
        raise FitHubertError(
            f"{folder}: expected a folder of recordings of speaker {speaker}, found none; correct root or speakers"
        )
    for problem in other_audio_problems(files_in(folder)):
        raise FitHubertError(problem)
    for deeper in folders_in(folder):
        raise FitHubertError(f"{deeper}: expected recordings in {folder} only, found a folder in it; move it")
    files = audio_in(folder)
    if not files:
        raise FitHubertError(f"{folder}: expected {AUDIO} files, found none")
    return files


def _read_trials(trials: Path, root: Path) -> list[Trial]:
    """Lines `label path path`, the paths below `root`. Raises FitHubertError with the first line that is wrong."""
    problems: list[str] = []
    there = find_audio(root) if root.is_dir() else []
    trial_problems(trials, root, there, problems)
    if problems:
        more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
        raise FitHubertError(problems[0] + more)
    lines = [line.split() for line in trials.read_text(encoding="utf-8").splitlines()]
    return [Trial(label == "1", root / one, root / other) for label, one, other in lines]


def draw_trials(clips: dict[str, list[Path]], count: int, by_word: bool = False) -> list[Trial]:
    """`count` trials between the recordings of some speakers, the same ones every time: half of them targets.

    Fewer where there are no more pairs. `by_word`: files are named `word-take`, and a pair is of two words.
    """
    draw = random.Random(0)
    speakers = [speaker for speaker, paths in clips.items() if paths]
    trials: dict[bool, dict[tuple[Path, Path], None]] = {True: {}, False: {}}
    for target, pairs in trials.items():
        for _ in range(5 * count):  # enough to find them, or nearly all that there are
            if len(pairs) == count // 2 or len(speakers) < 2:
                break
            one, other = [draw.choice(speakers)] * 2 if target else draw.sample(speakers, 2)
            pair = tuple(sorted((draw.choice(clips[one]), draw.choice(clips[other]))))
            if pair[0] != pair[1] and not (by_word and _word(pair[0]) == _word(pair[1])):
                pairs[pair] = None
    return [Trial(target, *pair) for target, pairs in trials.items() for pair in pairs]


def _word(path: Path) -> str:
    return path.stem.rpartition("-")[0]

"""Speech Commands' layout: `root/<word>/<speaker>_nohash_<take>.wav`, and its test part."""

import hashlib
import re
import shlex
from collections import Counter
from pathlib import Path

from ...audio.scan import count_milliseconds, scan
from ...audio.walk import (
    AUDIO,
    audio_in,
    files_in,
    folders_in,
    is_audio,
    misplaced_problems,
    name_problems,
    other_audio_problems,
    printable,
)
from ..problems import Report

COMMANDS = ("yes", "no", "up", "down", "left", "right", "on", "off", "stop", "go")
TEST_CLASSES = (*COMMANDS, "_unknown_", "_silence_")
BACKGROUND = "_background_noise_"
CLIP_NAME = re.compile(r"(?P<speaker>.+)_nohash_\d+")  # without its suffix


def check_speech_commands(train_root: str | Path, test_root: str | Path, progress: bool = True) -> Report:
    """Check the training folder of Speech Commands, as s3prl splits it, and the folder of the 12 test classes.

    Parameters
    ----------
    train_root : path
        A folder of clips for each word, and `_background_noise_`.
    test_root : path
        A folder of clips for each of the 10 commands, `_unknown_` and `_silence_`.
    progress : bool
        Show bars.
    """
    train_root, test_root = Path(train_root), Path(test_root)
    problems: list[str] = []
    train = _class_folders(train_root, problems)
    test = _class_folders(test_root, problems)
    background = train.pop(BACKGROUND, [])
    clips = [clip for inside in train.values() for clip in inside]
    test_clips = [clip for inside in test.values() for clip in inside]
    parts = Counter(speech_commands_part(clip) for clip in clips)
    if train_root.is_dir():
        problems += _training_problems(train_root, train, background, parts)
    if test_root.is_dir():
        problems += _missing_words(test_root, TEST_CLASSES, test)
        classes = f"the 12 classes ({', '.join(TEST_CLASSES)})"
        extra = [word for word in test if word not in TEST_CLASSES]
        problems += [f"{test_root / word}: expected only {classes}, found this folder too; move it" for word in extra]

    lengths = scan([*clips, *background], count_milliseconds, "Reading Speech Commands", progress)
    test_lengths = scan(test_clips, count_milliseconds, "Reading its test set", progress)
    problems += [length for length in (lengths | test_lengths).values() if isinstance(length, str)]
    noise = {file: lengths[file] for file in background if isinstance(lengths[file], int)}
    problems += [  # s3prl cuts its silence out of them
        f"{file}: expected 1 s of background noise or more, found {length / 1000:.3f} s; remove it"
        for file, length in noise.items()
        if length < 1000
    ]
    speakers = {match["speaker"] for clip in clips if (match := CLIP_NAME.fullmatch(clip.stem))}
    counts = {
        "words": len(train),
        "speakers": len(speakers),
        "train clips": parts["train"],
        "dev clips": parts["dev"],
        "left out clips": parts["left out"],
        "background minutes": sum(noise.values()) / 60_000,
        "test clips": len(test_clips),
    }
    return Report(shlex.join(["speech_commands", str(train_root), "--test", str(test_root)]), counts, problems)


def speech_commands_clips(root: str | Path) -> list[tuple[str, Path]]:
    """(word, clip) of a folder of Speech Commands, the background noise left out, sorted."""
    words = [folder for folder in folders_in(root) if folder.name != BACKGROUND]
    return [(folder.name, file) for folder in words for file in audio_in(folder)]


def speech_commands_part(clip: Path) -> str:
    """Where s3prl puts a training clip: "train", "dev" or "left out", by the speaker's part of its name."""
    return part_of_speaker(re.sub(r"_nohash_.*$", "", clip.name))


def part_of_speaker(speaker: str) -> str:
    """Where s3prl puts a speaker: "train", "dev" or "left out".

    By the SHA1 of the name, as `split_dataset` in s3prl's downstream/speech_commands/expert.py.
    """
    largest = 2**27 - 1
    percent = int(hashlib.sha1(speaker.encode()).hexdigest(), 16) % (largest + 1) * (100 / largest)
    return "dev" if percent < 10 else "left out" if percent < 20 else "train"


def _class_folders(root: Path, problems: list[str]) -> dict[str, list[Path]]:
    """Folder name -> the audio files in it."""
    if not root.is_dir():
        problems.append(f"{root}: expected a folder of Speech Commands, found no such folder")
        return {}
    problems += misplaced_problems(root, "clips in folders of their words")
    clips: dict[str, list[Path]] = {}
    for folder in folders_in(root):
        inside = files_in(folder)
        problems += other_audio_problems(inside) + name_problems(inside, root)
        clips[folder.name] = [file for file in inside if is_audio(file)]
        if not clips[folder.name]:
            problems.append(f"{printable(folder)}: expected {AUDIO} files, found none")
        problems += [
            f"{printable(deeper)}: expected clips in {printable(folder)} only, found a folder in it; move it"
            for deeper in folders_in(folder)
        ]
    return clips


def _missing_words(root: Path, expected: tuple[str, ...], found: dict[str, list[Path]]) -> list[str]:
    return [f"{root}: expected a folder {word}, found none" for word in expected if word not in found]


def _training_problems(
    root: Path, words: dict[str, list[Path]], background: list[Path], parts: Counter[str]
) -> list[str]:
    problems = _missing_words(root, COMMANDS, words)
    if not any(clips for word, clips in words.items() if word not in COMMANDS):
        problems.append(f"{root}: expected a word besides the 10 commands (for the class _unknown_), found none")
    if not (root / BACKGROUND).is_dir():
        problems.append(f"{root}: expected a folder {BACKGROUND} (for the class _silence_), found none")
    for clips in words.values():
        for file in clips:
            if not CLIP_NAME.fullmatch(file.stem):
                problems.append(
                    f"{printable(file)}: expected a name <speaker>_nohash_<number>{file.suffix}, found another; "
                    "rename it"
                )
    for part in ("train", "dev"):
        if not parts[part]:
            problems.append(f"{root}: expected clips for {part} after the split by speaker, found none; add speakers")
    return problems

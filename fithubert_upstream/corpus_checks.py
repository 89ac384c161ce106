"""`fithubert check`: whether a corpus is complete and its audio whole, before hours are spent on it.

All problems are collected, one line each; every file is decoded once and remembered (`audio_scan`).
"""

import argparse
import hashlib
import os
import re
import shlex
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from .audio_scan import SAMPLE_RATE, count_milliseconds, scan
from .errors import FitHubertError
from .librispeech import Utterance, read_splits
from .walk import (
    AUDIO,
    audio_in,
    files_in,
    folders_in,
    is_audio,
    misplaced_problems,
    name_problems,
    other_audio_problems,
    printable,
    walk,
)

COMMANDS = ("yes", "no", "up", "down", "left", "right", "on", "off", "stop", "go")
TEST_CLASSES = (*COMMANDS, "_unknown_", "_silence_")
BACKGROUND = "_background_noise_"
CLIP_NAME = re.compile(r"(?P<speaker>.+)_nohash_\d+")  # without its suffix
HOUR_MS = 3_600_000
SHOWN_PROBLEMS = 50
# Of the official corpora, where a primary source or a count says so.
OFFICIAL_COUNTS = {"train-clean-100 utterances": 28_539, "test trials": 37_720}


@dataclass
class Report:
    """What a check found.

    Attributes
    ----------
    corpus : str
        What `fithubert check` takes to find it again, such as "librispeech /data/LibriSpeech".
    counts : dict
        Name to number, such as "dev-clean utterances".
    problems : list of str
        One line each: what was expected, what was found, in which file.
    """

    corpus: str
    counts: dict[str, int | float]
    problems: list[str]

    def __post_init__(self) -> None:
        self.problems = [printable(problem) for problem in self.problems]


def require(report: Report) -> None:
    """Raise FitHubertError with the first problem of a report that has any, and the number of the others."""
    if report.problems:
        more = len(report.problems) - 1
        others = f" (and {more} more: fithubert check {report.corpus} lists them)" if more else ""
        raise FitHubertError(report.problems[0] + others)


def check_librispeech(root: str | Path, splits: list[str] | None = None, progress: bool = True) -> Report:
    """Check `root/split/speaker/chapter/`: each utterance has a line and an audio file, mono, 16 kHz and whole.

    Parameters
    ----------
    root : path
    splits : list of str, optional
        By default every sub-folder that holds transcripts.
    progress : bool
        Show a bar.
    """
    return librispeech_report(root, *read_splits(root, splits, progress))


def librispeech_report(root: str | Path, utterances: dict[str, list[Utterance]], problems: list[str]) -> Report:
    """The report of what `librispeech.read_splits` gave."""
    counts: dict[str, int | float] = {}
    for split, members in utterances.items():
        counts[f"{split} utterances"] = len(members)
        counts[f"{split} speakers"] = len({utterance.audio.parent.parent for utterance in members})
        counts[f"{split} hours"] = sum(utterance.samples for utterance in members) / SAMPLE_RATE / 3600
    return Report(shlex.join(["librispeech", str(root)]), counts, problems)


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
    """Where s3prl puts a training clip: "train", "dev" or "left out", each speaker in one of them.

    By the SHA1 of the speaker's part of the name, as `split_dataset` in s3prl's
    downstream/speech_commands/expert.py.
    """
    largest = 2**27 - 1
    speaker = re.sub(r"_nohash_.*$", "", clip.name)
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


def check_voxceleb1(
    root: str | Path, dev_trials: Path | None = None, test_trials: Path | None = None, progress: bool = True
) -> Report:
    """Check `root/{dev,test}/wav/<speaker>/<session>/` and the trial lists.

    Parameters
    ----------
    root : path
    dev_trials : path, optional
        Lines `label path path`, paths below `dev/wav`. By default `root/dev_trials.txt`, if it is there:
        the official corpus has none, and os.devnull says the same.
    test_trials : path, optional
        Such lines, paths below `test/wav`. By default `root/test_trials.txt`, else
        `root/voxceleb1_test_v2.txt`.
    progress : bool
        Show bars.
    """
    root = Path(root)
    if dev_trials is None:
        dev_trials = root / "dev_trials.txt" if (root / "dev_trials.txt").is_file() else Path(os.devnull)
    if test_trials is None:
        own = root / "test_trials.txt"
        test_trials = own if own.is_file() else root / "voxceleb1_test_v2.txt"
    problems: list[str] = []
    counts: dict[str, int | float] = {}
    for part, trials in (("dev", Path(dev_trials)), ("test", Path(test_trials))):
        speakers = _speakers(root / part / "wav", problems)
        files = [file for inside in speakers.values() for file in inside]
        lengths = scan(files, count_milliseconds, f"Reading VoxCeleb1 {part}", progress)
        counts[f"{part} speakers"] = len(speakers)
        counts[f"{part} files"] = len(files)
        counts[f"{part} hours"] = sum(length for length in lengths.values() if isinstance(length, int)) / HOUR_MS
        problems += [length for length in lengths.values() if isinstance(length, str)]
        if trials != Path(os.devnull):
            counts[f"{part} trials"] = trial_problems(trials, root / part / "wav", files, problems)
    return Report(shlex.join(["voxceleb1", str(root)]), counts, problems)


def _speakers(wav: Path, problems: list[str]) -> dict[str, list[Path]]:
    """Speaker -> audio files in the folders of the sessions."""
    if not wav.is_dir():
        problems.append(f"{wav}: expected folders <speaker>/<session>/ with audio, found no such folder")
        return {}
    speakers: dict[str, list[Path]] = {entry.name: [] for entry in folders_in(wav)}
    if not speakers:
        problems.append(f"{wav}: expected folders of speakers, found none")
    for folder, files in walk(wav):
        parts = folder.relative_to(wav).parts
        audio = [file for file in files if is_audio(file)]
        problems += other_audio_problems(files) + name_problems(audio, wav)
        if len(parts) == 2:
            speakers[parts[0]] += audio
        else:
            expected = f"expected audio at {wav}/<speaker>/<session>/ only, found it here; move it"
            problems += [f"{printable(file)}: {expected}" for file in audio]
    problems += [
        f"{printable(wav / speaker)}: expected <session>/ with {AUDIO} files, found none"
        for speaker, files in speakers.items()
        if not files
    ]
    return speakers


def trial_problems(trials: Path, wav: Path, files: list[Path], problems: list[str]) -> int:
    """Append what is wrong with a trial list; returns its number of lines."""
    try:
        lines = trials.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeError) as error:
        problems.append(f"{trials}: expected a list of trials `label path path`, found: {error}")
        return 0
    there = {file.relative_to(wav).as_posix() for file in files}
    labels: set[str] = set()
    missing: dict[str, list[int]] = {}  # path -> numbers of the lines that name it
    for number, line in enumerate(lines, start=1):
        fields = line.split()
        if len(fields) != 3 or fields[0] not in ("0", "1"):
            problems.append(f"{trials}, line {number}: expected `0 path path` or `1 path path`, found {line[:80]!r}")
            continue
        labels.add(fields[0])
        for path in fields[1:]:
            if path not in there:
                missing.setdefault(path, []).append(number)
    if not wav.is_dir():  # one line says it
        missing = {}
    for path, numbers in missing.items():
        also = f" (also in {len(numbers) - 1} later lines)" if len(numbers) > 1 else ""
        problems.append(f"{trials}, line {numbers[0]}: expected {path} in {wav}, found no such file{also}")
    if labels != {"0", "1"}:
        found = f"only {labels.pop()}" if labels else "no trial"
        problems.append(f"{trials}: expected trials of both labels, 0 and 1, found {found}")
    return len(lines)


def main(argv: list[str]) -> None:
    """`fithubert check CORPUS DIR`: print what is there and every problem.

    Raises
    ------
    FitHubertError
        There are problems.
    """
    parser = argparse.ArgumentParser(
        prog="fithubert check",
        description="Check that a corpus is complete and that all its audio can be decoded.",
        epilog="example: fithubert check librispeech /data/LibriSpeech",
    )
    parser.add_argument("corpus", choices=["librispeech", "speech_commands", "voxceleb1"])
    parser.add_argument(
        "folder",
        metavar="DIR",
        help="librispeech: holds train-clean-100 and so on; speech_commands: holds train and test, or "
        "speech_commands_v0.01 and speech_commands_test_set_v0.01; voxceleb1: holds dev/wav and test/wav",
    )
    parser.add_argument(
        "--test", metavar="DIR", help="speech_commands: where the test set is; the first DIR then is the training set"
    )
    args = parser.parse_args(argv)
    if args.test is not None and args.corpus != "speech_commands":
        raise FitHubertError(f"--test: expected it with speech_commands only, found it with {args.corpus}")
    if args.corpus == "librispeech":
        report = check_librispeech(args.folder)
    elif args.corpus == "speech_commands":
        report = check_speech_commands(*_speech_commands_roots(Path(args.folder), args.test))
    else:
        report = check_voxceleb1(args.folder)
    print(_table(report))
    for problem in report.problems[:SHOWN_PROBLEMS]:
        print(problem)
    if len(report.problems) > SHOWN_PROBLEMS:
        print(f"... and {len(report.problems) - SHOWN_PROBLEMS:,} more")
    if report.problems:
        raise FitHubertError(f"{len(report.problems):,} problem{'s'[: len(report.problems) > 1]} in {args.folder}")
    print("no problems found")


def _speech_commands_roots(folder: Path, test: str | None) -> tuple[Path, Path]:
    if test is not None:
        return folder, Path(test)
    names = [("train", "test"), ("speech_commands_v0.01", "speech_commands_test_set_v0.01")]
    for pair in names:
        if any((folder / name).is_dir() for name in pair):
            return folder / pair[0], folder / pair[1]
    expected = ", or ".join(" and ".join(pair) for pair in names)
    raise FitHubertError(f"{folder}: expected folders {expected}, found neither; name the test set with --test DIR")


def _table(report: Report) -> str:
    """The counts of a report, the official ones beside them where they are known."""
    official = {name: f"{OFFICIAL_COUNTS[name]:,}" for name in report.counts if name in OFFICIAL_COUNTS}
    rows = [("", "found", "official" if official else "")]
    for name, count in report.counts.items():
        rows.append((name, f"{count:,}" if isinstance(count, int) else f"{count:,.2f}", official.get(name, "")))
    wide = max(len(name) for name, _, _ in rows)
    lines = [f"  {name:<{wide}} {found:>9} {count:>9}".rstrip() for name, found, count in rows]
    return "\n".join([report.corpus, *lines] if report.counts else [report.corpus])

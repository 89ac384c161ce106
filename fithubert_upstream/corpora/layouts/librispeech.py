"""Reading a corpus in LibriSpeech's layout: `root/split/speaker/chapter/*.trans.txt` beside .flac or .wav files."""

import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from ...audio import SAMPLE_RATE
from ...audio.scan import count_samples_16k, scan
from ...audio.walk import (
    AUDIO,
    audio_in,
    folders_in,
    is_audio,
    is_other_audio,
    misplaced_problems,
    name_problems,
    other_audio_problems,
    printable,
    walk,
)
from ...errors import FitHubertError
from ..problems import Report

TRANSCRIPT = ".trans.txt"


class Line(NamedTuple):
    """A line of a transcript.

    Attributes
    ----------
    name : str
        Of the utterance; "" for an empty line.
    words : list of str
        In upper case.
    audio : Path, optional
        The file of that name beside the transcript.
    problem : str
        What is wrong with the line, naming the transcript; "" if it is sound.
    """

    name: str
    words: list[str]
    audio: Path | None
    problem: str


@dataclass(frozen=True)
class Utterance:
    """A sound utterance: its audio file, its words in upper case, its samples at 16 kHz."""

    audio: Path
    words: list[str]
    samples: int


def read_transcript(transcript: Path) -> Iterator[Line]:
    """The lines `NAME WORD WORD ...` of a transcript.

    Raises
    ------
    FitHubertError
        It cannot be read as UTF-8.
    """
    try:
        text = transcript.read_text(encoding="utf-8")
    except (OSError, UnicodeError) as error:
        raise FitHubertError(f"{transcript}: expected text in UTF-8, found: {error}") from error
    files: dict[str, list[Path]] = {}
    for file in audio_in(transcript.parent):
        files.setdefault(file.stem, []).append(file)
    seen = set()
    for number, line in enumerate(text.splitlines(), start=1):
        if not line.strip():
            yield Line("", [], None, f"{transcript}: expected words in line {number}, found an empty line; remove it")
            continue
        name, *words = line.split()
        found = files.get(name, [])
        audio = found[0] if found else None
        problem = ""
        if audio is None:
            problem = (
                f"{transcript}: expected {name} ({AUDIO}) beside it, found none; complete the corpus or remove the line"
            )
        elif len(found) > 1:
            names = " and ".join(file.name for file in found)
            problem = f"{transcript}: expected one recording of {name}, found {names}; remove one"
        elif not words:
            problem = f"{transcript}: expected words after {name}, found none; remove the line"
        elif name in seen:
            problem = f"{transcript}: expected one line for {name}, found another in line {number}; remove one"
        seen.add(name)
        yield Line(name, [word.upper() for word in words], audio, problem)


def split_folder(root: str | Path, split: str) -> Path:
    """The folder of a split.

    Raises
    ------
    FitHubertError
        There is no such folder; says which there are.
    """
    root = Path(root)
    if not root.is_dir():
        raise FitHubertError(f"{root}: no such folder; expected a corpus in LibriSpeech's layout")
    if not (root / split).is_dir():
        found = ", ".join(printable(entry.name) for entry in folders_in(root)) or "none"
        raise FitHubertError(f"corpus {root}: expected a sub-folder {split}, found {found}")
    return root / split


def find_splits(root: str | Path) -> list[str]:
    """Names of the sub-folders that hold transcripts.

    Raises
    ------
    FitHubertError
        There are none.
    """
    root = Path(root)
    folders = folders_in(root) if root.is_dir() else []
    splits = [folder.name for folder in folders if next(find_transcripts(folder), None)]
    if not splits:
        found = ", ".join(folder.name for folder in folders) or ("none" if root.is_dir() else "no such folder")
        raise FitHubertError(
            f"{root}: expected sub-folders with speaker/chapter/*{TRANSCRIPT}, such as train-clean-100; found {found}"
        )
    return splits


def find_transcripts(folder: Path) -> Iterator[Path]:
    """All transcripts below a folder, sorted."""
    return (file for _, files in walk(folder) for file in files if file.name.endswith(TRANSCRIPT))


def read_splits(
    root: str | Path, splits: list[str] | None = None, progress: bool = True
) -> tuple[dict[str, list[Utterance]], list[str]]:
    """Read splits and decode all their audio, going on after problems.

    Parameters
    ----------
    root : path
    splits : list of str, optional
        By default every sub-folder that holds transcripts.
    progress : bool
        Show a bar.

    Returns
    -------
    utterances : dict
        Split to its sound utterances, ordered by their files.
    problems : list of str
        One line each.
    """
    problems: list[str] = []
    try:
        if splits is None:
            splits = find_splits(root)
            problems += _left_out(Path(root), splits)
        else:
            splits = list(dict.fromkeys(splits))
    except FitHubertError as error:
        return {}, [str(error)]
    utterances = {}
    for split in splits:
        try:
            folder = split_folder(root, split)
        except FitHubertError as error:
            problems.append(str(error))
            continue
        try:
            words = _read_folders(folder, problems)
        except FitHubertError as error:  # a folder that cannot be read
            problems.append(str(error))
            continue
        samples = scan(list(words), count_samples_16k, f"Reading {split}", progress)
        sound = {audio: count for audio, count in samples.items() if isinstance(count, int)}
        problems += [problem for problem in samples.values() if isinstance(problem, str)]
        utterances[split] = [Utterance(audio, words[audio], count) for audio, count in sound.items() if words[audio]]
        if not words:
            problems.append(f"{folder}: expected speaker/chapter/*{TRANSCRIPT} with audio beside, found no utterance")
    return utterances, problems


def _left_out(root: Path, splits: list[str]) -> list[str]:
    """A line for each folder of a corpus that holds audio but no transcripts, and for audio in none."""
    problems = misplaced_problems(root, "audio in split/speaker/chapter")
    for folder in folders_in(root):
        if folder.name in splits:
            continue
        inside = (file for _, files in walk(folder) for file in files)
        if any(is_audio(file) or is_other_audio(file) for file in inside):
            problems.append(
                f"{folder}: expected speaker/chapter/*{TRANSCRIPT} with its audio, found none; add them or move it"
            )
    return problems


def _read_folders(split: Path, problems: list[str]) -> dict[Path, list[str]]:
    """Audio file -> its words, [] where its line is missing or wrong, for all chapters of a split."""
    words_of: dict[Path, list[str]] = {}
    for folder, inside in walk(split):
        audio = [file for file in inside if is_audio(file)]
        problems += other_audio_problems(inside) + name_problems(audio, split)
        transcripts = [file for file in inside if file.name.endswith(TRANSCRIPT)]
        words_of |= {file: [] for file in audio}
        if audio and not transcripts:
            problems.append(f"{folder}: expected {transcript_name(folder)} with the audio, found none")
            continue
        named: set[str] = set()
        for transcript in transcripts:
            if transcript.name != transcript_name(folder):  # the only one that s3prl's ASR looks for
                problems.append(f"{transcript}: expected the name {transcript_name(folder)}, found another; rename it")
            try:
                lines = list(read_transcript(transcript))
            except FitHubertError as error:
                problems.append(str(error))
                named |= {file.stem for file in audio}
                continue
            if lines and not audio:
                problems.append(f"{transcript}: expected the audio of its {len(lines)} lines beside it, found none")
                continue
            problems += [line.problem for line in lines if line.problem]
            words_of |= {line.audio: line.words for line in lines if not line.problem}
            named |= {line.name for line in lines}
        expected = f"expected a line for it in {transcript_name(folder)}, found none; add it or remove the file"
        problems += [f"{printable(file)}: {expected}" for file in audio if file.stem not in named]
    return words_of


def utterance_name(audio: Path) -> str:
    """`SPEAKER-CHAPTER-NUMBER`, by which no two utterances are called alike, even if their files are."""
    chapter = f"{audio.parent.parent.name}-{audio.parent.name}-"
    return audio.stem if audio.stem.startswith(chapter) else chapter + audio.stem


def transcript_name(chapter: Path) -> str:
    """What the transcript of the folder `speaker/chapter` is called."""
    return f"{chapter.parent.name}-{chapter.name}{TRANSCRIPT}"


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

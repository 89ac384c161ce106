"""Recordings of several speakers in Kaldi's folders, as s3prl has them of LibriMix: `root/{train,dev,test}`."""

import math
import shlex
from collections import defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from ...audio import SAMPLE_RATE
from ...audio.scan import count_samples_16k, scan
from ...errors import FitHubertError
from ..problems import Report

SPLITS = ("train", "dev", "test")
TABLES = ("wav.scp", "reco2dur", "segments", "utt2spk")  # of a split, without the reference of the test
REFERENCE = "rttm"
SPEAKERS = 2
SLACK = 0.05  # seconds by which written times may be beside the recording's
SHORTEST = 0.1  # seconds of a recording


class Turn(NamedTuple):
    """When somebody speaks: `start` and `end` in seconds, and who."""

    start: float
    end: float
    speaker: str


class Recording(NamedTuple):
    """A recording of a split.

    Attributes
    ----------
    audio : Path
    seconds : float
        As `reco2dur` says.
    turns : list of Turn
        As `segments` and `utt2spk` say, in their order.
    """

    audio: Path
    seconds: float
    turns: list[Turn]


def read_kaldi(folder: str | Path, problems: list[str] | None = None) -> dict[str, Recording]:
    """The recordings of a split, by their names, in the order of wav.scp.

    Parameters
    ----------
    folder : path
        `wav.scp` has lines `name path`, paths absolute or below the folder; `reco2dur` `name seconds`; `segments`
        `utterance name start end`; `utt2spk` `utterance speaker`. Where an utterance occurs in several lines of
        `segments` (LibriMix names them by their times alone), the n-th is the speaker's of the n-th line of `utt2spk`.
    problems : list of str, optional
        What is wrong is appended, and the lines are left out.

    Raises
    ------
    FitHubertError
        Something is wrong, and there is no such list.
    """
    folder, found = Path(folder), []
    audio: dict[str, Path] = {}
    for place, (name, path) in _lines(folder / "wav.scp", "`recording path`", (2, 2), found, rest=True):
        if path.endswith("|") or path == "-":
            found.append(f"{place}: expected a path, found the command {path[:80]!r}; write what it prints to a file")
        elif name in audio or "/" in name:
            what = "it again" if name in audio else "a / in it"
            found.append(f"{place}: expected a name of its own and without /, found {name} and {what}; rename it")
        else:
            audio[name] = folder / path
    seconds: dict[str, float] = {}
    for place, (name, text) in _lines(folder / "reco2dur", "`recording seconds`", (2, 2), found):
        if (value := _seconds(text)) is None or value == 0:
            found.append(f"{place}: expected seconds above 0, found {text!r}")
        else:
            seconds[name] = value
    turns = _turns(folder, audio, found)
    missing = [name for name in audio if name not in seconds] if seconds else []  # one line says that there is none
    found += [f"{folder / 'reco2dur'}: expected a line for {name}, found none" for name in missing]
    if not audio and not found:
        found.append(f"{folder / 'wav.scp'}: expected recordings, found no line")
    if problems is None and found:
        raise FitHubertError(found[0])
    if problems is not None:
        problems += found
    return {name: Recording(path, seconds[name], turns[name]) for name, path in audio.items() if name in seconds}


def _turns(folder: Path, audio: Mapping[str, Path], found: list[str]) -> dict[str, list[Turn]]:
    speakers: dict[str, list[str]] = defaultdict(list)
    for _, (utterance, speaker) in _lines(folder / "utt2spk", "`utterance speaker`", (2, 2), found):
        speakers[utterance].append(speaker)
    turns: dict[str, list[Turn]] = defaultdict(list)
    taken: dict[str, int] = defaultdict(int)
    segments = folder / "segments"
    for place, (utterance, name, *times) in _lines(segments, "`utterance recording start end`", (4, 4), found):
        nth, (start, end) = taken[utterance], map(_seconds, times)
        taken[utterance] += 1
        if audio and name not in audio:
            found.append(f"{place}: expected a recording of wav.scp, found {name}")
        elif start is None or end is None or start >= end:
            found.append(f"{place}: expected a start and a later end in seconds, found {times[0]} and {times[1]}")
        elif speakers and utterance not in speakers:
            found.append(f"{place}: expected a speaker for {utterance} in utt2spk, found none")
        elif nth < len(speakers.get(utterance, ())):
            turns[name].append(Turn(start, end, speakers[utterance][nth]))
    for utterance, count in taken.items():
        if utterance in speakers and len(speakers[utterance]) != count:
            found.append(
                f"{segments}: expected as many lines of {utterance} as in utt2spk, {len(speakers[utterance])}, found "
                f"{count}; give each utterance a name of its own"
            )
    return turns


def read_rttm(path: str | Path, problems: list[str] | None = None) -> dict[str, list[Turn]]:
    """Recording -> its turns, of the lines SPEAKER of an RTTM file; `problems` as for `read_kaldi`.

    Raises
    ------
    FitHubertError
        Something is wrong, and there is no such list.
    """
    found: list[str] = []
    turns: dict[str, list[Turn]] = defaultdict(list)
    expected = "`SPEAKER recording 1 start seconds <NA> <NA> speaker <NA>`"
    for place, fields in _lines(Path(path), expected, (8, 10), found):
        if fields[0] != "SPEAKER":
            continue
        start, duration = map(_seconds, fields[3:5])
        if start is None or not duration:
            found.append(f"{place}: expected a start and a duration in seconds, found {fields[3]} and {fields[4]}")
        else:
            turns[fields[1]].append(Turn(start, start + duration, fields[7]))
    if problems is None and found:
        raise FitHubertError(found[0])
    if problems is not None:
        problems += found
    return dict(turns)


def _lines(
    path: Path, expected: str, fields: tuple[int, int], found: list[str], rest: bool = False
) -> Iterator[tuple[str, list[str]]]:
    """Place and fields of the lines that are not empty; with `rest`, the last field may hold spaces."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeError) as error:
        reason = getattr(error, "strerror", None) or error
        found.append(f"{path}: expected lines {expected}, found: {reason}")
        return
    for number, line in enumerate(text.split("\n"), start=1):
        parts = line.split(None, fields[1] - 1) if rest else line.split()
        if parts and not fields[0] <= len(parts) <= fields[1]:
            found.append(f"{path}, line {number}: expected {expected}, found {line[:80]!r}")
        elif parts:
            yield f"{path}, line {number}", [part.strip() for part in parts]


def _seconds(text: str) -> float | None:
    """A time of 0 or more; None where it is none."""
    try:
        value = float(text)
    except ValueError:
        return None
    return value if 0 <= value < math.inf else None


def check_librimix(root: str | Path, progress: bool = True) -> Report:
    """`check_splits` of `root/{train,dev,test}`, each of whose recordings has two speakers."""
    root = Path(root)
    if not root.is_dir():
        name = shlex.join(["librimix", str(root)])
        return Report(name, {}, [f"{root}: no such folder; expected train, dev and test with Kaldi's tables"])
    return check_splits({split: root / split for split in SPLITS}, SPEAKERS, progress)


def check_splits(folders: Mapping[str, str | Path], speakers: int, progress: bool = True) -> Report:
    """Check splits: the tables agree, each recording is mono, 16 kHz, whole, and as long as they say.

    Parameters
    ----------
    folders : dict
        "train", "dev" or "test" -> its Kaldi folder. The test's also holds `rttm`, by which it is scored.
    speakers : int
        Who must speak in each recording: that many.
    progress : bool
        Show a bar.
    """
    problems: list[str] = []
    counts: dict[str, int | float] = {}
    first: dict[str, str] = {}  # recording -> its split
    for split, place in folders.items():
        folder = Path(place)
        if not folder.is_dir():
            problems.append(f"{folder}: no such folder; expected {', '.join(TABLES)} of {split}")
            continue
        recordings = read_kaldi(folder, problems)
        complete = all((folder / table).is_file() for table in TABLES)  # else one line says which is not
        files = [recording.audio for recording in recordings.values() if recording.audio.is_file()]
        lengths = scan(files, count_samples_16k, f"Reading LibriMix {split}", progress)
        problems += [length for length in lengths.values() if isinstance(length, str)]
        for name, recording in recordings.items():
            problems += _recording_problems(folder, name, recording, lengths.get(recording.audio), speakers, complete)
            if first.setdefault(name, split) != split:
                problems.append(
                    f"{folder / 'wav.scp'}: expected each recording in one split, found {name} in {first[name]} too"
                )
        if split == "test":
            problems += _reference_problems(folder / REFERENCE, recordings)
        turns = [turn for recording in recordings.values() for turn in recording.turns]
        counts[f"{split} recordings"] = len(recordings)
        counts[f"{split} speakers"] = len({turn.speaker for turn in turns})
        counts[f"{split} hours"] = sum(recording.seconds for recording in recordings.values()) / 3600
    root = Path(next(iter(folders.values()))).parent
    return Report(shlex.join(["librimix", str(root)]), counts, problems)


def _recording_problems(
    folder: Path, name: str, recording: Recording, samples: int | str | None, speakers: int, complete: bool
) -> list[str]:
    problems = []
    if samples is None:
        problems.append(
            f"{folder / 'wav.scp'}: expected a recording {recording.audio}, found no such file; name it by a path that "
            "is absolute or below the folder"
        )
    elif isinstance(samples, int):
        seconds = samples / SAMPLE_RATE
        if seconds < SHORTEST:
            problems.append(f"{recording.audio}: expected {SHORTEST} s or more, found {seconds:g} s; remove it")
        elif abs(seconds - recording.seconds) > SLACK:
            problems.append(
                f"{folder / 'reco2dur'}: expected {seconds:g} s for {name}, as {recording.audio} has, found "
                f"{recording.seconds:g}"
            )
    for turn in recording.turns:
        if turn.end > recording.seconds + SLACK:
            problems.append(
                f"{folder / 'segments'}: expected ends of {name} within its {recording.seconds:g} s, found {turn.end:g}"
            )
    found = len({turn.speaker for turn in recording.turns})
    if found != speakers and complete:
        problems.append(f"{folder / 'segments'}: expected {speakers} speakers in {name}, found {found}; remove it")
    return problems


def _reference_problems(path: Path, recordings: Mapping[str, Recording]) -> list[str]:
    problems: list[str] = []
    if not path.is_file():
        return [f"{path}: expected the turns of the test's speakers, found no such file"]
    turns = read_rttm(path, problems)
    problems += [f"{path}: expected recordings of wav.scp, found {name}" for name in turns if name not in recordings]
    for name, recording in recordings.items():
        if name not in turns:
            problems.append(f"{path}: expected lines of {name}, found none")
        elif (end := max(turn.end for turn in turns[name])) > recording.seconds + SLACK:
            problems.append(f"{path}: expected ends of {name} within its {recording.seconds:g} s, found {end:g}")
    return problems

"""VoxCeleb1's layout: `root/{dev,test}/wav/<speaker>/<session>/`, lists of trials, and the list of identification."""

import os
import re
import shlex
from collections import Counter
from pathlib import Path

from ...audio.scan import count_milliseconds, header_samples_16k, scan
from ...audio.walk import AUDIO, folders_in, is_audio, name_problems, other_audio_problems, printable, walk
from ...errors import FitHubertError
from ..problems import HOUR_MS, Report

IDENTIFICATION = "veri_test_class.txt"
PARTS = {"1": "train", "2": "dev", "3": "test"}  # how the list of identification names s3prl's splits
FIRST_SPEAKER, SPEAKERS = 10001, 1251  # s3prl's head has an output for each


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


def check_identification(root: str | Path, listed: str | Path, progress: bool = True) -> Report:
    """Check the list of speaker identification: each recording is there once, mono, 16 kHz and whole.

    Parameters
    ----------
    root : path
        The corpus.
    listed : path
        Lines `1 speaker/session/file`, 1 for train, 2 for dev, 3 for test; files below `root/*/wav`.
    progress : bool
        Show bars.
    """
    root, listed = Path(root), Path(listed)
    problems: list[str] = []
    try:
        parts = _identification_parts(listed, problems)
    except FitHubertError as error:
        return Report(shlex.join(["voxceleb1", str(root)]), {}, [str(error)])
    found: dict[Path, list[Path]] = {folder: [] for folder in wav_folders(root)}
    for number, (name, _) in parts.items():
        folders = [folder for folder in found if (folder / name).is_file()]
        if len(folders) == 1:
            found[folders[0]].append(folders[0] / name)
        else:
            what = f"it in {folders[0]} and {folders[1]}; remove one" if folders else "no such file"
            problems.append(f"{listed}, line {number}: expected {name} once in {root}/*/wav, found {what}")
    for folder, files in found.items():  # one after the other, as for verification: so they are remembered for both
        lengths = scan(files, count_milliseconds, f"Reading VoxCeleb1 {folder.parent.name}", progress)
        headers = scan(files, header_samples_16k, "Reading its headers", progress)
        problems += dict.fromkeys(what for what in (*lengths.values(), *headers.values()) if isinstance(what, str))
    numbers = Counter(part for _, part in parts.values())
    problems += [
        f"{listed}: expected lines `{mark} speaker/session/file` for {part}, found none"
        for mark, part in PARTS.items()
        if not numbers[part]
    ]
    counts: dict[str, int | float] = {f"identification {part} files": numbers[part] for part in PARTS.values()}
    counts["identification speakers"] = len({name.partition("/")[0] for name, _ in parts.values()})
    return Report(shlex.join(["voxceleb1", str(root)]), counts, problems)


def read_identification(root: str | Path, listed: str | Path) -> dict[str, list[Path]]:
    """The recordings of train, dev and test, in the list's order; those that are not there are left out.

    Raises FitHubertError for a list that cannot be read, with the first wrong line, or for a folder.
    """
    problems: list[str] = []
    parts = _identification_parts(Path(listed), problems)
    if problems:
        raise FitHubertError(problems[0])
    folders = wav_folders(root)
    files: dict[str, list[Path]] = {part: [] for part in PARTS.values()}
    for name, part in parts.values():
        files[part] += [folder / name for folder in folders if (folder / name).is_file()][:1]
    return files


def wav_folders(root: str | Path) -> list[Path]:
    """`root/dev/wav`, `root/test/wav`, or whatever folders of speakers there are."""
    return [folder / "wav" for folder in folders_in(root) if (folder / "wav").is_dir()]


def _identification_parts(listed: Path, problems: list[str]) -> dict[int, tuple[str, str]]:
    """Number of a line -> (file, part). Raises FitHubertError for a list that cannot be read."""
    last = FIRST_SPEAKER + SPEAKERS - 1
    try:
        lines = listed.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeError) as error:
        raise FitHubertError(f"{listed}: expected a list `1 speaker/session/file`, found: {error}") from error
    parts: dict[int, tuple[str, str]] = {}
    first: dict[str, int] = {}
    for number, line in enumerate(lines, start=1):
        place = f"{listed}, line {number}"
        match = re.fullmatch(r"([123])\s+((id\d{5})/[^/\s]+/[^/\s]+)\s*", line)
        if match is None:
            problems.append(f"{place}: expected `1|2|3 id10001/session/file`, found {line[:80]!r}")
        elif not FIRST_SPEAKER <= int(match[3][2:]) <= last:
            problems.append(
                f"{place}: expected a speaker from id{FIRST_SPEAKER} to id{last}, found {match[3]}; rename it"
            )
        elif match[2] in first:
            problems.append(f"{place}: expected {match[2]} once, found it in line {first[match[2]]} too; remove one")
        else:
            first[match[2]] = number
            parts[number] = match[2], PARTS[match[1]]
    return parts

"""VoxCeleb1's layout: `root/{dev,test}/wav/<speaker>/<session>/`, and lists of trials."""

import os
import shlex
from pathlib import Path

from ..audio.scan import count_milliseconds, scan
from ..audio.walk import AUDIO, folders_in, is_audio, name_problems, other_audio_problems, printable, walk
from .problems import HOUR_MS, Report


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

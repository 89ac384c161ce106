"""IEMOCAP's layout: `root/SessionN/sentences/wav/<dialogue>/<utterance>.wav`, emotions in `dialog/EmoEvaluation/*.txt`.

s3prl's emotion recognition reads them from `meta_data/SessionN/{train,test}_meta_data.json`, which its
IEMOCAP_preprocess.py writes, and `prepare_iemocap` here: the same entries, in an order that depends on no file system.
"""

import json
import re
import shlex
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from ...audio import SAMPLE_RATE
from ...audio.scan import count_samples_16k, scan
from ...audio.walk import files_in, folders_in, is_audio, name_problems, other_audio_problems, printable, walk
from ...errors import FitHubertError
from ...files import write_json
from ...runs.outputs import check_output_folder
from ..problems import Report, require

SESSIONS = tuple(f"Session{number}" for number in range(1, 6))
LABELS = {"neu": 0, "hap": 1, "ang": 2, "sad": 3}
COUNTED_AS = {"exc": "hap"}  # excited; the other emotions are left out
EVALUATIONS = Path("dialog", "EmoEvaluation")  # of a session
METADATA = "meta_data"
PARTS = ("train", "test")
_LINE = re.compile(r"\[[\d.]+ - [\d.]+\]\t(?P<name>[^\t]+)\t(?P<label>[^\t]+)\t\[.*\]\s*")
_FORM = "`[start - end] NAME label [v, a, d]` with tabs between"


class Utterance(NamedTuple):
    """A recording with one of the four emotions: `path` below the corpus, `label` of `LABELS`."""

    path: str
    label: str

    def entry(self) -> dict[str, str]:
        """What s3prl's files hold of it; the speaker is the dialogue's, as there."""
        return {"path": self.path, "label": self.label, "speaker": Path(self.path).name.split("_")[0]}


class Session(NamedTuple):
    """All recordings of a session, and the utterances with one of the four emotions."""

    audio: list[Path]
    utterances: list[Utterance]


def read_iemocap(root: str | Path) -> tuple[dict[str, Session], list[str]]:
    """The five sessions, and what is wrong with them, one line each; no audio is decoded.

    Raises FitHubertError for a folder that cannot be read, or a link to nothing.
    """
    root = Path(root)
    if not root.is_dir():
        return {}, [f"{root}: no such folder; expected Session1 to Session5 in IEMOCAP's layout"]
    problems = [
        f"{printable(folder)}: expected {SESSIONS[0]} to {SESSIONS[-1]} only, found another session; move it"
        for folder in folders_in(root)
        if folder.name.startswith("Session") and folder.name not in SESSIONS
    ]
    sessions: dict[str, Session] = {}
    seen: dict[str, Path] = {}
    for name in SESSIONS:
        if (root / name).is_dir():
            sessions[name] = _read_session(root, name, seen, problems)
        else:
            problems.append(f"{root}: expected a folder {name}, found none")
    labels = {utterance.label for session in sessions.values() for utterance in session.utterances}
    if sessions and (missing := [label for label in LABELS if label not in labels]):
        problems.append(f"{root}: expected utterances of {', '.join(LABELS)}, found none of {' and '.join(missing)}")
    return sessions, problems


def _read_session(root: Path, name: str, seen: dict[str, Path], problems: list[str]) -> Session:
    """A session; `seen` holds the recordings of all sessions, by their names."""
    wav, evaluations = root / name / "sentences" / "wav", root / name / EVALUATIONS
    audio: dict[str, Path] = {}
    for _, files in walk(wav):
        own = [file for file in files if is_audio(file)]
        problems += other_audio_problems(files) + name_problems(own, root)
        for file in own:
            if file.stem in seen:
                problems.append(f"{printable(file)}: expected one recording of this name, found {seen[file.stem]} too")
            seen.setdefault(file.stem, file)
            audio[file.stem] = file
    if not audio:
        problems.append(f"{wav}: expected recordings in folders of their dialogues, found none")
    if not evaluations.is_dir():
        problems.append(f"{evaluations}: expected *.txt with the emotions, found no such folder")
        return Session(list(audio.values()), [])
    labels: dict[str, str] = {}
    for file in evaluation_files(root, name):
        for place, utterance, label in _read_evaluation(file, problems):
            if utterance in labels:
                problems.append(f"{place}: expected one line for {utterance}, found another; remove one")
            elif label in LABELS and utterance not in audio:
                problems.append(f"{place}: expected a recording of {utterance} in {wav}, found none")
            labels.setdefault(utterance, label)
    chosen = [(audio[name], label) for name, label in labels.items() if label in LABELS and name in audio]
    if not chosen and audio:
        problems.append(f"{evaluations}: expected lines {_FORM}, labelled {', '.join(LABELS)}; found none")
    utterances = [Utterance(recording.relative_to(root).as_posix(), label) for recording, label in chosen]
    return Session(list(audio.values()), utterances)


def evaluation_files(root: str | Path, session: str) -> list[Path]:
    """The files with a session's emotions, sorted."""
    folder = Path(root, session) / EVALUATIONS
    return [file for file in files_in(folder) if file.suffix == ".txt"] if folder.is_dir() else []


def _read_evaluation(file: Path, problems: list[str]) -> Iterator[tuple[str, str, str]]:
    """(place, utterance, label) of the lines that begin with `[`; the others are the annotators' own."""
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeError) as error:
        problems.append(f"{printable(file)}: expected text in UTF-8, found: {error}")
        return
    for number, line in enumerate(lines, start=1):
        if line.startswith("["):
            place = f"{printable(file)}, line {number}"
            if match := _LINE.fullmatch(line):
                yield place, match["name"], COUNTED_AS.get(match["label"], match["label"])
            else:
                problems.append(f"{place}: expected {_FORM}, found {line[:80]!r}")


def check_iemocap(root: str | Path, progress: bool = True) -> Report:
    """Check the five sessions: each labelled utterance has one recording, and all are mono, 16 kHz and whole.

    Parameters
    ----------
    root : path
        Holds Session1 to Session5.
    progress : bool
        Show a bar.
    """
    return _report(root, *read_iemocap(root), progress)


def _report(root: str | Path, sessions: dict[str, Session], problems: list[str], progress: bool) -> Report:
    audio = [file for session in sessions.values() for file in session.audio]
    lengths = scan(audio, count_samples_16k, "Reading IEMOCAP", progress)
    problems = problems + [length for length in lengths.values() if isinstance(length, str)]
    labels = Counter(utterance.label for session in sessions.values() for utterance in session.utterances)
    counts: dict[str, int | float] = {"sessions": len(sessions), "recordings": len(audio)}
    counts |= {f"{label} utterances": labels[label] for label in LABELS}
    counts["hours"] = sum(length for length in lengths.values() if isinstance(length, int)) / SAMPLE_RATE / 3600
    return Report(shlex.join(["iemocap", str(root)]), counts, problems)


def metadata_file(folder: str | Path, fold: str, part: str) -> Path:
    """The file of "train" or "test" that s3prl reads for "fold1" to "fold5"."""
    return Path(folder, fold.replace("fold", "Session"), f"{part}_meta_data.json")


def read_metadata(file: str | Path) -> list[dict[str, str]]:
    """The entries of one of s3prl's files: `path` below the corpus, `label` and `speaker` of each utterance.

    Raises
    ------
    FitHubertError
        It is not there, or of another form.
    """
    try:
        content = json.loads(Path(file).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        found = getattr(error, "strerror", None) or error
        raise FitHubertError(f"{file}: expected utterances and their emotions as JSON, found: {found}") from error
    entries = content.get("meta_data") if isinstance(content, dict) and content.get("labels") == LABELS else None
    if not isinstance(entries, list) or not all(isinstance(entry, dict) and _is_sound(entry) for entry in entries):
        raise FitHubertError(f"{file}: expected labels {LABELS}, and path and label of utterances, found another form")
    return entries


def _is_sound(entry: dict[str, Any]) -> bool:
    return isinstance(entry.get("path"), str) and entry.get("label") in list(LABELS)


def prepare_iemocap(root: str | Path, output: str | Path | None = None, progress: bool = True) -> Path:
    """Check the corpus, then write the files that s3prl's emotion recognition reads; sound ones stay as they are.

    `SessionN/test_meta_data.json` has the utterances of a session, `SessionN/train_meta_data.json` those of the other
    four, ordered by session, evaluation file and line: s3prl draws its dev set by their order.

    Parameters
    ----------
    root : path
        Holds Session1 to Session5.
    output : path, optional
        By default `root/meta_data`.
    progress : bool
        Show a bar, and say what was written.

    Returns
    -------
    Path
        `output`, for `meta_data` in s3prl's config.

    Raises
    ------
    FitHubertError
        The corpus has problems, or `output` cannot be written.
    """
    root = Path(root)
    output = root / METADATA if output is None else Path(output)
    if root.is_dir():
        check_output_folder(output)
    sessions, problems = read_iemocap(root)
    require(_report(root, sessions, problems, progress))
    written = 0
    for session, part, utterances in _parts(sessions):
        file = metadata_file(output, session, part)
        if not _is_up_to_date(file, utterances):
            content = {"labels": LABELS, "meta_data": [utterance.entry() for utterance in utterances]}
            write_json(file, content, indent=None)
            written += 1
    if progress:
        print(f"{output}: wrote {written} files" if written else f"{output}: up to date")
    return output


def check_metadata(root: str | Path, folder: str | Path, fold: str) -> list[int]:
    """See that s3prl's emotion recognition will find its files of a fold, and that the corpus has not changed since.

    Parameters
    ----------
    root : path
        The corpus, known to be sound.
    folder : path
        What `prepare_iemocap` wrote.
    fold : str
        "fold1" to "fold5".

    Returns
    -------
    list of int
        The number of utterances in each of `PARTS`.

    Raises
    ------
    FitHubertError
        One of the files is missing, of another form, or of other utterances.
    """
    sizes = []
    for session, part, utterances in _parts(read_iemocap(root)[0]):
        file = metadata_file(folder, session, part)
        if file == metadata_file(folder, fold, part):
            try:
                found = _differences(read_metadata(file), utterances)
            except FitHubertError as error:
                raise FitHubertError(f"{error}; run `fithubert prepare iemocap {root}`") from None
            if found:
                raise FitHubertError(
                    f"{file}: expected the utterances of {root}, found that the corpus has changed since it was "
                    f"written: {found}; run `fithubert prepare iemocap {root}`"
                )
            sizes.append(len(utterances))
    return sizes


def _parts(sessions: dict[str, Session]) -> Iterator[tuple[str, str, list[Utterance]]]:
    """(session, part, its utterances) of each file."""
    for session, own in sessions.items():
        others = [name for name in sessions if name != session]
        yield session, "train", [utterance for name in others for utterance in sessions[name].utterances]
        yield session, "test", own.utterances


def _is_up_to_date(file: Path, utterances: list[Utterance]) -> bool:
    """Whether a file has just these utterances, in whatever order: s3prl's own has another."""
    try:
        return not _differences(read_metadata(file), utterances)
    except FitHubertError:
        return False


def _differences(entries: list[dict[str, str]], utterances: list[Utterance]) -> str:
    """What a file's entries have otherwise than these utterances."""
    there, now = {entry["path"]: entry["label"] for entry in entries}, dict(utterances)
    counts = {
        "twice": len(entries) - len(there),
        "not in it": len(now.keys() - there.keys()),
        "no longer there": len(there.keys() - now.keys()),
        "of another emotion": sum(there[path] != label for path, label in now.items() if path in there),
    }
    return ", ".join(f"{count} {what}" for what, count in counts.items() if count)

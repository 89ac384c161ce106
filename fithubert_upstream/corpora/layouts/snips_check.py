"""Whether Audio SNIPS is complete, for `fithubert check` and for the runs of slot filling."""

import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path

from ...audio import SAMPLE_RATE
from ...audio.scan import count_samples_16k, scan
from ...audio.walk import is_audio, name_problems, other_audio_problems, walk
from ...errors import FitHubertError
from ...settings.files import MODEL_CONFIGS
from ..problems import Report
from .snips import (
    FOLDERS,
    LEFT_OUT,
    NAME,
    OUTSIDE,
    SLOTS,
    TABLE,
    Sentence,
    Speakers,
    Table,
    find_recordings,
    read_table,
    read_vocabulary,
    slot_problems,
    speaker_of,
)

VOCABULARY = "character.txt"  # SUPERB's, packaged: space, A to Z and the apostrophe
UNKNOWN, SKIPPED = "words learned with <unk>", "words left out (punctuation)"


def check_snips(
    root: str | Path,
    speakers: Speakers | None = None,
    slots: str | Path | None = None,
    vocabulary: str | Path | None = None,
    progress: bool = True,
) -> Report:
    """Check the table and the recordings: each has a line, lies in its split, and is mono, 16 kHz and whole.

    Characters that the vocabulary lacks are counted and no problem: s3prl trains `<unk>` for them, as in SUPERB, where
    some names have accents.

    Parameters
    ----------
    root : path
        Holds the table, the slots file and `train`, `valid` and `test`.
    speakers : dict, optional
        Folder -> those whose recordings count, None for all; by default all of the three folders.
    slots, vocabulary : path, optional
        By default `root/slots.txt`, and the packaged `character.txt`.
    progress : bool
        Show a bar.
    """
    root = Path(root)
    name = shlex.join(["snips", str(root)])
    if not root.is_dir():
        return Report(name, {}, [f"{root}: no such folder; expected {TABLE} and {', '.join(FOLDERS)} in SNIPS' layout"])
    try:
        table = read_table(root)
    except FitHubertError as error:
        return Report(name, {}, [str(error)])
    problems = table.problems
    slots = root / SLOTS if slots is None else Path(slots)
    vocabulary = MODEL_CONFIGS[0] / VOCABULARY if vocabulary is None else Path(vocabulary)
    files: dict[str, list[Path]] = {}
    read: dict[str, dict[str, Sentence]] = {}
    for folder, wanted in (dict.fromkeys(FOLDERS) if speakers is None else speakers).items():
        try:
            files[folder] = find_recordings(root, folder, wanted)
        except FitHubertError as error:
            problems.append(str(error))
            continue
        problems += _recording_problems(root, folder, wanted, files[folder], table)
        read[folder] = {file.stem: table.sentences[file.stem] for file in files[folder] if file.stem in table.sentences}
        if read[folder] and not any(set(sentence.slots) - {OUTSIDE} for sentence in read[folder].values()):
            problems.append(f"{root / folder}: expected a sentence with a slot, which s3prl's metrics need, found none")
    spoken = {name: sentence for members in read.values() for name, sentence in members.items()}
    problems += slot_problems(root, spoken.values(), slots)
    counts: dict[str, int | float] = {}
    lengths = scan(sum(files.values(), []), count_samples_16k, "Reading SNIPS", progress)
    problems += [length for length in lengths.values() if isinstance(length, str)]
    for folder, members in files.items():
        samples = [length for file in members if isinstance(length := lengths[file], int)]
        counts[f"{folder} sentences"] = len(members)
        counts[f"{folder} speakers"] = len({speaker_of(file.stem) for file in members})
        counts[f"{folder} hours"] = sum(samples) / SAMPLE_RATE / 3600
    counts["slots"] = len({slot for sentence in spoken.values() for slot in sentence.slots} - {OUTSIDE})
    try:
        known = set(read_vocabulary(vocabulary))
    except FitHubertError as error:
        return Report(name, counts, [*problems, str(error)])
    problems += _case_problems(root, spoken, known)
    words = [word for sentence in spoken.values() for word in sentence.words]
    counts[UNKNOWN] = sum(not known.issuperset(word) for word in words if word not in LEFT_OUT and word != "&")
    counts[SKIPPED] = sum(word in LEFT_OUT for word in words)
    return Report(name, counts, problems)


def _recording_problems(
    root: Path, folder: str, speakers: Sequence[str] | None, files: list[Path], table: Table
) -> list[str]:
    """A line for each recording without a line in the table or in the wrong place, and for each line without one."""
    problems = []
    for _, inside in walk(root / folder):
        problems += other_audio_problems(inside) + name_problems([file for file in inside if is_audio(file)], root)
    first: dict[str, Path] = {}
    known = table.sentences.keys() | table.unsound
    for file in files:
        match = NAME.fullmatch(file.stem)
        if file.stem in first:
            problems.append(f"{file}: expected one recording of {file.stem}, found {first[file.stem]} too; remove one")
        elif file.stem not in known:
            problems.append(f"{file}: expected a line for it in {TABLE}, found none; add it or remove the file")
        elif match and match["folder"] != folder:
            problems.append(f"{file}: expected it in {root / match['folder']}, as its name says, found it in {folder}")
        first.setdefault(file.stem, file)
    there = {speaker_of(name) for name in first}
    for speaker in [] if speakers is None else speakers:
        if speaker not in there:
            problems.append(f"{root / folder}: expected recordings of the speaker {speaker}, found none")
    if not files and not speakers:
        problems.append(f"{root / folder}: expected recordings, found none")
    for name, sentence in table.sentences.items():
        wanted = speakers is None or speaker_of(name) in there  # a speaker without any recording is told once
        if wanted and name not in first and NAME.fullmatch(name)["folder"] == folder:
            problems.append(
                f"{root / TABLE}, line {sentence.line}: expected a recording of {name} in {root / folder}, found none"
            )
    return problems


def _case_problems(root: Path, sentences: Mapping[str, Sentence], known: set[str]) -> list[str]:
    """One line for words in lower case, which would all be unknown characters."""
    wrong = [
        (sentence.line, word)
        for sentence in sentences.values()
        for word in sentence.words
        if any(letter not in known and letter.upper() in known for letter in word)
    ]
    if not wrong:
        return []
    line, word = wrong[0]
    return [
        f"{root / TABLE}, line {line}: expected words in capitals, as the vocabulary has them, found {word!r} "
        f"({len(wrong)} such words)"
    ]

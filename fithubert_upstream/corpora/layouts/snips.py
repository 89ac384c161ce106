"""Audio SNIPS' layout, as s3prl prepares it: `root/all.iob.snips.txt`, and its recordings in `root/{train,valid,test}`.

A line of the table is `SPEAKER-snips-SPLIT-NUMBER BOS WORDS EOS`, a tab, `O SLOTS INTENT`: a slot, or O, for each word.
Neighbours of one slot are one value.
"""

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from ...audio.walk import is_audio, walk
from ...errors import FitHubertError
from ...files import write_text

TABLE, SLOTS = "all.iob.snips.txt", "slots.txt"
FOLDERS = ("train", "valid", "test")
OUTSIDE = "O"
LEFT_OUT = "?!.,;-"  # s3prl leaves out words that are a part of it
NAME = re.compile(r"(?P<speaker>.+?)-snips-(?P<folder>[^-]+)-.+")
_FORM = "NAME BOS WORDS EOS, a tab, O SLOTS INTENT"

Speakers = Mapping[str, Sequence[str] | None]  # folder -> whose recordings in it are read; None: of all


class Sentence(NamedTuple):
    """A line of the table.

    Attributes
    ----------
    line : int
        From 1.
    text : str
        All after the name, which s3prl's `CharacterTextSlotEncoder` takes.
    words, slots : list of str
        As many of each.
    """

    line: int
    text: str
    words: list[str]
    slots: list[str]


class Table(NamedTuple):
    """The table: its sound lines by name, names of others, and what is wrong with these, one line each."""

    sentences: dict[str, Sentence]
    unsound: set[str]
    problems: list[str]


def speaker_of(name: str) -> str:
    """Who says the sentence of that name."""
    return name.partition("-")[0]


def read_table(root: str | Path) -> Table:
    """The table of a corpus.

    Raises
    ------
    FitHubertError
        There is no table, or it is not in UTF-8.
    """
    table = Path(root, TABLE)
    sentences: dict[str, Sentence] = {}
    unsound, problems = set(), []
    for number, line in enumerate(_read(table).split("\n"), start=1):
        if not line.strip():
            continue
        name, _, text = line.strip().partition(" ")
        words, _, slots = (part.split(" ") for part in text.partition("\t"))
        sentence = Sentence(number, text, words[1:-1], slots[1:-1])
        if name in sentences:
            wrong = f"each name once, found {name} of line {sentences[name].line} again; remove one"
        elif not NAME.fullmatch(name):
            wrong = f"a name SPEAKER-snips-SPLIT-NUMBER, found {name!r}"
        elif text.count("\t") != 1 or [words[0], words[-1]] != ["BOS", "EOS"] or slots[0] != OUTSIDE:
            wrong = f"the form {_FORM}, found {name} in another"
        elif not any(sentence.words) or len(sentence.words) != len(sentence.slots):
            wrong = (
                f"words, each with a slot or {OUTSIDE}, found {len(sentence.words)} words and {len(sentence.slots)} "
                f"slots of {name}"
            )
        else:
            sentences[name] = sentence
            continue
        unsound.add(name)
        problems.append(f"{table}, line {number}: expected {wrong}")
    return Table(sentences, unsound, problems)


def read_slots(file: str | Path) -> list[str]:
    """The slots of a slots file in their order, which numbers a model's outputs; its first line, O, is none.

    Raises
    ------
    FitHubertError
        It is not there, or one of its lines is not what s3prl would read as a slot of its own.
    """
    lines = _read(Path(file), "; run `fithubert prepare snips DIR`").removesuffix("\n").split("\n")
    for number, slot in enumerate(lines, start=1):
        place = f"{file}, line {number}: expected"
        if number == 1 and slot != OUTSIDE:  # s3prl passes over it, whatever it is
            raise FitHubertError(f"{place} {OUTSIDE}, for words outside of slots, found {slot!r}")
        if not slot or re.search(r"[\s:;]", slot):  # s3prl's metrics take them apart there
            raise FitHubertError(f"{place} a slot without spaces, colons and semicolons, found {slot!r}")
        if slot in lines[: number - 1]:
            raise FitHubertError(f"{place} each slot once, found {slot} again")
    return lines[1:]


def read_vocabulary(file: str | Path) -> list[str]:
    """The characters of a vocabulary in their order, which numbers a model's outputs; raises as `read_slots`."""
    lines = _read(Path(file)).removesuffix("\n").split("\n")
    for number, character in enumerate(lines, start=1):
        if len(character) != 1 or character in lines[: number - 1] or character in ":;":
            raise FitHubertError(
                f"{file}, line {number}: expected one character, other than those before and : and ;, found "
                f"{character!r}"
            )
    if " " not in lines:
        raise FitHubertError(f"{file}: expected a space among its characters, which parts words, found none")
    return lines


def _read(file: Path, advice: str = "") -> str:
    try:
        return file.read_text(encoding="utf-8")
    except (OSError, UnicodeError) as error:
        found = getattr(error, "strerror", None) or error
        raise FitHubertError(f"{file}: expected a text in UTF-8, found: {found}{advice}") from error


def find_recordings(root: str | Path, folder: str, speakers: Sequence[str] | None = None) -> list[Path]:
    """The recordings below `root/folder` of some speakers, sorted by their names; by default of all.

    Raises
    ------
    FitHubertError
        There is no such folder, or it cannot be read.
    """
    place = Path(root, folder)
    if not place.is_dir():
        raise FitHubertError(f"{place}: expected a folder of recordings, found no such folder")
    found = [file for _, files in walk(place) for file in files if is_audio(file)]
    chosen = [file for file in found if speakers is None or speaker_of(file.stem) in speakers]
    return sorted(chosen, key=lambda file: (file.stem, file))


def prepare_snips(root: str | Path, output: str | Path | None = None, progress: bool = True) -> Path:
    """Write the slots file of a corpus that came without one; one that is there and has all slots stays as it is.

    O is first, then the slots by how many words have them in the table, ties by name. s3prl's preparation counts the
    words of one speaker before it spells out numbers, so that its own file may number some slots otherwise.

    Parameters
    ----------
    root : path
    output : path, optional
        By default `root/slots.txt`.
    progress : bool
        Say what was written.

    Raises
    ------
    FitHubertError
        The table is not sound, or the file that is there lacks a slot of it.
    """
    output = Path(root, SLOTS) if output is None else Path(output)
    sentences, _, problems = read_table(root)
    there = output.is_file()
    problems += slot_problems(root, sentences.values(), output) if there else []
    if not (problems or sentences):
        problems = [f"{Path(root, TABLE)}: expected sentences, found none"]
    if problems:
        raise FitHubertError(problems[0])
    if not there:
        write_text(output, slots_text(sentences.values()))
    if progress:
        print(f"{output}: {'up to date' if there else 'written'}")
    return output


def slots_text(sentences: Iterable[Sentence]) -> str:
    """The slots file of some sentences; s3prl would take an empty line at its end for a slot."""
    counts = Counter(slot for sentence in sentences for slot in sentence.slots)
    counts.pop(OUTSIDE, None)
    return "\n".join([OUTSIDE, *sorted(counts, key=lambda slot: (-counts[slot], slot))])


def slot_problems(root: str | Path, sentences: Iterable[Sentence], file: Path) -> list[str]:
    """A line for each slot that the slots file lacks."""
    try:
        known = {OUTSIDE, *read_slots(file)}
    except FitHubertError as error:
        return [str(error)]
    missing: dict[str, int] = {}
    for sentence in sentences:
        for slot in sentence.slots:
            if slot not in known:
                missing.setdefault(slot, sentence.line)
    return [
        f"{Path(root, TABLE)}, line {line}: expected a slot of {file}, found {slot!r}; add it, or remove that file "
        "and run `fithubert prepare snips DIR`"
        for slot, line in missing.items()
    ]

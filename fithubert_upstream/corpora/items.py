"""Items of ABX tests: which part of which recording is which triphone by whom, in ZeroSpeech's format.

A file `*.item` has the line `#file onset offset #phone prev-phone next-phone speaker`, and one like it for each item,
times in seconds. Libri-Light's files for LibriSpeech's dev and test sets have this form; `fithubert synth` writes it.
"""

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from fractions import Fraction
from pathlib import Path
from typing import NamedTuple

from ..audio import SAMPLE_RATE
from ..audio.scan import header_samples_16k, scan
from ..audio.walk import find_audio, walk
from ..errors import FitHubertError

HEAD = ("#file", "onset", "offset", "#phone", "prev-phone", "next-phone", "speaker")
SUFFIX = ".item"
_RATE = 50  # frames a second that each item must have one of, so that all upstreams are asked the same
_WINDOW = Fraction(1, 40)  # s, of such a frame


class Item(NamedTuple):
    """A triphone in a recording (its name without suffix), from `onset` to `offset` in seconds."""

    file: str
    onset: Fraction
    offset: Fraction
    phone: str
    before: str
    after: str
    speaker: str

    def frames(self, rate: float) -> tuple[int, int]:
        """Its frames, [first, end), at so many a second: those whose centres it holds, of the first half a frame."""
        rate, half = Fraction(rate), Fraction(1, 2)
        return math.ceil(self.onset * rate - half), math.floor(self.offset * rate - half) + 1


def read_items(place: str | Path) -> list[Item]:
    """The items of a file, or of all `*.item` files below a folder.

    Raises
    ------
    FitHubertError
        There are none, or a line is not of the format.
    """
    place = Path(place)
    files = [place] if place.is_file() else [f for _, found in walk(place) for f in found if f.suffix == SUFFIX]
    items = [item for file in files for item in _read(file)]
    if not items:
        raise FitHubertError(
            f"--items {place}: expected items in files *{SUFFIX}, found none; `fithubert synth DIR --minutes 10` "
            "writes some beside each chapter of DIR/LibriSpeech"
        )
    return items


def _read(file: Path) -> Iterable[Item]:
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeError) as error:
        raise FitHubertError(f"{file}: expected a text in UTF-8, found: {error}") from error
    if not lines or tuple(lines[0].split()) != HEAD:
        raise FitHubertError(
            f"{file}, line 1: expected {' '.join(HEAD)}, found {lines[0][:60] if lines else 'nothing'}"
        )
    for number, line in enumerate(lines[1:], start=2):
        words = line.split()
        try:
            name, onset, offset, *labels = words
            item = Item(name, Fraction(onset), Fraction(offset), *labels)
        except (ValueError, TypeError):
            raise FitHubertError(f"{file}, line {number}: expected {' '.join(HEAD)}, found {line[:80]!r}") from None
        if not 0 <= item.onset < item.offset:
            raise FitHubertError(f"{file}, line {number}: expected 0 <= onset < offset, found {onset} and {offset}")
        yield item


def recordings_of(items: Sequence[Item], root: str | Path) -> dict[str, Path]:
    """Name -> recording below `root`, of those that the items name.

    Raises
    ------
    FitHubertError
        One is missing, or there are two of a name.
    """
    names = {item.file for item in items}
    found = [file for file in find_audio(root) if file.stem in names]
    missing = sorted(names - {file.stem for file in found})
    if missing:
        raise FitHubertError(
            f"--audio {root}: expected the recordings that the items name, found no {missing[0]}.* and "
            f"{len(missing) - 1} others missing; correct the folder"
        )
    twice = [name for name, count in Counter(file.stem for file in found).items() if count > 1]
    if twice:
        first, second = [file for file in found if file.stem == twice[0]][:2]
        raise FitHubertError(f"--audio {root}: expected each name once, found {first} and {second}; give one's folder")
    return {file.stem: file for file in found}


def usable(items: Sequence[Item], recordings: dict[str, Path]) -> list[Item]:
    """The items that have a frame of 25 ms every 20 ms, and all of them in their recording.

    Raises
    ------
    FitHubertError
        A recording cannot be read, is not mono at 16 kHz, or ends a second or more before its items.
    """
    samples = scan(list(recordings.values()), header_samples_16k, "Reading audio")
    kept = []
    for item in items:
        count = samples[recordings[item.file]]
        if isinstance(count, str):
            raise FitHubertError(count)
        seconds = Fraction(count, SAMPLE_RATE)
        if item.offset >= seconds + 1:
            raise FitHubertError(
                f"{recordings[item.file]}: expected a recording that holds its items, found one of "
                f"{float(seconds):.2f} s and an item until {float(item.offset):.2f} s; give the recordings of the items"
            )
        first, end = item.frames(_RATE)
        if first < end <= (seconds - _WINDOW) * _RATE + 1:
            kept.append(item)
    return kept

"""What of a folder of features is done: it is noted after it is on the disk, and a run after a kill goes on from there.

OUT/.extract holds the settings, and of each share of the work (`--shard`) the finished recordings, a line of JSON
each, and those that could not be read. OUT/index.tsv and OUT/bad.tsv are made of them. Imports no torch.
"""

import csv
import json
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from filelock import FileLock, Timeout

from ..audio.walk import printable
from ..errors import FitHubertError
from ..files import atomic_path, flush_to_disk, named, remove_temporaries, write_json
from .recordings import Recording

STATE, INDEX, BAD = ".extract", "index.tsv", "bad.tsv"


class Entry(NamedTuple):
    """A recording whose features are on the disk.

    Parameters
    ----------
    name, path, size, changed : as of `Recording`.
    file : str
        Where its features are, below OUT.
    frames : int
        Frames of the features, or that were pooled.
    seconds : float
        Of audio.
    """

    name: str
    path: str
    size: int
    changed: int
    file: str
    frames: int
    seconds: float


class Journal:
    """The state of a folder of features, for one share of the work; close it at the end.

    Parameters
    ----------
    out : path
    settings : mapping
        What the features depend on, in JSON's types.
    shard : (int, int)
        The number of this share, from 0, and of all shares.

    Raises
    ------
    FitHubertError
        The folder holds features with other settings, or another process is at this share.
    """

    def __init__(self, out: str | Path, settings: Mapping[str, Any], shard: tuple[int, int] = (0, 1)):
        self.out = Path(out)
        self.folder = self.out / STATE
        self.shard = shard
        self.share = f"{shard[0]}-of-{shard[1]}"
        self._agree(settings)
        self.lock = FileLock(self.folder / f"{self.share}.lock")
        try:
            self.lock.acquire(blocking=False)
        except Timeout as error:
            raise FitHubertError(
                f"{out}: another process is at this share of the work; wait for it, or choose another folder with -o"
            ) from error
        if shard == (0, 1):  # no other process writes there
            for folder, _, _ in os.walk(self.out):
                remove_temporaries(folder)
        self.file = self.folder / f"done-{self.share}.jsonl"
        _drop_half_line(self.file)
        self.done = {entry.path: entry for entry in self._entries()}

    def _agree(self, settings: Mapping[str, Any]) -> None:
        path = self.folder / "settings.json"
        self.folder.mkdir(parents=True, exist_ok=True)
        with FileLock(self.folder / "settings.lock"):
            if not path.is_file():
                there = next((p.name for p in sorted(self.out.iterdir()) if p != self.folder), None)
                if there is not None:
                    raise FitHubertError(
                        f"{self.out}: expected an empty folder, or one of `fithubert extract`, found {there} in it; "
                        "choose another with -o"
                    )
                write_json(path, dict(settings))
                return
        there = json.loads(path.read_text(encoding="utf-8"))
        other = [key for key in {**there, **settings} if there.get(key) != settings.get(key)]
        if other:
            differ = ", ".join(f"{key} {_brief(there.get(key))}, now {_brief(settings.get(key))}" for key in other)
            raise FitHubertError(
                f"{self.out}: already holds features with other settings ({differ}); choose another folder with -o"
            )

    def _entries(self) -> list[Entry]:
        """What all shares finished and is there."""
        entries = [
            Entry(*json.loads(line)) for file in sorted(self.folder.glob("done-*.jsonl")) for line in _lines(file)
        ]
        there = {file: (self.out / file).is_file() for file in {entry.file for entry in entries}}
        return [entry for entry in entries if there[entry.file]]

    def left(self, recordings: Sequence[Recording]) -> list[Recording]:
        """Those without features.

        Raises
        ------
        FitHubertError
            A recording changed after its features were taken, or another one has its name.
        """
        names = {entry.name: entry.path for entry in self.done.values()}
        for recording in recordings:
            entry = self.done.get(recording.path)
            if entry is not None and (entry.size, entry.changed) != (recording.size, recording.changed):
                raise FitHubertError(
                    f"{printable(recording.path)}: changed after its features were written to {self.out}; choose "
                    "another folder with -o"
                )
            if names.get(recording.name, recording.path) != recording.path:
                raise FitHubertError(
                    f"{printable(recording.path)}: {self.out} holds features of {printable(names[recording.name])} "
                    f"under the same name, {printable(recording.name)}; choose another folder with -o"
                )
        return [recording for recording in recordings if recording.path not in self.done]

    def note(self, entries: Iterable[Entry]) -> None:
        """These are on the disk."""
        entries = list(entries)
        with named(self.file), self.file.open("a", encoding="utf-8") as file:
            file.write("".join(json.dumps(entry) + "\n" for entry in entries))
        flush_to_disk([self.file])
        self.done |= {entry.path: entry for entry in entries}

    def close(self, bad: Iterable[tuple[str, str]]) -> list[Entry]:
        """Write the index and the (path, what is wrong) of this share, with those of the others; what is done."""
        try:
            lines = "".join(json.dumps(pair) + "\n" for pair in bad)
            with atomic_path(self.folder / f"bad-{self.share}.jsonl") as temporary:
                temporary.write_text(lines, encoding="utf-8")
            with FileLock(self.folder / "settings.lock"):
                entries = sorted({entry.path: entry for entry in self._entries()}.values())
                rows = ((e.name, e.path, e.file, e.frames, f"{e.seconds:.3f}") for e in entries)
                write_table(self.out / INDEX, ("name", "path", "file", "frames", "seconds"), rows)
                done = {entry.path for entry in entries}
                wrong = {
                    path: reason
                    for file in sorted(self.folder.glob("bad-*.jsonl"))
                    for path, reason in map(json.loads, _lines(file))
                    if path not in done
                }
                if wrong:
                    write_table(self.out / BAD, ("path", "reason"), sorted(wrong.items()))
                else:
                    (self.out / BAD).unlink(missing_ok=True)
            return entries
        finally:
            self.lock.release()


def _brief(value: Any) -> str:
    return "none" if value is None else str(value)[:12]


def _lines(file: Path) -> list[str]:
    """Whole lines; the last one of a process that was killed, or that writes at this moment, may be half."""
    return [line for line in file.read_text(encoding="utf-8").splitlines(keepends=True) if line.endswith("\n")]


def _drop_half_line(file: Path) -> None:
    if file.is_file() and (content := file.read_bytes()) and not content.endswith(b"\n"):
        with file.open("r+b") as half:
            half.truncate(content.rfind(b"\n") + 1)


def write_table(path: Path, head: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    with atomic_path(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, delimiter="\t", lineterminator="\n")
        writer.writerow(head)
        writer.writerows([printable(cell) if isinstance(cell, str) else cell for cell in row] for row in rows)

"""Fluent Speech Commands' layout: `root/data/{train,valid,test}_data.csv`, whose rows name recordings below `root`."""

import csv
import io
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from ...audio import SAMPLE_RATE
from ...audio.scan import count_samples_16k, scan
from ...errors import FitHubertError
from ..problems import Report

SLOTS = ("action", "object", "location")
TABLES = {"train": "train_data.csv", "dev": "valid_data.csv", "test": "test_data.csv"}  # s3prl's split -> its table


class Command(NamedTuple):
    """A row of a table.

    Attributes
    ----------
    line : int
        Where it ends in the table, from 1.
    path : str
        The recording, below the corpus.
    action, object, location : str
        The intent.
    """

    line: int
    path: str
    action: str
    object: str
    location: str


def table_of(root: str | Path, split: str) -> Path:
    """The table of "train", "dev" or "test"."""
    return Path(root, "data", TABLES[split])


def read_table(table: str | Path) -> list[Command]:
    """The rows of a table, in their order; other columns are passed over.

    Raises
    ------
    FitHubertError
        It is not there, not in UTF-8, lacks a column, has no row, or a row of another length or without a value.
    """
    names = ("path", *SLOTS)
    try:
        text = Path(table).read_text(encoding="utf-8-sig")
    except (OSError, UnicodeError) as error:
        found = getattr(error, "strerror", None) or error
        raise FitHubertError(f"{table}: expected a table of {', '.join(names)}, found: {found}") from error
    rows = _rows(table, text)
    _, header = next(rows, (0, []))
    if any(header.count(name) != 1 for name in names):
        found = ", ".join(header) or "an empty file"
        raise FitHubertError(f"{table}: expected the columns {', '.join(names)} once each, found {found}")
    commands = []
    for line, row in rows:
        if len(row) != len(header):
            raise FitHubertError(
                f"{table}, line {line}: expected {len(header)} fields as in its first line, found {len(row)}"
            )
        values = dict(zip(header, row, strict=True))
        for name in names:
            if not values[name].strip():
                raise FitHubertError(f"{table}, line {line}: expected a value for {name}, found none")
        commands.append(Command(line, *(values[name] for name in names)))
    if not commands:
        raise FitHubertError(f"{table}: expected recordings, found no row")
    return commands


def _rows(table: str | Path, text: str) -> Iterator[tuple[int, list[str]]]:
    """The rows that are not empty, each with the line it ends in."""
    rows = csv.reader(io.StringIO(text, newline=""))
    try:
        yield from ((rows.line_num, row) for row in rows if row)
    except csv.Error as error:  # a quote that nothing ends
        raise FitHubertError(
            f"{table}, line {rows.line_num}: expected comma-separated values, found: {error}"
        ) from error


def slot_values(root: str | Path) -> list[str]:
    """`SLOT VALUE` of all that train holds, in the order by which s3prl numbers a model's outputs."""
    commands = read_table(table_of(root, "train"))
    return [
        f"{slot} {value}" for slot in SLOTS for value in dict.fromkeys(getattr(command, slot) for command in commands)
    ]


def recordings(root: str | Path) -> list[str]:
    """Paths below `root` of all recordings of the tables that are there, once each."""
    tables = [table for split in TABLES if (table := table_of(root, split)).is_file()]
    return list(dict.fromkeys(command.path for table in tables for command in read_table(table)))


def check_fluent_commands(root: str | Path, progress: bool = True) -> Report:
    """Check the three tables: each recording is there once, mono, 16 kHz and whole, and each value occurs in train.

    Parameters
    ----------
    root : path
        Holds `data/` with the tables, and the recordings where their rows say.
    progress : bool
        Show a bar.
    """
    root = Path(root)
    name = shlex.join(["fluent_commands", str(root)])
    if not root.is_dir():
        return Report(
            name, {}, [f"{root}: no such folder; expected wavs and data/*.csv in Fluent Speech Commands' layout"]
        )
    problems: list[str] = []
    tables: dict[str, list[Command]] = {}
    for split in TABLES:
        try:
            tables[split] = read_table(table_of(root, split))
        except FitHubertError as error:
            problems.append(str(error))
    problems += _recording_problems(root, tables) + _value_problems(root, tables)
    paths = {split: list(dict.fromkeys(command.path for command in commands)) for split, commands in tables.items()}
    there = [root / path for path in dict.fromkeys(sum(paths.values(), [])) if (root / path).is_file()]
    lengths = scan(there, count_samples_16k, "Reading Fluent Speech Commands", progress)
    problems += [length for length in lengths.values() if isinstance(length, str)]
    counts: dict[str, int | float] = {}
    for split, members in paths.items():
        samples = [length for path in members if isinstance(length := lengths.get(root / path), int)]
        counts[f"{split} commands"] = len(tables[split])
        counts[f"{split} speakers"] = len({Path(path).parent for path in members})
        counts[f"{split} hours"] = sum(samples) / SAMPLE_RATE / 3600
    if "train" in tables:
        counts["intents"] = len({command[2:] for command in tables["train"]})
    return Report(name, counts, problems)


def _recording_problems(root: Path, tables: dict[str, list[Command]]) -> list[str]:
    """A line for each recording that is not there, or in two rows."""
    problems, first = [], {}
    for split, commands in tables.items():
        table = table_of(root, split)
        for command in commands:
            place = f"{table}, line {command.line}"
            if command.path in first:
                problems.append(
                    f"{place}: expected each recording once, found {command.path} of {first[command.path]} again; "
                    "remove one"
                )
            elif not (root / command.path).is_file():
                problems.append(f"{place}: expected {command.path} in {root}, found no such file")
            first.setdefault(command.path, place)
    return problems


def _value_problems(root: Path, tables: dict[str, list[Command]]) -> list[str]:
    """A line for each value that train lacks: s3prl has no output for it."""
    if "train" not in tables:
        return []
    problems = []
    for slot in SLOTS:
        known = {getattr(command, slot) for command in tables["train"]}
        for split in tables.keys() - {"train"}:
            others = {getattr(command, slot): command.line for command in reversed(tables[split])}
            problems += [
                f"{table_of(root, split)}, line {line}: expected {slot} to be one of {TABLES['train']}, found "
                f"{value!r}; remove its rows, or add it there"
                for value, line in others.items()
                if value not in known
            ]
    return sorted(problems)

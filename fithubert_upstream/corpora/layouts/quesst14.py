"""QUESST 2014's layout: lists in `root/scoring`, the recordings that they name, and what is said where.

s3prl's query by example reads the English part of `language_key_{utterances,dev,eval}.lst`. Right and wrong is in
`groundtruth_quesst14_{dev,eval}`, in the formats of NIST's spoken term detection (2006): `*.tlist.xml` lists the
queries, `*.ecf.xml` the documents, `*.rttm` in which of them each query is said.
"""

import shlex
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

from ...audio.scan import count_milliseconds, scan
from ...audio.walk import is_audio
from ...errors import FitHubertError
from ..problems import HOUR_MS, Report

ENGLISH = "nnenglish"
DOCUMENTS = "language_key_utterances.lst"
QUERIES = {"dev": "language_key_dev.lst", "test": "language_key_eval.lst"}  # s3prl's split -> its list
TRUTHS = {"dev": "groundtruth_quesst14_dev", "test": "groundtruth_quesst14_eval"}
_SUFFIXES = (".tlist.xml", ".ecf.xml", ".rttm")


@dataclass(frozen=True)
class Truth:
    """Where the queries of a split are said.

    Attributes
    ----------
    targets : dict
        Each listed query -> the documents that hold it.
    documents : frozenset of str
        All of them.
    """

    targets: dict[str, frozenset[str]]
    documents: frozenset[str]


def name_of(path: str | Path) -> str:
    """What s3prl knows a recording by: its name without folder and suffix."""
    return Path(path).with_suffix("").name


def truth_folder(root: str | Path, split: str) -> Path:
    return Path(root, "scoring", TRUTHS[split])


def list_of(root: str | Path, name: str) -> Path:
    """The list of this name."""
    return Path(root, "scoring", name)


def read_list(root: str | Path, name: str) -> list[Path]:
    """The English recordings of a list, in its order; like s3prl, without the first folder that it names.

    Raises
    ------
    FitHubertError
        The list is not there, a line has another form, or none is of English.
    """
    path = list_of(root, name)
    found = []
    for number, line in enumerate(_text(path, "lines `folder/path language`").splitlines(), start=1):
        if not line.strip():
            continue
        match line.split():
            case [recording, language]:
                if language == ENGLISH:
                    found.append(Path(root, recording.partition("/")[2] or recording))
            case _:
                raise FitHubertError(f"{path}, line {number}: expected `folder/path language`, found {line[:80]!r}")
    if not found:
        raise FitHubertError(f"{path}: expected recordings of {ENGLISH}, found none")
    return found


def truth_files(root: str | Path, split: str) -> dict[str, list[Path]]:
    """The files of the ground truth of a split, by suffix: one of each where it is sound."""
    files = [path for path in sorted(truth_folder(root, split).glob("*")) if not path.name.startswith(".")]
    return {suffix: [path for path in files if path.name.endswith(suffix)] for suffix in _SUFFIXES}


def read_truth(root: str | Path, split: str) -> Truth:
    """Where each query of "dev" or "test" is said; lines of other queries and documents are passed over.

    Raises
    ------
    FitHubertError
        A file is missing or of another form, or no query is said anywhere.
    """
    files = {}
    for suffix, there in truth_files(root, split).items():
        if len(there) != 1:
            found = ", ".join(path.name for path in there) or "none"
            raise FitHubertError(f"{truth_folder(root, split)}: expected one file *{suffix}, found {found}")
        files[suffix] = there[0]
    documents = frozenset(map(_document, _attributes(files[".ecf.xml"], "excerpt", "audio_filename")))
    targets: dict[str, set[str]] = {query: set() for query in _attributes(files[".tlist.xml"], "term", "termid")}
    rttm = files[".rttm"]
    for number, line in enumerate(_text(rttm, "lines `LEXEME document channel begin duration query`").splitlines(), 1):
        fields = line.split()
        if not fields or fields[0] != "LEXEME":
            continue
        if len(fields) < 6:
            raise FitHubertError(
                f"{rttm}, line {number}: expected `LEXEME document channel begin duration query`, found {line[:80]!r}"
            )
        if fields[5] in targets and (document := _document(fields[1])) in documents:
            targets[fields[5]].add(document)
    if not any(targets.values()):
        raise FitHubertError(
            f"{rttm}: expected documents of {files['.ecf.xml'].name} that hold queries of "
            f"{files['.tlist.xml'].name}, found none"
        )
    return Truth({query: frozenset(found) for query, found in targets.items()}, documents)


def _text(path: Path, what: str) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeError) as error:
        found = getattr(error, "strerror", None) or error
        raise FitHubertError(f"{path}: expected {what}, found: {found}") from error


def _attributes(path: Path, tag: str, attribute: str) -> list[str]:
    """The attribute of all elements of a name in an XML file."""
    try:
        elements = list(ElementTree.parse(path).iter(tag))
    except (OSError, ElementTree.ParseError) as error:
        found = getattr(error, "strerror", None) or error
        raise FitHubertError(f"{path}: expected XML with <{tag} {attribute}=...>, found: {found}") from error
    values = [element.get(attribute) for element in elements]
    if not values or None in values:
        raise FitHubertError(
            f"{path}: expected <{tag} {attribute}=...>, found {'one without it' if values else 'no such element'}"
        )
    return [str(value) for value in values]


def _document(name: str) -> str:
    """A document's name; the ground truth may have it with folder and suffix."""
    return name_of(name) if is_audio(Path(name)) else Path(name).name


def check_quesst14(root: str | Path, progress: bool = True) -> Report:
    """Check the English recordings of the three lists, and the ground truth of dev and test.

    Queries that are said nowhere are counted and no problem: QUESST's own tool leaves them out.

    Parameters
    ----------
    root : path
        Holds `scoring/`, and the recordings where its lists say.
    progress : bool
        Show a bar.
    """
    root = Path(root)
    corpus = shlex.join(["quesst14", str(root)])
    if not root.is_dir():
        return Report(corpus, {}, [f"{root}: no such folder; expected scoring/*.lst in QUESST 2014's layout"])
    problems: list[str] = []
    lists: dict[str, list[Path]] = {}
    for what, name in (("documents", DOCUMENTS), *((f"{split} queries", name) for split, name in QUERIES.items())):
        try:
            lists[what] = read_list(root, name)
        except FitHubertError as error:
            problems.append(str(error))
            continue
        problems += _name_problems(list_of(root, name), lists[what])
    files = dict.fromkeys(file for found in lists.values() for file in found)
    lengths = scan([file for file in files if file.is_file()], count_milliseconds, "Reading QUESST 2014", progress)
    problems += [length for length in lengths.values() if isinstance(length, str)]
    counts: dict[str, int | float] = {}
    for what, found in lists.items():
        counts[what] = len(found)
        known = [length for file in found if isinstance(length := lengths.get(file), int)]
        counts[f"{what} hours"] = sum(known) / HOUR_MS
    for split, name in QUERIES.items():
        try:
            truth = read_truth(root, split)
        except FitHubertError as error:
            problems.append(str(error))
            continue
        queries, documents = (set(map(name_of, lists.get(key, ()))) for key in (f"{split} queries", "documents"))
        where = truth_folder(root, split)
        problems += _lacking(where / "*.tlist.xml", name, queries - truth.targets.keys())
        problems += _lacking(where / "*.ecf.xml", DOCUMENTS, documents - truth.documents)
        counts[f"{split} queries that are said"] = sum(bool(truth.targets.get(query)) for query in queries)
        if queries and not counts[f"{split} queries that are said"]:
            problems.append(f"{where}: expected documents with queries of {name}, found none with any")
    return Report(corpus, counts, problems)


def _name_problems(path: Path, files: list[Path]) -> list[str]:
    """A line for each recording that is not there, or has the name of another: s3prl would take one for both."""
    missing = [f"{path}: expected {file}, found no such file" for file in dict.fromkeys(files) if not file.is_file()]
    counts = Counter(map(name_of, files))
    twice = [f"{path}: expected {name} once, found it {n} times; remove one" for name, n in counts.items() if n > 1]
    return missing + twice


def _lacking(path: Path, name: str, names: Iterable[str]) -> list[str]:
    return [f"{path}: expected {one}, which {name} has, found no such name" for one in sorted(names)]

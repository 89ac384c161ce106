"""What a corpus is, told by its files: a result of one corpus is not given as one of another. Imports no torch.

Noticed are files that were added, removed, renamed or replaced, and edited transcripts, tables, lists and lexicons.
Where the corpus lies, and the times of its files, play no part: a copy is the same corpus. Contents are read once and
remembered by `files.stamp` (`audio.scan`), so a file replaced by one of the same size is noticed too, even if a copy
gave it the old one's time (not on Windows); files that no task reads are not.
"""

import hashlib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from ..audio.scan import scan
from ..audio.walk import is_audio, walk
from ..errors import FitHubertError
from .layouts.fluent_commands import TABLES, recordings, table_of
from .layouts.iemocap import evaluation_files, read_iemocap
from .layouts.librimix import REFERENCE, SPLITS, read_kaldi
from .layouts.librimix import TABLES as KALDI_TABLES
from .layouts.librispeech import TRANSCRIPT
from .layouts.quesst14 import DOCUMENTS, QUERIES, list_of, read_list, truth_files
from .layouts.snips import TABLE, find_recordings
from .layouts.voxceleb1 import read_identification

# Keys of the tasks' configs that say where a corpus lies.
PLACES = (
    *("path", "libri_root", "file_path", "speech_commands_root", "speech_commands_test_root"),
    *("dev_meta_data", "test_meta_data", "meta_data", "root", "test_root", "trials", "dev_trials"),
    "slots_file",
    *("train_dir", "dev_dir", "test_dir"),
    "dataset_root",
)
TASKS = (
    *("ctc", "asr", "speech_commands", "sv_voxceleb1", "joint_ks_sv"),
    # whose recordings are those that tables and lists name
    *("fluent_commands", "voxceleb1", "emotion", "diarization", "quesst14_dtw"),
)
FILES, DIGEST = "corpus.files", "corpus.digest"


def corpus_state(task: str, config: Mapping[str, Any], progress: bool = True) -> dict[str, Any]:
    """The corpus that a task reads, as the number of its files and a digest of their names and contents.

    Parameters
    ----------
    task : str
        s3prl's -d.
    config : dict
        With its `downstream_expert`, paths filled in.
    progress : bool
        Show a bar while contents are read.

    Returns
    -------
    dict
        `FILES` and `DIGEST`; empty where nothing of it is there, or the task is none of `TASKS`.
    """
    return state_of(dict(_places(task, config["downstream_expert"])), progress)


def corpus_audio(task: str, config: Mapping[str, Any]) -> list[Path]:
    """The recordings that a task reads; arguments as of `corpus_state`."""
    places = _places(task, config["downstream_expert"])
    return [file for _, place in places for file, _ in _files(place) if is_audio(file)]


def state_of(places: Mapping[str, Path], progress: bool = True) -> dict[str, Any]:
    """`corpus_state` of named folders and files. Raises FitHubertError for a file that cannot be read."""
    named = {file: f"{name}:{inside}" for name, place in places.items() for file, inside in _files(place)}
    if not named:
        return {}
    contents = scan(list(named), content, "Comparing the corpus", progress)
    for found in contents.values():
        if isinstance(found, str):
            raise FitHubertError(found)
    lines = sorted(f"{name} {contents[file]}" for file, name in named.items())
    digest = hashlib.blake2b("\n".join(lines).encode("utf-8", "surrogateescape"), digest_size=16)
    return {FILES: len(lines), DIGEST: digest.hexdigest()}


def changed(then: Mapping[str, Any], now: Mapping[str, Any]) -> str | None:
    """What to say of a corpus that is another now than then; None where it is the same."""
    if then[DIGEST] == now[DIGEST]:
        return None
    if then[FILES] != now[FILES]:
        return f"the corpus has changed since: it had {then[FILES]} files and has {now[FILES]} now"
    return f"the corpus has changed since: at least one of its {now[FILES]} files is different"


def content(path: Path) -> int:
    """A number that stands for a file's bytes."""
    digest = hashlib.blake2b(digest_size=8)
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return int.from_bytes(digest.digest(), "big")


def _files(place: Path) -> Iterator[tuple[Path, str]]:
    """The files of a folder that tasks read, with their names in it; or a file itself."""
    if place.is_file():
        yield place, ""
    for _, files in walk(place):
        for file in files:
            if is_audio(file) or file.name.endswith(TRANSCRIPT):
                yield file, file.relative_to(place).as_posix()


def _places(task: str, expert: Mapping[str, Any]) -> Iterator[tuple[str, Path]]:
    """Names and places of what a task reads; none of a task that is not known here."""
    corpus = expert.get("corpus")
    if task == "ctc" and isinstance(corpus, Mapping) and str(corpus.get("name")).lower() == "snips":
        yield from _slots(corpus, expert["text"])
        return
    if task in _LISTED:
        yield from _LISTED[task](expert["loaderrc" if task == "diarization" else "datarc"])
        return
    if task not in TASKS:
        return
    for block in ("corpus", "datarc", "text", "ks", "sv"):
        entries = expert.get(block)
        if not isinstance(entries, Mapping) or (
            task == "joint_ks_sv" and block not in expert.get("tasks", ("ks", "sv"))
        ):
            continue
        for key, value in entries.items():
            if key == "lexicon":
                yield from ((f"{key} {number}", Path(str(name))) for number, name in enumerate(_list(value)))
            elif key in ("path", "libri_root"):  # the folders of its splits alone
                splits = [f for name, v in entries.items() if isinstance(v, list) and name != "lexicon" for f in v]
                yield from ((f"split {split}", Path(str(value), str(split))) for split in splits)
            elif key == "file_path":
                yield from ((part, Path(str(value), part, "wav")) for part in ("dev", "test"))
            elif key == "root" and isinstance(entries.get("speakers"), Mapping):
                names = [str(name) for split in entries["speakers"].values() for name in _list(split)]
                yield from ((f"{block} {name}", Path(str(value), name)) for name in names)
            elif key == "dict_path" and Path(str(value)).parent == Path(str(entries.get("bucket_file"))):
                continue  # `fithubert prepare` makes it of the corpus
            elif key in (*PLACES, "vocab_file", "dict_path") and value:
                yield f"{block} {key}", Path(str(value))


def _list(value: Any) -> list:
    return list(value) if isinstance(value, list | tuple) else [value]


def _intents(data: Mapping[str, Any]) -> Iterator[tuple[str, Path]]:
    root = Path(str(data["file_path"]))
    yield from ((split, table_of(root, split)) for split in TABLES)
    yield from ((f"recording {path}", root / path) for path in recordings(root))


def _speakers(data: Mapping[str, Any]) -> Iterator[tuple[str, Path]]:
    root, listed = Path(str(data["file_path"])), Path(str(data["meta_data"]))
    yield "list", listed
    parts = read_identification(root, listed) if listed.is_file() and root.is_dir() else {}
    yield from ((f"recording {file.relative_to(root).as_posix()}", file) for files in parts.values() for file in files)


def _emotions(data: Mapping[str, Any]) -> Iterator[tuple[str, Path]]:
    """All sessions: each fold reads them. Its files in `meta_data` are made of the corpus by `fithubert prepare`."""
    root = Path(str(data["root"]))
    sessions = read_iemocap(root)[0] if root.is_dir() else {}
    for name, session in sessions.items():
        yield from ((f"{name} {file.name}", file) for file in evaluation_files(root, name))
        yield from ((f"recording {utterance.path}", root / utterance.path) for utterance in session.utterances)


def _slots(corpus: Mapping[str, Any], text: Mapping[str, Any]) -> Iterator[tuple[str, Path]]:
    """The recordings of the speakers that the config names, and what says their words and slots."""
    root = Path(str(corpus["path"]))
    yield "table", root / TABLE
    yield from ((key, Path(str(text[key]))) for key in ("slots_file", "vocab_file"))
    for folder in dict.fromkeys(f for name, v in corpus.items() if not name.endswith("_speakers") for f in _folders(v)):
        there = (root / folder).is_dir()
        for file in find_recordings(root, folder, corpus.get(f"{folder}_speakers")) if there else ():
            yield f"recording {file.relative_to(root).as_posix()}", file


def _folders(value: Any) -> list[str]:
    """The folders of a split; none of what is no list."""
    return [str(name) for name in value] if isinstance(value, list) else []


def _conversations(data: Mapping[str, Any]) -> Iterator[tuple[str, Path]]:
    """All splits' tables and recordings, wherever those lie; of the test, what it is scored by."""
    yield f"test {REFERENCE}", Path(str(data["test_dir"]), REFERENCE)
    for split in SPLITS:
        folder = Path(str(data[f"{split}_dir"]))
        yield from ((f"{split} {name}", folder / name) for name in KALDI_TABLES)
        recordings = read_kaldi(folder) if (folder / KALDI_TABLES[0]).is_file() else {}
        yield from ((f"{split} recording {name}", recording.audio) for name, recording in recordings.items())


def _queries(data: Mapping[str, Any]) -> Iterator[tuple[str, Path]]:
    """The English recordings of all three lists, and the ground truth of both splits."""
    root = Path(str(data["dataset_root"]))
    for name in (DOCUMENTS, *QUERIES.values()):
        yield name, list_of(root, name)
        files = read_list(root, name) if list_of(root, name).is_file() else []
        yield from ((f"recording {file.relative_to(root).as_posix()}", file) for file in files)
    for split in QUERIES:
        files = truth_files(root, split).values()
        yield from ((f"{split} {file.name}", file) for found in files for file in found)


_LISTED: dict[str, Callable[[Mapping[str, Any]], Iterator[tuple[str, Path]]]] = {
    "fluent_commands": _intents,
    "voxceleb1": _speakers,
    "emotion": _emotions,
    "diarization": _conversations,
    "quesst14_dtw": _queries,
}

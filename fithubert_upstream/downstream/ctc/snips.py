"""Audio SNIPS with slots: the corpus module that s3prl's CTC task wants and its wheel lacks.

Stands in for `s3prl.downstream.ctc.corpus.snips`; see `create_dataset` in s3prl's
`downstream/ctc/data.py` for how it is called.
"""

from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

from ...corpora.layouts.snips import Speakers, find_recordings, read_slots, read_table, read_vocabulary
from ...corpora.layouts.snips_check import SKIPPED, UNKNOWN, check_snips
from ...corpora.problems import require
from ...errors import FitHubertError
from .buckets import Buckets


class SnipsDataset(Buckets):
    """Sentences of Audio SNIPS, as (audio file, tokens of characters and slots, name).

    Parameters
    ----------
    split
        Folders below `path` to read, such as ["train"].
    tokenizer
        s3prl's text encoder in `character-slot` mode.
    bucket_size
        See `Buckets`.
    path
        The corpus: the table, and recordings anywhere below its folders.
    speakers
        `train_speakers` and so on, for each folder; by default all that are there.

    Raises
    ------
    FitHubertError
        A folder, a line or a slot is missing.
    """

    def __init__(self, split: list[str], tokenizer, bucket_size: int, path: str, **speakers: Any) -> None:
        items = []
        for folder, chosen in speakers_of(split, speakers).items():
            for audio, text in sentences(str(path), folder, None if chosen is None else tuple(chosen)):
                try:
                    items.append((audio, tokenizer.encode(text), audio.stem))
                except KeyError as slot:
                    raise FitHubertError(f"{audio}: expected a slot of the slots file, found {slot}") from None
        super().__init__(items, bucket_size)


def speakers_of(folders: str | Sequence[str], corpus: Mapping[str, Any]) -> Speakers:
    """Folder -> its speakers in a config's `corpus`, None for all."""
    names = [folders] if isinstance(folders, str) else folders
    return {folder: corpus.get(f"{folder}_speakers") for folder in names}


# s3prl makes a new dataset for every evaluation: read the table once.
@lru_cache(maxsize=8)
def sentences(path: str, folder: str, speakers: tuple[str, ...] | None) -> list[tuple[Path, str]]:
    """(recording, its text for s3prl's encoder) of a folder; every recording has a line."""
    table = read_table(path).sentences
    found = find_recordings(path, folder, speakers)
    if missing := [file for file in found if file.stem not in table]:
        raise FitHubertError(f"{missing[0]}: expected a sound line for it in the table, found none")
    return [(file, table[file.stem].text) for file in found]


def check_slots(corpus: Mapping[str, Any], text: Mapping[str, Any], folders: list[str]) -> None:
    """See that slot filling will find its sentences, recordings and symbols; say what s3prl cannot spell.

    Parameters
    ----------
    corpus, text : dict
        Of a config's `downstream_expert`.
    folders : list of str
        Those that the run reads.

    Raises
    ------
    FitHubertError
        The corpus has problems, or the text is not read as characters and slots.
    """
    sentences.cache_clear()  # a run may follow another in one process, and files were edited since
    if text.get("mode") != "character-slot":
        raise FitHubertError(
            "config.downstream_expert.text.mode: expected character-slot for slot filling, found "
            f"{text.get('mode')}; give -o config.downstream_expert.text.mode=character-slot"
        )
    report = check_snips(corpus["path"], speakers_of(folders, corpus), text["slots_file"], text["vocab_file"])
    require(report)
    for name in (UNKNOWN, SKIPPED):
        if report.counts[name]:
            print(f"{corpus['path']} ({', '.join(folders)}): {name}: {report.counts[name]:,}")


def symbols(text: Mapping[str, Any]) -> list[str]:
    """What numbers the model's outputs: the characters, then the slots."""
    return [*read_vocabulary(text["vocab_file"]), *read_slots(text["slots_file"])]

"""LibriSpeech with phone transcripts: the corpus module that s3prl's CTC task wants and its wheel lacks.

Stands in for `s3prl.downstream.ctc.corpus.libriphone`; see `create_dataset` in s3prl's
`downstream/ctc/data.py` for how it is called.
"""

import logging
from collections import Counter
from functools import lru_cache
from pathlib import Path

from ...corpora.layouts import librispeech
from ...corpora.layouts.librispeech import find_transcripts, read_transcript
from ...errors import FitHubertError
from .buckets import Buckets
from .phones import load_lexicon, read_lexicon

logger = logging.getLogger(__name__)


class LibriPhoneDataset(Buckets):
    """Utterances of LibriSpeech-like splits, as (audio file, phone tokens), longest transcript first.

    Parameters
    ----------
    split
        Folders below `path` to read, such as ["train-clean-100"].
    tokenizer
        s3prl's text encoder in `word` mode; `encode` takes phones with spaces between.
    bucket_size
        1: an item is one utterance. More: an item is a list of that many neighbours in order of
        length (fewer only if there are fewer utterances), so that a batch needs little padding.
    path
        The corpus: `path/split/speaker/chapter/*.trans.txt`, beside .flac or .wav files.
    lexicon
        Sources for `load_lexicon`.
    skip_oov
        Leave out utterances with a word that the lexicon lacks, instead of raising.

    Raises
    ------
    FitHubertError
        A split's folder, its transcripts, an audio file or a pronunciation is missing, or the
        tokenizer's vocabulary lacks a phone.
    """

    def __init__(
        self,
        split: list[str],
        tokenizer,
        bucket_size: int,
        path: str,
        lexicon: list[str],
        skip_oov: bool = False,
        **kwargs,
    ) -> None:
        splits = (split,) if isinstance(split, str) else tuple(split)
        sources = (lexicon,) if isinstance(lexicon, str) else tuple(lexicon)
        utterances = phone_transcripts(str(path), splits, sources, skip_oov)
        items = [(audio, tokenizer.encode(" ".join(phones))) for audio, phones in utterances]
        for (_, phones), (_, tokens) in zip(utterances, items, strict=True):
            if tokenizer.unk_idx in tokens:
                unknown = phones[tokens.index(tokenizer.unk_idx)]
                raise FitHubertError(
                    f"vocabulary: expected every phone of the transcripts, found no {unknown}; "
                    "set config.downstream_expert.text.vocab_file=phoneme.txt"
                )
        super().__init__(items, bucket_size)


# s3prl makes a new dataset for every epoch and every evaluation: read the files, and warn, once.
@lru_cache(maxsize=8)
def phone_transcripts(
    path: str, splits: tuple[str, ...], lexicon: tuple[str, ...], skip_oov: bool
) -> list[tuple[Path, list[str]]]:
    """Find the utterances of some splits: (audio file, phones) in the order of the files."""
    pronunciations = load_lexicon(list(lexicon))
    utterances, missing, dropped = [], Counter(), 0
    for split in splits:
        for audio, words in read_split(path, split):
            unknown = [word for word in words if word not in pronunciations]
            if unknown:
                missing.update(unknown)
                dropped += 1
            else:
                utterances.append((audio, [phone for word in words for phone in pronunciations[word]]))
    corpus = f"{path} ({', '.join(splits)})"
    if missing and not skip_oov:
        some = ", ".join(word for word, _ in missing.most_common(10))
        raise FitHubertError(
            f"{corpus}: expected every word in the lexicon {list(lexicon)}, found {len(missing)} words "
            f"outside, in {dropped} utterances: {some}{', ...' if len(missing) > 10 else ''}; add "
            "them to a lexicon file, or leave those utterances out with --skip-oov"
        )
    if not utterances:
        raise FitHubertError(
            f"{corpus}: expected utterances whose words are all in the lexicon {list(lexicon)}, found none "
            f"({dropped} left out); give another lexicon"
        )
    if dropped:
        total = dropped + len(utterances)
        logger.warning(
            "%s: left out %d of %d utterances, for %d words outside the lexicon",
            corpus,
            dropped,
            total,
            len(missing),
        )
    return utterances


def forget() -> None:
    """Read transcripts and lexicons anew: a run may follow another in one process, and they were edited since."""
    phone_transcripts.cache_clear()
    read_lexicon.cache_clear()


def read_split(path: str, split: str) -> list[tuple[Path, list[str]]]:
    """Read one split in LibriSpeech's layout: (audio file, upper-case words) of each utterance."""
    folder = split_folder(path, split)
    utterances = []
    for transcript in find_transcripts(folder):
        for line in read_transcript(transcript):
            if not line.name:  # an empty line
                continue
            if line.problem:
                raise FitHubertError(line.problem)
            utterances.append((line.audio, line.words))
    if not utterances:
        raise FitHubertError(
            f"{folder}: expected speaker/chapter/*.trans.txt with audio beside, found no utterance; "
            "point config.downstream_expert.corpus.path at a folder in LibriSpeech's layout"
        )
    return utterances


def split_folder(path: str, split: str) -> Path:
    """The folder of a split, or an error that says which splits there are."""
    try:
        return librispeech.split_folder(path, split)
    except FitHubertError as error:
        raise FitHubertError(
            f"{error}; give -o config.downstream_expert.corpus.path=..., or correct the splits in "
            "config.downstream_expert.corpus"
        ) from None

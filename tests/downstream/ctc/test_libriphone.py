"""The phone recognition corpus, on tiny ones made here."""

import logging
from pathlib import Path

import numpy as np
import pytest
import soundfile

from fithubert_upstream.compat import s3prl as s3prl_compat
from fithubert_upstream.compat.modules import provide_module
from fithubert_upstream.downstream.ctc.libriphone import LibriPhoneDataset
from fithubert_upstream.downstream.ctc.phones import PHONES
from fithubert_upstream.errors import FitHubertError

s3prl_compat.apply()
from s3prl.downstream.ctc.text import WordTextEncoder  # noqa: E402

TOKENIZER = WordTextEncoder(list(PHONES))


def write_split(folder: Path, lines: dict[str, str], suffix: str = "flac") -> None:
    """Write utterances `speaker-chapter-number: words` in LibriSpeech's layout, a tenth of a second each."""
    for name, words in lines.items():
        chapter = folder.joinpath(*name.split("-")[:2])
        chapter.mkdir(parents=True, exist_ok=True)
        soundfile.write(chapter / f"{name}.{suffix}", np.zeros(1600), 16000)
        with open(chapter / f"{'-'.join(name.split('-')[:2])}.trans.txt", "a") as file:
            file.write(f"{name} {words}\n")


@pytest.fixture
def corpus(tmp_path):
    write_split(
        tmp_path / "corpus" / "train",
        {"1-2-0000": "THE CAT", "1-2-0001": "CAT", "3-4-0000": "THE CAT THE", "3-4-0001": "THE"},
    )
    write_split(tmp_path / "corpus" / "dev", {"5-6-0000": "cat"}, "wav")
    lexicon = tmp_path / "lexicon.txt"
    lexicon.write_text("THE DH AH0\nCAT K AE1 T\n")
    return {"path": str(tmp_path / "corpus"), "lexicon": [str(lexicon)]}


def names(items) -> list[str]:
    return [path.stem for path, _ in items]


def test_an_utterance_is_its_file_and_its_phones(corpus):
    dataset = LibriPhoneDataset(["dev"], TOKENIZER, 1, **corpus, name="libriphone", train=["train"])
    ((path, tokens),) = [dataset[i] for i in range(len(dataset))]
    assert path == Path(corpus["path"], "dev", "5", "6", "5-6-0000.wav")
    assert tokens == [TOKENIZER.vocab_to_idx(phone) for phone in ("K", "AE1", "T")] + [TOKENIZER.eos_idx]
    assert isinstance(dataset[0], tuple)


def test_buckets_are_neighbours_in_length(corpus):
    dataset = LibriPhoneDataset(["train"], TOKENIZER, 2, **corpus)
    ordered = ["3-4-0000", "1-2-0000", "1-2-0001", "3-4-0001"]
    assert [names(dataset[i]) for i in range(4)] == [ordered[0:2], ordered[1:3], ordered[2:4], ordered[2:4]]


def test_a_bucket_larger_than_the_corpus_is_the_corpus(corpus):
    dataset = LibriPhoneDataset(["train"], TOKENIZER, 16, **corpus)
    assert all(len(dataset[i]) == 4 for i in range(len(dataset)))
    single = LibriPhoneDataset(["dev"], TOKENIZER, 16, **corpus)
    assert isinstance(single[0], list) and len(single[0]) == 1


def test_several_splits_are_joined(corpus):
    assert len(LibriPhoneDataset(["train", "dev"], TOKENIZER, 1, **corpus)) == 5


def test_s3prls_loader_reads_it(corpus):
    """Through s3prl's own create_dataset and collate function."""
    import torch

    from fithubert_upstream.downstream.ctc import libriphone

    remove = provide_module("s3prl.downstream.ctc.corpus.libriphone", libriphone)
    try:
        from s3prl.downstream.ctc.data import load_dataset

        config = dict(corpus, name="libriphone", bucketing=True, batch_size=2, num_workers=0)
        config |= {"train": ["train"], "dev": ["dev"]}
        waves, tokens, files = next(iter(load_dataset("train", TOKENIZER, config)))
        assert len(waves) == len(tokens) == len(files) == 2
        assert torch.tensor(waves[0]).shape == (1600,)
        assert len(load_dataset("dev", TOKENIZER, config)) == 1
    finally:
        remove()


def test_a_missing_corpus_is_told(corpus):
    with pytest.raises(FitHubertError, match="nowhere: no such folder"):
        LibriPhoneDataset(["train"], TOKENIZER, 1, corpus["path"] + "/nowhere", corpus["lexicon"])


def test_a_missing_split_is_told_with_those_there(corpus):
    with pytest.raises(FitHubertError, match="expected a sub-folder test, found dev, train"):
        LibriPhoneDataset(["test"], TOKENIZER, 1, **corpus)


def test_a_split_without_utterances_is_told(corpus):
    Path(corpus["path"], "empty", "1").mkdir(parents=True)
    with pytest.raises(FitHubertError, match="found no utterance"):
        LibriPhoneDataset(["empty"], TOKENIZER, 1, **corpus)


def test_a_line_without_audio_is_told(corpus):
    Path(corpus["path"], "dev", "5", "6", "5-6-0000.wav").unlink()
    with pytest.raises(FitHubertError, match=r"5-6.trans.txt: expected 5-6-0000 \(.*\) beside it"):
        LibriPhoneDataset(["dev"], TOKENIZER, 1, **corpus)


def test_a_line_without_words_is_told(corpus):
    write_split(Path(corpus["path"], "dev"), {"5-6-0001": ""})
    with pytest.raises(FitHubertError, match="expected words after 5-6-0001"):
        LibriPhoneDataset(["dev"], TOKENIZER, 1, **corpus)


def test_words_outside_the_lexicon_are_listed_up_to_ten(corpus):
    words = [f"WORD{chr(ord('A') + i)}" for i in range(12)]
    write_split(Path(corpus["path"], "oov"), {"1-1-0000": "THE CAT", "1-1-0001": " ".join(words)})
    with pytest.raises(FitHubertError, match=r"12 words outside, in 1 utterances: WORDA.*WORDJ, \.\.\.;.*--skip-oov"):
        LibriPhoneDataset(["oov"], TOKENIZER, 1, **corpus)


def test_skip_oov_leaves_out_and_counts_once(corpus, caplog):
    write_split(Path(corpus["path"], "oov"), {"1-1-0000": "THE CAT", "1-1-0001": "ZYZZYVA CAT"})
    with caplog.at_level(logging.WARNING):
        for _ in range(2):
            dataset = LibriPhoneDataset(["oov"], TOKENIZER, 1, **corpus, skip_oov=True)
    assert names([dataset[0]]) == ["1-1-0000"] and len(dataset) == 1
    assert [record.getMessage().partition("left out")[2] for record in caplog.records] == [
        " 1 of 2 utterances, for 1 words outside the lexicon"
    ]


def test_nothing_left_is_told(corpus):
    write_split(Path(corpus["path"], "oov"), {"1-1-0001": "ZYZZYVA"})
    with pytest.raises(FitHubertError, match="found none \\(1 left out\\)"):
        LibriPhoneDataset(["oov"], TOKENIZER, 1, **corpus, skip_oov=True)


def test_a_vocabulary_without_a_phone_is_told(corpus):
    with pytest.raises(FitHubertError, match="found no AE1"):
        LibriPhoneDataset(["dev"], WordTextEncoder(["K", "T"]), 1, **corpus)

"""The prepared folder, as s3prl's own classes read it."""

import re
import shutil

import pytest

from fithubert_upstream.compat import s3prl as s3prl_compat
from fithubert_upstream.downstream.asr import LETTERS, check_prepared, main, prepare_librispeech
from fithubert_upstream.errors import FitHubertError

from ..helpers.audio import write_split

TRAIN = {"10-20-0000": "THE CAT", "10-20-0001": "it's", "10-30-0000": "A CAT SAT", "11-1-0000": "THAT"}
DEV = {"12-1-0000": "A HAT"}


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("FITHUBERT_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def corpus(tmp_path):
    write_split(tmp_path / "libri" / "train", TRAIN)
    write_split(tmp_path / "libri" / "dev", DEV, "wav")
    return tmp_path / "libri"


def contents(folder):
    return {path.name: (path.read_text(), path.stat().st_mtime_ns) for path in folder.iterdir()}


def test_tables_and_dictionary(corpus, tmp_path):
    output = prepare_librispeech(corpus, progress=False)
    assert output == corpus / "len_for_bucket"
    assert (output / "train.csv").read_text() == (
        "file_path,length\n"
        "train/10/20/10-20-0000.flac,1000\n"
        "train/10/20/10-20-0001.flac,1100\n"
        "train/10/30/10-30-0000.flac,1200\n"
        "train/11/1/11-1-0000.flac,1300\n"
    )
    assert (output / "dev.csv").read_text() == "file_path,length\ndev/12/1/12-1-0000.wav,1000\n"
    lines = [line.split(" ") for line in (output / "char.dict").read_text().splitlines()]
    assert lines[:4] == [["|", "9"], ["T", "8"], ["A", "7"], ["H", "3"]]
    assert lines[-2:] == [["Y", "0"], ["Z", "0"]]
    assert sorted(symbol for symbol, _ in lines) == sorted("|" + LETTERS)


def test_s3prl_reads_it(corpus, tmp_path):
    """Its dataset gives audio and the characters of it, its dictionary builder the same dictionary."""
    pytest.importorskip("pandas")
    s3prl_compat.apply()
    from s3prl.downstream.asr.dataset import SequenceDataset
    from s3prl.downstream.asr.dictionary import Dictionary

    output = prepare_librispeech(corpus, tmp_path / "out", progress=False)
    dictionary = Dictionary.load(str(output / "char.dict"))
    assert len(dictionary) == 32
    dataset = SequenceDataset(
        "train", 2, dictionary, libri_root=str(corpus), bucket_file=str(output), train=["train", "dev"]
    )
    assert len(dictionary) == 32
    read = {}
    for i in range(len(dataset)):
        for audio, labels, name in zip(*dataset[i], strict=True):
            read[name] = (len(audio), dictionary.string(labels).replace(" ", "").replace("|", " ").strip())
    # Longest first by twos; s3prl drops a last batch of one.
    everything = TRAIN | DEV
    lengths = [1000, 1100, 1200, 1300, 1000]
    expected = {name: (n, everything[name].upper()) for name, n in zip(everything, lengths, strict=True)}
    assert len(read) == 4 and read.items() <= expected.items() and "11-1-0000" in read

    folders = {f"train/{'/'.join(name.split('-')[:2])}/{name}" for name in TRAIN} | {"dev/12/1/12-1-0000"}
    built = dataset._build_dictionary(dataset._load_transcript(folders), padding_factor=1)
    counted = [f"{symbol} {count}" for symbol, count in zip(built.symbols, built.count, strict=True)]
    lines = (output / "char.dict").read_text().splitlines()
    assert [line for line in lines if not line.endswith(" 0")] == counted[built.nspecial :]


def test_repeating_it_rewrites_what_changed(corpus, capsys):
    output = prepare_librispeech(corpus)
    assert "wrote dev.csv, train.csv, char.dict" in capsys.readouterr().out
    before = contents(output)
    prepare_librispeech(corpus)
    assert f"{output}: up to date" in capsys.readouterr().out
    assert contents(output) == before
    write_split(corpus / "dev", {"12-2-0000": "ZZZ ZZZ ZZZ ZZZ"})
    (output / "train.csv").write_bytes(b"\xff")
    prepare_librispeech(corpus)
    said = capsys.readouterr().out
    assert "wrote dev.csv, train.csv, char.dict" in said and "retrain the models that used the old file" in said
    after = contents(output)
    assert after["dev.csv"][0].count("\n") == 3 and after["char.dict"][0].startswith("| 13\nZ 12\n")
    assert sorted(after) == sorted(before)  # no temporary file


def test_only_the_given_splits_count(corpus, tmp_path):
    output = prepare_librispeech(corpus, tmp_path / "out", ["dev"], progress=False)
    assert sorted(path.name for path in output.iterdir()) == ["char.dict", "dev.csv"]
    assert (output / "char.dict").read_text().startswith("A 2\n| 2\nH 1\nT 1\n' 0\nB 0\n")


@pytest.mark.parametrize("word, character", [("CAF\u00c9", "\u00c9"), ("R2D2", "2"), ("A|B", "|"), ("STOP.", ".")])
def test_another_character_is_told(corpus, word, character):
    write_split(corpus / "dev", {"12-1-0001": word})
    message = f"12-1.trans.txt: expected A to Z and ' only, found {re.escape(repr(character))} at 12-1-0001"
    with pytest.raises(FitHubertError, match=message):
        prepare_librispeech(corpus, progress=False)
    assert not (corpus / "len_for_bucket").exists()


def test_problems_of_the_corpus_are_told(corpus, tmp_path):
    (corpus / "train" / "11" / "1" / "11-1-0000.flac").unlink()
    (corpus / "dev" / "12" / "1" / "12-1.trans.txt").unlink()
    with pytest.raises(FitHubertError, match=r"12-1\.trans\.txt .* \(and 1 more: fithubert check librispeech .*/libri"):
        prepare_librispeech(corpus, tmp_path / "out", ["dev", "train"], progress=False)
    with pytest.raises(FitHubertError, match="expected a sub-folder other, found dev, train"):
        prepare_librispeech(corpus, tmp_path / "out", ["other"], progress=False)


def test_an_output_that_cannot_be_written_is_told(corpus, tmp_path):
    (tmp_path / "file").write_text("no folder")
    with pytest.raises(FitHubertError, match="file/out: expected a folder that can be written"):
        prepare_librispeech(corpus, tmp_path / "file" / "out", progress=False)


def test_the_command(corpus, tmp_path, capsys):
    main(["librispeech", str(corpus), "-o", str(tmp_path / "out"), "--splits", "dev"])
    assert f"{tmp_path / 'out'}: wrote dev.csv, char.dict" in capsys.readouterr().out


def test_check_prepared(corpus, tmp_path):
    output = prepare_librispeech(corpus, progress=False)

    def problem(bucket_file=output, splits=("train", "dev")):
        with pytest.raises(FitHubertError) as error:
            check_prepared(bucket_file, output / "char.dict", corpus, list(splits))
        assert str(error.value).endswith(f"; run `fithubert prepare librispeech {corpus}`")
        return str(error.value)

    check_prepared(output, output / "char.dict", corpus, ["train", "dev"])
    assert "test.csv: expected a table of lengths, found no such file" in problem(splits=["train", "test"])
    assert "train.csv: expected a table of lengths, found no such file" in problem(tmp_path / "none")
    shutil.move(corpus / "train" / "11", corpus / "11")
    assert "train.csv: expected train/11/1/11-1-0000.flac" in problem() and "(1 of 4 are missing)" in problem()
    (output / "train.csv").write_text("file_path,length\n")
    assert "train.csv: expected utterances, found none" in problem()
    (output / "train.csv").write_text("path,length\na,1\n")
    assert "train.csv: expected the columns file_path and length, found path, length" in problem()
    (output / "train.csv").write_text("")
    assert "train.csv: expected the columns file_path and length, found an empty file" in problem()
    (output / "char.dict").write_text("")
    assert "char.dict: expected a dictionary of characters, found an empty file" in problem()
    (output / "char.dict").unlink()
    assert "char.dict: expected a dictionary of characters, found no such file" in problem()


@pytest.mark.slow
def test_on_real_speech(real_data, tmp_path):
    output = prepare_librispeech(real_data / "LibriSpeech-excerpt", tmp_path, progress=False)
    rows = (output / "mini-dev.csv").read_text().splitlines()
    assert len(rows) == 31 and (output / "char.dict").read_text().startswith("| ")
    check_prepared(output, output / "char.dict", real_data / "LibriSpeech-excerpt", ["mini-dev", "mini-train"])

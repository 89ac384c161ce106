"""Each kind of damage to a sound little corpus gives its one line."""

import pytest

from fithubert_upstream.corpora.layouts.snips import (
    SLOTS,
    TABLE,
    find_recordings,
    prepare_snips,
    read_slots,
    read_table,
    read_vocabulary,
)
from fithubert_upstream.corpora.layouts.snips_check import SKIPPED, UNKNOWN, check_snips
from fithubert_upstream.downstream.asr import main as prepare
from fithubert_upstream.errors import FitHubertError
from fithubert_upstream.settings.files import MODEL_CONFIGS

from ...helpers import small_corpora
from ...helpers.audio import cut, noise, without_length
from ...helpers.problems import only_problem

VOCABULARY = MODEL_CONFIGS[0] / "character.txt"


@pytest.fixture
def root(tmp_path):
    return small_corpora.snips(tmp_path / "snips")


def problem(root, **given):
    return only_problem(check_snips(root, progress=False, **given))


def edit(root, old, new, name=TABLE):
    text = (root / name).read_text(encoding="utf-8")
    assert text.count(old) >= 1
    (root / name).write_text(text.replace(old, new, 1), encoding="utf-8")
    return root / name


def test_counts(root):
    report = check_snips(root, progress=False)
    assert report.problems == [] and report.corpus == f"snips {root}"
    for folder in ("train", "valid", "test"):
        assert [report.counts[f"{folder} {what}"] for what in ("sentences", "speakers")] == [6, 2]
        assert report.counts[f"{folder} hours"] == pytest.approx(6 * 0.9 / 3600)
    assert [report.counts[name] for name in ("slots", UNKNOWN, SKIPPED)] == [2, 0, 0]


def test_what_is_read(root):
    sentence = read_table(root).sentences["Ann1-snips-valid-1"]
    assert sentence.line == 8 and sentence.text == "BOS ADD CAT TO MAT EOS\tO O artist O playlist AddToPlaylist"
    assert list(zip(sentence.words, sentence.slots, strict=True)) == [
        *[("ADD", "O"), ("CAT", "artist"), ("TO", "O"), ("MAT", "playlist")]
    ]
    assert read_slots(root / SLOTS) == ["artist", "playlist"]
    assert "".join(read_vocabulary(VOCABULARY)) == " ABCDEFGHIJKLMNOPQRSTUVWXYZ'"
    assert [file.stem for file in find_recordings(root, "test", ["Bob2"])] == [f"Bob2-snips-test-{i}" for i in range(3)]


def test_forms_that_a_corpus_may_have(root):
    """Windows' ends of lines, empty lines, sub-folders, an end of the slots file, other suffixes, spelled out signs."""
    (root / "test" / "more").mkdir()
    (root / "test" / "Ann2-snips-test-0.wav").rename(root / "test" / "more" / "Ann2-snips-test-0.wav")
    noise(root / "test" / "Ann2-snips-test-1.FLAC")
    (root / "test" / "Ann2-snips-test-1.wav").unlink()
    edit(root, "ADD CAT TO MAT", "ADD CAT & CAFÉ")
    edit(root, "THE MAT SAT", "THE , ?!")
    text = (root / TABLE).read_text(encoding="utf-8").replace("\n", "\r\n") + "\r\n"
    (root / TABLE).write_bytes(text.encode())
    (root / SLOTS).write_text((root / SLOTS).read_text() + "\n")
    report = check_snips(root, progress=False)
    assert report.problems == [] and [report.counts[name] for name in (UNKNOWN, SKIPPED)] == [1, 2]


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        (
            "EOS\tO O artist artist",
            "EOS O O artist artist",
            "line 1: expected the form NAME BOS WORDS EOS, a tab, O SL",
        ),
        ("BOS PLAY", "PLAY", "line 1: expected the form NAME BOS"),
        ("EOS\tO O artist", "EOS\tartist O artist", "line 1: expected the form NAME BOS"),
        (
            "O O artist artist Play",
            "O O artist Play",
            "line 1: expected words, each with a slot or O, found 3 words and 2",
        ),
        ("BOS PLAY THE HAT EOS\tO O artist artist", "BOS EOS\tO", "line 1: expected words, each with a slot or O"),
        (
            "Bob0-snips-train-0",
            "Ann0-snips-train-0",
            "line 4: expected each name once, found Ann0-snips-train-0 of line 1",
        ),
        (
            "PLAY THE HAT",
            "PLAY the HAT",
            "line 1: expected words in capitals, as the vocabulary has them, found 'the' (1",
        ),
        ("artist O playlist", "artist O album", "line 2: expected a slot of {root}/slots.txt, found 'album'; add it"),
        ("Bob2-snips-test-2 ", "Bob2-snips-test-3 ", "Bob2-snips-test-2.wav: expected a line for it in all.iob.snips"),
    ],
)
def test_wrong_tables(root, old, new, expected):
    edit(root, old, new)
    problems = check_snips(root, progress=False).problems
    assert expected.format(root=root) in problems[0] and "\n" not in problems[0]
    others = [
        line for line in problems[1:] if "expected a line for it" not in line and "expected a recording" not in line
    ]
    assert others == []


def test_a_name_of_another_form(root):
    edit(root, "Ann0-snips-train-0", "Ann0")
    first, second = check_snips(root, progress=False).problems
    assert first.endswith("line 1: expected a name SPEAKER-snips-SPLIT-NUMBER, found 'Ann0'")
    assert second.startswith(f"{root}/train/Ann0-snips-train-0.wav: expected a line for it")


def test_files_that_cannot_be_read(root):
    (root / TABLE).write_bytes(b"caf\xe9")
    assert f"{root / TABLE}: expected a text in UTF-8, found: 'utf-8' codec" in problem(root)
    (root / TABLE).unlink()
    assert problem(root).endswith("found: No such file or directory")
    assert problem(root / "no").startswith(f"{root / 'no'}: no such folder; expected all.iob.snips.txt and train")


def test_recordings(root):
    folder, name = root / "valid", "Ann1-snips-valid-0"
    cut(folder / f"{name}.wav", 0.5)
    assert f"{name}.wav: expected as much audio as its header says" in problem(root)
    noise(folder / f"{name}.wav", rate=8000)
    assert f"{name}.wav: expected 16000 Hz, found 8000 Hz" in problem(root)
    without_length(noise(folder / f"{name}.flac"))
    assert f"expected one recording of {name}, found" in check_snips(root, progress=False).problems[0]
    (folder / f"{name}.wav").unlink()
    assert check_snips(root, progress=False).problems == []
    (folder / f"{name}.flac").rename(folder / f"{name}.m4a")
    first, second = check_snips(root, progress=False).problems
    assert f"{name}.m4a: expected " in first and "convert it" in first
    assert second == f"{root / TABLE}, line 7: expected a recording of {name} in {folder}, found none"
    (folder / f"{name}.m4a").unlink()
    assert problem(root) == second
    noise(root / "train" / f"{name}.wav")
    wrong, _ = check_snips(root, progress=False).problems
    assert wrong.endswith(f"expected it in {folder}, as its name says, found it in train")


def test_splits(root):
    for file in (root / "test").iterdir():
        file.unlink()
    problems = check_snips(root, progress=False).problems
    assert problems[0] == f"{root / 'test'}: expected recordings, found none" and len(problems) == 7
    (root / "test").rmdir()
    assert problem(root) == f"{root / 'test'}: expected a folder of recordings, found no such folder"
    assert check_snips(root, {"train": None, "valid": None}, progress=False).problems == []


def test_speakers(root):
    assert check_snips(root, {"train": ["Ann0"]}, progress=False).counts["train sentences"] == 3
    found = problem(root, speakers={"train": ["Ann0", "Carl"]})
    assert found == f"{root / 'train'}: expected recordings of the speaker Carl, found none"
    for file in (root / "train").glob("Bob*"):
        file.unlink()
    assert check_snips(root, {"train": ["Ann0"]}, progress=False).problems == []
    assert problem(root, speakers={"train": ["Ann0", "Bob0"]}).endswith("the speaker Bob0, found none")


def test_a_split_without_a_slot(root):
    """s3prl's metrics would divide by zero after the training."""
    for speaker in ("Ann2", "Bob2"):
        for number in (0, 1):
            (root / "test" / f"{speaker}-snips-test-{number}.wav").unlink()
    text = "".join(line for line in (root / TABLE).open() if "-test-" not in line or "-test-2" in line)
    (root / TABLE).write_text(text)
    assert problem(root).startswith(f"{root / 'test'}: expected a sentence with a slot, which s3prl's metrics need")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("artist\nplaylist", "line 1: expected O, for words outside of slots, found 'artist'"),
        ("O\nartist\n\nplaylist", "line 3: expected a slot without spaces, colons and semicolons, found ''"),
        ("O\nartist\nplay:list", "line 3: expected a slot without spaces, colons and semicolons, found 'play:list'"),
        ("O\nartist\nplaylist\nartist", "line 4: expected each slot once, found artist again"),
        (b"\xff", "expected a text in UTF-8, found: 'utf-8' codec"),
    ],
)
def test_wrong_slots_files(root, content, words):
    (root / SLOTS).write_bytes(content if isinstance(content, bytes) else content.encode())
    assert words in problem(root) and str(root / SLOTS) in problem(root)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("A\nB", "expected a space among its characters, which parts words, found none"),
        (" \nAB", "line 2: expected one character, other than those before and : and ;, found 'AB'"),
        (" \nA\nA", "line 3: expected one character, other than those before"),
        (" \n;", "line 2: expected one character, other than those before"),
        (" \n\nA", "line 2: expected one character"),
    ],
)
def test_wrong_vocabularies(root, content, words, tmp_path):
    (tmp_path / "v.txt").write_text(content)
    assert f"{tmp_path / 'v.txt'}" in problem(root, vocabulary=tmp_path / "v.txt")
    assert words in problem(root, vocabulary=tmp_path / "v.txt")


def test_the_slots_file_is_made_where_there_is_none(root, capsys):
    there = (root / SLOTS).read_bytes()
    assert there == b"O\nartist\nplaylist"  # 18 words and 6
    prepare(["snips", str(root)])
    assert "up to date" in capsys.readouterr().out and (root / SLOTS).read_bytes() == there
    (root / SLOTS).unlink()
    assert "run `fithubert prepare snips DIR`" in problem(root)
    prepare(["snips", str(root)])
    assert "written" in capsys.readouterr().out and (root / SLOTS).read_bytes() == there
    (root / SLOTS).write_text("O\nplaylist\nartist")  # s3prl's own numbers stay
    assert prepare_snips(root, progress=False).read_text() == "O\nplaylist\nartist"
    (root / SLOTS).write_text("O\nplaylist")
    with pytest.raises(FitHubertError, match="line 1: expected a slot of .*slots.txt, found 'artist'"):
        prepare_snips(root, progress=False)
    assert prepare_snips(root, root / "other.txt", progress=False).read_bytes() == there
    edit(root, "BOS PLAY", "PLAY")
    with pytest.raises(FitHubertError, match="line 1: expected the form"):
        prepare_snips(root, root / "new.txt", progress=False)
    (root / TABLE).write_text("\n")
    with pytest.raises(FitHubertError, match="expected sentences, found none"):
        prepare_snips(root, root / "new.txt", progress=False)
    with pytest.raises(FitHubertError, match="--splits: expected it with librispeech only, found it with snips"):
        prepare(["snips", str(root), "--splits", "train"])
    assert not (root / "new.txt").exists()

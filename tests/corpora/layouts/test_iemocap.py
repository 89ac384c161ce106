"""Each kind of damage to a sound little corpus gives its one line; the files for s3prl are those that it makes."""

import json
import shutil

import pytest

from fithubert_upstream.compat import s3prl as s3prl_compat
from fithubert_upstream.corpora.layouts.iemocap import check_iemocap, check_metadata, prepare_iemocap, read_metadata
from fithubert_upstream.errors import FitHubertError

from ...helpers import small_corpora
from ...helpers.audio import cut, noise
from ...helpers.folders import contents, times
from ...helpers.problems import only_problem

FIRST = "Ses01F_impro01"


@pytest.fixture
def root(tmp_path):
    return small_corpora.iemocap(tmp_path / "iemocap", prepared=False)


def problem(root):
    return only_problem(check_iemocap(root, progress=False))


def evaluation(root):
    return root / "Session1" / "dialog" / "EmoEvaluation" / f"{FIRST}.txt"


def edit(root, old, new):
    path = evaluation(root)
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))
    return path


def test_counts(root):
    report = check_iemocap(root, progress=False)
    assert report.problems == [] and report.corpus == f"iemocap {root}"
    hours = report.counts.pop("hours")
    assert report.counts == {
        **{"sessions": 5, "recordings": 25},
        **{f"{label} utterances": 5 for label in ("neu", "hap", "ang", "sad")},
    }
    assert hours == pytest.approx(25 * 0.5 / 3600)


def test_files_that_are_no_part_of_it(root):
    """The release holds files of a Mac, dialogues in one piece, other evaluations, and annotations of other kinds."""
    folder = evaluation(root).parent
    (folder / f"._{FIRST}.txt").write_bytes(b"\0\x05\x16\x07")
    (folder / "Categorical").mkdir()
    (folder / "Categorical" / "x.txt").write_text("[not read")
    noise(root / "Session1" / "dialog" / "wav" / "x.wav", channels=2)
    (root / "Documentation").mkdir()
    assert check_iemocap(root, progress=False).problems == []


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        (
            "F000\tneu\t",
            "F000 neu\t",
            "line 3: expected `[start - end] NAME label [v, a, d]` with tabs between, found '[0",
        ),
        ("\tneu\t[2.5000, 2.5000, 2.5000]", "", "line 3: expected `[start - end] NAME label"),
        ("F000\tneu", "F009\tneu", f"line 3: expected a recording of {FIRST}_F009 in "),
        ("F001\texc", "F000\texc", f"line 6: expected one line for {FIRST}_F000, found another"),
    ],
)
def test_wrong_evaluations(root, old, new, expected):
    path = edit(root, old, new)
    assert f"{path}, {expected}" in problem(root)


def test_unlabelled_recordings_and_other_emotions_are_left_out(root):
    edit(root, "F000\tneu", "F000\txxx")
    edit(root, "F004\tfru", "F009\tfru")  # whose recording is not there
    assert check_iemocap(root, progress=False).counts["neu utterances"] == 4


def test_an_evaluation_that_cannot_be_read(root):
    path = evaluation(root)
    path.write_bytes(b"\xff\xfe")
    first, *others = check_iemocap(root, progress=False).problems
    assert f"{path}: expected text in UTF-8, found: " in first
    assert others == [
        f"{path.parent}: expected lines `[start - end] NAME label [v, a, d]` with tabs between, "
        "labelled neu, hap, ang, sad; found none"
    ]
    shutil.rmtree(path.parent)
    assert problem(root) == f"{path.parent}: expected *.txt with the emotions, found no such folder"


def test_sessions(root):
    (root / "Session5").rename(root / "Session6")
    other, missing = check_iemocap(root, progress=False).problems
    assert other == f"{root}/Session6: expected Session1 to Session5 only, found another session; move it"
    assert missing == f"{root}: expected a folder Session5, found none"
    assert "no such folder; expected Session1 to Session5" in problem(root / "no")


def test_an_emotion_that_nobody_has(root):
    for path in root.rglob("*.txt"):
        path.write_text(path.read_text().replace("\tsad\t", "\tneu\t"))
    assert problem(root) == f"{root}: expected utterances of neu, hap, ang, sad, found none of sad"


def test_audio(root):
    wav = root / "Session1" / "sentences" / "wav" / FIRST
    path = wav / f"{FIRST}_F000.wav"
    again = noise(wav.parent / "again" / f"{FIRST}_F000.flac")
    assert problem(root) == f"{again}: expected one recording of this name, found {path} too"
    again.unlink()
    cut(path, 0.5)
    assert f"{path}: expected as much audio as its header says" in problem(root)
    noise(path, rate=8000)
    assert f"{path}: expected 16000 Hz, found 8000 Hz" in problem(root)
    path.rename(path.with_suffix(".m4a"))
    other, missing = check_iemocap(root, progress=False).problems
    assert "F000.m4a: expected .flac/.wav/.ogg/.opus/.mp3, found .m4a" in other
    assert f"expected a recording of {FIRST}_F000" in missing


def test_links_and_other_suffixes(root, tmp_path):
    path = root / "Session1" / "sentences" / "wav" / FIRST / f"{FIRST}_F000.wav"
    noise(path.with_suffix(".FLAC"))
    path.unlink()
    shutil.move(root / "Session2", tmp_path / "elsewhere")
    (root / "Session2").symlink_to(tmp_path / "elsewhere")
    assert check_iemocap(root, progress=False).problems == []
    prepare_iemocap(root, progress=False)
    entries = read_metadata(root / "meta_data" / "Session1" / "test_meta_data.json")
    assert entries[0]["path"] == f"Session1/sentences/wav/{FIRST}/{FIRST}_F000.FLAC"


def in_order(folder):
    """The files, each with its entries sorted: s3prl's order is that of the file system."""
    found = {}
    for path in sorted(folder.rglob("*.json")):
        content = json.loads(path.read_text())
        found[path.relative_to(folder).as_posix()] = (
            content["labels"],
            sorted(map(tuple, (entry.items() for entry in content["meta_data"]))),
        )
    return found


def test_the_files_are_those_of_s3prl(root, tmp_path):
    s3prl_compat.apply()
    from s3prl.downstream.emotion.IEMOCAP_preprocess import main

    output = prepare_iemocap(root, tmp_path / "ours", progress=False)
    main(str(root))
    assert in_order(output) == in_order(root / "meta_data") and len(in_order(output)) == 10
    content = json.loads((output / "Session2" / "train_meta_data.json").read_text())
    assert content["labels"] == {"neu": 0, "hap": 1, "ang": 2, "sad": 3} and len(content["meta_data"]) == 16
    assert content["meta_data"][1] == {
        "path": f"Session1/sentences/wav/{FIRST}/{FIRST}_F001.wav",
        "label": "hap",
        "speaker": "Ses01F",
    }


def test_files_that_are_up_to_date_stay(root, capsys):
    folder = prepare_iemocap(root)
    assert folder == root / "meta_data" and capsys.readouterr().out == f"{folder}: wrote 10 files\n"
    path = folder / "Session1" / "test_meta_data.json"
    content = json.loads(path.read_text())
    content["meta_data"].reverse()  # s3prl's own order
    path.write_text(json.dumps(content))
    before = times(root)
    assert prepare_iemocap(root) == folder and times(root) == before
    assert capsys.readouterr().out == f"{folder}: up to date\n"

    good = contents(folder)
    edit(root, "F000\tneu", "F000\tsad")
    prepare_iemocap(root)
    assert capsys.readouterr().out == f"{folder}: wrote 5 files\n"  # its own test, the others' train
    assert contents(folder) != good
    for damage in ("", "[]", '{"labels": {"neu": 1}, "meta_data": []}', '{"labels": {}}'):
        path.write_text(damage)
        prepare_iemocap(root)
        assert capsys.readouterr().out == f"{folder}: wrote 1 files\n"


def test_a_corpus_with_problems_is_not_prepared(root):
    edit(root, "F000\tneu", "F009\tneu")
    with pytest.raises(FitHubertError, match="expected a recording of"):
        prepare_iemocap(root, progress=False)
    assert not (root / "meta_data").exists()


def test_what_a_run_needs(root, tmp_path):
    folder = root / "meta_data"

    def fails():
        with pytest.raises(FitHubertError) as caught:
            check_metadata(root, folder, "fold1")
        message = str(caught.value)
        assert "\n" not in message and message.endswith(f"run `fithubert prepare iemocap {root}`")
        return message

    train, test = (folder / "Session1" / f"{part}_meta_data.json" for part in ("train", "test"))
    assert f"{train}: expected utterances and their emotions as JSON, found: No such file" in fails()
    prepare_iemocap(root, progress=False)
    assert check_metadata(root, folder, "fold1") == [16, 4]
    edit(root, "F000\tneu", "F000\tsad")
    edit(root, "F001\texc", "F001\txxx")
    edit(root, "F004\tfru", "F004\tang")
    assert (
        f"{test}: expected the utterances of {root}, found that the corpus has changed since it was written: "
        in fails()
    )
    assert "1 not in it, 1 no longer there, 1 of another emotion" in fails()
    test.write_text("{}")
    assert "expected labels {'neu': 0, 'hap': 1, 'ang': 2, 'sad': 3}, and path and label of utterances" in fails()
    prepare_iemocap(root, progress=False)
    entries = json.loads(test.read_text())
    entries["meta_data"] *= 2
    test.write_text(json.dumps(entries))
    assert "4 twice" in fails()

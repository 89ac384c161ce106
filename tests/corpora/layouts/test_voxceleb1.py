"""Each kind of damage to a sound little corpus gives its one line."""

import os

import pytest

from fithubert_upstream.audio import scan
from fithubert_upstream.corpora.layouts.voxceleb1 import (
    IDENTIFICATION,
    check_identification,
    check_voxceleb1,
    read_identification,
)

from ...helpers import small_corpora
from ...helpers.audio import cut, noise
from ...helpers.problems import only_problem


def vox_report(root, *trials):
    return check_voxceleb1(root, *trials, progress=False)


def test_voxceleb1_counts(vox):
    report = vox_report(vox)
    assert report.problems == [] and report.corpus == f"voxceleb1 {vox}"
    for part in ("dev", "test"):
        assert [report.counts[f"{part} {what}"] for what in ("speakers", "files", "trials")] == [2, 4, 2]
        assert report.counts[f"{part} hours"] == pytest.approx(4 * 0.05 / 3600)


def test_which_trial_lists(vox, tmp_path):
    (vox / "dev_trials.txt").unlink()
    (vox / "test_trials.txt").rename(vox / "voxceleb1_test_v2.txt")
    report = vox_report(vox)
    assert report.problems == [] and report.counts["test trials"] == 2 and "dev trials" not in report.counts
    other = (vox / "voxceleb1_test_v2.txt").rename(tmp_path / "list.txt")
    assert f"{vox}/voxceleb1_test_v2.txt: expected a list of trials" in only_problem(vox_report(vox))
    assert vox_report(vox, os.devnull, other).problems == []
    assert f"{tmp_path}/no.txt: expected a list of trials" in only_problem(vox_report(vox, tmp_path / "no.txt", other))


@pytest.mark.parametrize(
    "lines, problem",
    [
        (["1 id8/s/0.wav id8/s/1.wav"], "test_trials.txt: expected trials of both labels, 0 and 1, found only 1"),
        ([], "test_trials.txt: expected trials of both labels, 0 and 1, found no trial"),
        (["0 id8/s/0.wav id9/s/0.wav", "", "1 id8/s/0.wav id8/s/1.wav"], "test_trials.txt, line 2: expected `0 path"),
        (["0 id8/s/0.wav id9/s/0.wav", "1 id8/s/0.wav", "1 id8/s/0.wav id8/s/1.wav"], "line 2: expected `0 path path`"),
        (["0 id8/s/0.wav id9/s/0.wav", "2 a b", "1 id8/s/0.wav id8/s/1.wav"], "found '2 a b'"),
        (
            ["0 id8/s/0.wav id9/s/0.wav", "1 id8/s/0.wav id8/s/7.wav", "0 id8/s/7.wav id9/s/0.wav"],
            "line 2: expected id8/s/7.wav in {vox}/test/wav, found no such file (also in 1 later lines)",
        ),
        (["0 id8/s/0.wav id1/s/0.wav", "1 id8/s/0.wav id8/s/1.wav"], "line 1: expected id1/s/0.wav"),
    ],
)
def test_wrong_trials(vox, lines, problem):
    (vox / "test_trials.txt").write_text("".join(line + "\n" for line in lines))
    assert problem.format(vox=vox) in only_problem(vox_report(vox))


def test_voxceleb1_folders(vox):
    (vox / "dev" / "wav" / "id3" / "s").mkdir(parents=True)
    (vox / "dev" / "wav" / "id3" / "s" / "0.m4a").touch()
    other, none = vox_report(vox).problems
    assert other.endswith("id3/s/0.m4a: expected .flac/.wav/.ogg/.opus/.mp3, found .m4a, which is not read; convert it")
    assert none == f"{vox}/dev/wav/id3: expected <session>/ with .flac/.wav/.ogg/.opus/.mp3 files, found none"
    (vox / "dev" / "wav" / "id3" / "s" / "0.m4a").unlink()
    noise(vox / "dev" / "wav" / "id3" / "s" / "0.wav")
    loose = noise(vox / "dev" / "wav" / "id3" / "0.wav")
    assert f"{loose}: expected audio at {vox}/dev/wav/<speaker>/<session>/ only" in only_problem(vox_report(vox))
    loose.unlink()
    (vox / "test").rename(vox / "elsewhere")
    problem = only_problem(vox_report(vox))
    assert problem == f"{vox}/test/wav: expected folders <speaker>/<session>/ with audio, found no such folder"
    (vox / "test" / "wav").mkdir(parents=True)
    assert vox_report(vox).problems[0] == f"{vox}/test/wav: expected folders of speakers, found none"


def test_voxceleb1_of_links(vox, tmp_path):
    (vox / "dev" / "wav" / "id1").rename(tmp_path / "id1")
    (vox / "dev" / "wav" / "id1").symlink_to(tmp_path / "id1")
    assert vox_report(vox).problems == []


def test_voxceleb1_audio(vox):
    path = vox / "test" / "wav" / "id8" / "s" / "0.wav"
    cut(path, 0.5)
    assert f"{path}: expected as much audio as its header says" in only_problem(vox_report(vox))


# identification


@pytest.fixture
def speakers(tmp_path):
    return small_corpora.voxceleb1(tmp_path / "vox")


def identification(root, old=None, new=""):
    listed = root / IDENTIFICATION
    if old is not None:
        text = listed.read_text()
        assert old in text
        listed.write_text(text.replace(old, new, 1))
    return check_identification(root, listed, progress=False)


def test_identification_counts(speakers):
    report = identification(speakers)
    assert report.problems == [] and report.corpus == f"voxceleb1 {speakers}"
    assert report.counts == {
        "identification train files": 6,
        "identification dev files": 3,
        "identification test files": 3,
        "identification speakers": 6,
    }
    files = read_identification(speakers, speakers / IDENTIFICATION)
    assert [len(files[part]) for part in ("train", "dev", "test")] == [6, 3, 3]
    assert files["dev"][0] == speakers / "dev" / "wav" / "id10001" / "s1" / "00001.wav"


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        (
            "1 id10002/s0",
            "4 id10002/s0",
            "line 3: expected `1|2|3 id10001/session/file`, found '4 id10002/s0/00001.wav'",
        ),
        ("1 id10002/s0/00001.wav", "1 id10002/00001.wav", "line 3: expected `1|2|3 id10001/session/file`, found"),
        ("1 id10002/s0/00001.wav", "", "line 3: expected `1|2|3 id10001/session/file`, found ''"),
        ("1 id10002/", "1 id11252/", "line 3: expected a speaker from id10001 to id11251, found id11252; rename it"),
        ("1 id10002/", "1 id10000/", "line 3: expected a speaker from id10001 to id11251, found id10000; rename it"),
        ("1 id10002/", "1 id10001/", "line 3: expected id10001/s0/00001.wav once, found it in line 1 too; remove one"),
        (
            "1 id10002/s0",
            "1 id10002/s9",
            "line 3: expected id10002/s9/00001.wav once in {root}/*/wav, found no such file",
        ),
    ],
)
def test_wrong_lists(speakers, old, new, expected):
    problem = only_problem(identification(speakers, old, new))
    assert problem.startswith(f"{speakers}/{IDENTIFICATION}, ") and expected.format(root=speakers) in problem


def test_identification_without_a_part_or_a_list(speakers):
    listed = speakers / IDENTIFICATION
    listed.write_text(listed.read_text().replace("2 ", "1 "))
    assert only_problem(identification(speakers)) == (
        f"{listed}: expected lines `2 speaker/session/file` for dev, found none"
    )
    listed.unlink()
    assert f"{listed}: expected a list `1 speaker/session/file`, found: " in only_problem(identification(speakers))


def test_a_recording_in_both_folders(speakers):
    again = noise(speakers / "test" / "wav" / "id10002" / "s0" / "00001.wav")
    assert only_problem(identification(speakers)).endswith(
        f"found it in {speakers}/dev/wav and {speakers}/test/wav; remove one"
    )
    again.unlink()


def test_identification_audio(speakers):
    """Verification resamples; identification does not."""
    path = speakers / "dev" / "wav" / "id10002" / "s0" / "00001.wav"
    noise(path, rate=8000, samples=24000)
    assert vox_report(speakers).problems == []
    assert only_problem(identification(speakers)) == (
        f"{path}: expected 16000 Hz, found 8000 Hz; resample the corpus first"
    )
    noise(path, channels=2)
    assert f"{path}: expected a mono file, found 2 channels" in only_problem(identification(speakers))
    cut(path, 0.5)
    assert f"{path}: expected as much audio as its header says" in identification(speakers).problems[0]


def test_both_tasks_decode_the_corpus_once(speakers, monkeypatch):
    vox_report(speakers)
    monkeypatch.setattr(scan, "measure", None)
    assert identification(speakers).problems == []

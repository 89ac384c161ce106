"""Each kind of damage to sound little Kaldi folders gives its one line."""

import shutil

import pytest

from fithubert_upstream.corpora.layouts.librimix import Turn, check_librimix, check_splits, read_kaldi, read_rttm
from fithubert_upstream.errors import FitHubertError

from ...helpers import small_corpora
from ...helpers.audio import cut, noise, without_length
from ...helpers.problems import only_problem


@pytest.fixture
def root(tmp_path):
    return small_corpora.librimix(tmp_path / "LibriMix")


def problem(root):
    return only_problem(check_librimix(root, progress=False))


def edit(root, table, old, new):
    path = root / table
    text = path.read_text(encoding="utf-8")
    assert text.count(old) >= 1
    path.write_text(text.replace(old, new, 1), encoding="utf-8")
    return path


def test_counts(root):
    report = check_librimix(root, progress=False)
    assert report.problems == [] and report.corpus == f"librimix {root}"
    for split in ("train", "dev", "test"):
        assert [report.counts[f"{split} {what}"] for what in ("recordings", "speakers")] == [3, 2]
        assert report.counts[f"{split} hours"] == pytest.approx((3 * 1.5 + 0.39) / 3600)


def test_what_is_read(root):
    recordings = read_kaldi(root / "dev")
    assert list(recordings) == ["dev-0", "dev-1", "dev-2"]
    audio, seconds, turns = recordings["dev-1"]
    assert (audio, seconds) == (root / "dev" / "wav" / "dev-1.wav", 1.63)
    assert turns == [Turn(0.1, 0.62, "a1"), Turn(0.5, 1.0, "b1"), Turn(1.2, 1.44, "a1")]
    read = read_rttm(root / "dev" / "rttm")
    assert list(read) == list(recordings) and read["dev-1"][1] == Turn(0.5, 1.0, "b")


def test_forms_that_tables_may_have(root):
    """Tabs, Windows' ends of lines, empty lines, other types in RTTM, spaces in paths, other formats, moved folders."""
    for table in ("wav.scp", "segments", "utt2spk", "reco2dur", "rttm"):
        path = root / "test" / table
        path.write_bytes(path.read_bytes().replace(b" ", b"\t").replace(b"\n", b"\r\n\r\n"))
    rttm = root / "test" / "rttm"
    rttm.write_text(rttm.read_text() + "SPKR-INFO test-0 1 <NA> <NA> <NA> unknown a <NA>\n")
    audio = root / "test" / "wav" / "test-0.wav"
    without_length(noise(audio.with_name("te st.FLAC"), samples=24_000))
    edit(root, "test/wav.scp", "test-0.wav", "te st.FLAC")
    edit(root, "dev/wav.scp", "wav/dev-0.wav", str(root / "dev" / "wav" / "dev-0.wav"))
    assert check_librimix(root, progress=False).problems == []
    (root / "dev" / "wav" / "dev-0.wav").rename(root / "elsewhere.wav")
    assert f"expected a recording {root / 'dev' / 'wav' / 'dev-0.wav'}, found no such file" in problem(root)
    edit(root, "dev/wav.scp", str(root / "dev" / "wav" / "dev-0.wav"), "../elsewhere.wav")
    assert check_librimix(root.rename(root.with_name("moved")), progress=False).problems == []


def test_utterances_of_one_name(root):
    """LibriMix names them by recording and times: of two speakers who begin and end together, s3prl has one."""
    for table in ("segments", "utt2spk"):
        edit(root, f"train/{table}", "b-train-1-0.5", "x")
        edit(root, f"train/{table}", "a-train-1-0.1", "x")
    edit(root, "train/segments", "x train-1 0.1 0.62", "x train-1 0.5 1.0")
    assert check_librimix(root, progress=False).problems == []
    assert read_kaldi(root / "train")["train-1"].turns[:2] == [Turn(0.5, 1.0, "a0"), Turn(0.5, 1.0, "b0")]
    edit(root, "train/utt2spk", "x b0", "y b0")
    assert check_librimix(root, progress=False).problems[0] == (
        f"{root}/train/segments: expected as many lines of x as in utt2spk, 1, found 2; give each utterance a name of "
        "its own"
    )
    with pytest.raises(FitHubertError, match="expected as many lines of x"):
        read_kaldi(root / "train")


@pytest.mark.parametrize(
    ("table", "old", "new", "expected"),
    [
        ("train/wav.scp", "train-1 wav", "train-1\twav/no", "expected a recording {root}/train/wav/no/train-1.wav"),
        ("dev/wav.scp", "dev-0 wav/dev-0.wav", "dev-0", "wav.scp, line 1: expected `recording path`, found 'dev-0'"),
        ("dev/wav.scp", "wav/dev-0.wav", "sox x -t wav - |", "line 1: expected a path, found the command 'sox x"),
        ("dev/reco2dur", "dev-1 1.63", "dev-1 1.7", "reco2dur: expected 1.63 s for dev-1, as {root}/dev/wav/dev-1"),
        ("dev/reco2dur", "dev-1 1.63", "", "reco2dur: expected a line for dev-1, found none"),
        ("test/segments", "1.2 1.44", "1.2 1.7", "segments: expected ends of test-0 within its 1.5 s, found 1.7"),
        ("test/segments", "0.5 1.0", "0.5 -1", "line 2: expected a start and a later end in seconds, found 0.5 and -1"),
        ("test/segments", "0.5 1.0", "nan 1", "line 2: expected a start and a later end in seconds, found nan and 1"),
        ("train/segments", "0.1 train-0", "0.1 train-7", "segments, line 1: expected a recording of wav.scp, found"),
        ("train/utt2spk", "a-train-0-0.1 a0", "", "line 1: expected a speaker for a-train-0-0.1 in utt2spk"),
        ("train/utt2spk", "0.1 a0", "0.1 c0", "train/segments: expected 2 speakers in train-0, found 3; remove it"),
        ("test/rttm", "test-1 1 0.5", "test-9 1 0.5", "rttm: expected recordings of wav.scp, found test-9"),
        ("test/rttm", "1.2 0.24", "1.2 0.44", "rttm: expected ends of test-0 within its 1.5 s, found 1.64"),
        ("test/rttm", "1.2 0.24", "1.2 0", "rttm, line 3: expected a start and a duration in seconds, found 1.2 and 0"),
        ("test/rttm", "1 0.1 0.52 <NA> <NA>", "1 0.1", "rttm, line 1: expected `SPEAKER recording 1 start seconds"),
    ],
)  # fmt: skip
def test_wrong_tables(root, table, old, new, expected):
    edit(root, table, old, new)
    (first, *_) = check_librimix(root, progress=False).problems
    assert expected.format(root=root) in first and "\n" not in first


def test_names_of_recordings(root):
    edit(root, "dev/wav.scp", "dev-1 wav", "dev-0 wav")
    assert any("line 2: expected a name of its own" in line for line in check_librimix(root, progress=False).problems)
    shutil.copytree(root / "train", root / "dev", dirs_exist_ok=True)
    assert check_librimix(root, progress=False).problems == [
        f"{root}/dev/wav.scp: expected each recording in one split, found train-{i} in train too" for i in range(3)
    ]


def test_what_is_missing(root):
    (root / "test" / "rttm").rename(root / "kept")
    assert problem(root) == f"{root}/test/rttm: expected the turns of the test's speakers, found no such file"
    (root / "kept").rename(root / "test" / "rttm")
    lines = (root / "test" / "rttm").read_text().splitlines(keepends=True)
    (root / "test" / "rttm").write_text("".join(lines[:6]))
    assert problem(root) == f"{root}/test/rttm: expected lines of test-2, found none"
    (root / "test" / "rttm").write_text("".join(lines))
    for table in ("segments", "utt2spk", "reco2dur", "wav.scp"):
        (root / "dev" / table).rename(root / "kept")
        assert problem(root).startswith(f"{root}/dev/{table}: expected lines `")
        (root / "kept").rename(root / "dev" / table)
    (root / "dev" / "wav.scp").write_text("")
    assert any(
        line.endswith("expected recordings, found no line")
        for line in check_splits({"dev": root / "dev"}, 2, False).problems
    )
    shutil.rmtree(root / "dev")
    assert problem(root) == f"{root}/dev: no such folder; expected wav.scp, reco2dur, segments, utt2spk of dev"
    assert "no such folder; expected train, dev and test" in problem(root / "no")


def test_audio(root):
    path = root / "test" / "wav" / "test-0.wav"
    sound = path.read_bytes()
    cut(path, 0.5)
    assert f"{path}: expected as much audio as its header says" in problem(root)
    noise(path, rate=8000)
    assert f"{path}: expected 16000 Hz, found 8000 Hz" in problem(root)
    noise(path, channels=2)
    assert f"{path}: expected a mono file, found 2 channels" in problem(root)
    path.write_bytes(sound)
    short = noise(root / "train" / "wav" / "train-0.wav", samples=1000)
    assert f"{short}: expected 0.1 s or more, found 0.0625 s; remove it" in problem(root)


def test_another_number_of_speakers(root):
    found = check_splits({"dev": root / "dev"}, 3, progress=False).problems
    assert found == [f"{root}/dev/segments: expected 3 speakers in dev-{i}, found 2; remove it" for i in range(3)]

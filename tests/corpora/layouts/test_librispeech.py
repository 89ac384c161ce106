"""Each kind of damage to a sound little corpus gives its one line."""

import pytest

from fithubert_upstream.corpora.layouts.librispeech import check_librispeech
from fithubert_upstream.corpora.problems import Report, require
from fithubert_upstream.errors import FitHubertError

from ...helpers.audio import cut, noise
from ...helpers.problems import only_problem


def libri_problem(root, *splits):
    return only_problem(check_librispeech(root, list(splits) or None, progress=False))


def test_librispeech_counts(libri):
    report = check_librispeech(libri, progress=False)
    assert report.problems == [] and report.corpus == f"librispeech {libri}"
    assert report.counts == pytest.approx({
        "dev utterances": 1, "dev speakers": 1, "dev hours": 1000 / 16000 / 3600,
        "train utterances": 3, "train speakers": 2, "train hours": 3300 / 16000 / 3600,
    })  # fmt: skip
    require(report)
    assert list(check_librispeech(libri, ["dev"], progress=False).counts) == list(report.counts)[:3]


def test_librispeech_folders(libri):
    assert f"{libri}/no: no such folder" in libri_problem(libri / "no", "dev")
    assert f"{libri}/no: expected sub-folders" in libri_problem(libri / "no")
    assert f"{libri}: expected a sub-folder test, found dev, other, train" in libri_problem(libri, "test")
    assert f"{libri}/other: expected speaker/chapter/*.trans.txt" in libri_problem(libri, "other")
    assert "expected sub-folders with speaker/chapter/*.trans.txt" in libri_problem(libri / "other")


def test_a_chapter_without_a_transcript(libri):
    (libri / "train" / "1" / "2" / "1-2.trans.txt").unlink()
    assert libri_problem(libri) == f"{libri}/train/1/2: expected 1-2.trans.txt with the audio, found none"


def test_a_transcript_of_another_name(libri):
    path = libri / "train" / "1" / "2" / "1-2.trans.txt"
    path.rename(path.with_name("1-3.trans.txt"))
    assert libri_problem(libri).startswith(f"{libri}/train/1/2/1-3.trans.txt: expected the name 1-2.trans.txt")


def test_a_transcript_without_audio(libri):
    chapter = libri / "train" / "1" / "2"
    (chapter / "1-2-0000.flac").unlink()
    assert "1-2.trans.txt: expected 1-2-0000 (.flac/.wav/.ogg/.opus/.mp3) beside it" in libri_problem(libri)
    (chapter / "1-2-0001.flac").unlink()
    assert f"{chapter}/1-2.trans.txt: expected the audio of its 2 lines" in libri_problem(libri)


def test_audio_without_a_line(libri):
    extra = noise(libri / "train" / "1" / "2" / "1-2-0007.flac")
    noise(extra.with_name("._1-2-0007.flac"))  # left by some file managers
    assert libri_problem(libri).startswith(f"{extra}: expected a line for it in 1-2.trans.txt, found none")


@pytest.mark.parametrize(
    "line, problem",
    [
        ("\n", "expected words in line 2, found an empty line"),
        ("1-2-0001\n", "expected words after 1-2-0001, found none"),
        ("1-2-0001 A HAT\n1-2-0001 A CAT\n", "expected one line for 1-2-0001, found another in line 3"),
    ],
)
def test_wrong_lines(libri, line, problem):
    path = libri / "train" / "1" / "2" / "1-2.trans.txt"
    path.write_text(f"1-2-0000 THE CAT\n{line}" + ("" if "1-2-0001" in line else "1-2-0001 A HAT\n"))
    assert f"{path}: {problem}" in libri_problem(libri)


def test_a_transcript_in_another_encoding(libri):
    path = libri / "train" / "1" / "2" / "1-2.trans.txt"
    path.write_bytes(b"1-2-0000 CAF\xc9\n1-2-0001 A HAT\n")
    assert f"{path}: expected text in UTF-8" in libri_problem(libri)


def test_librispeech_audio(libri):
    path = libri / "dev" / "5" / "6" / "5-6-0000.flac"
    noise(path, rate=8000)
    assert f"{path}: expected 16000 Hz, found 8000 Hz" in libri_problem(libri)
    noise(path, channels=2)
    assert f"{path}: expected a mono file" in libri_problem(libri)
    noise(path)
    cut(path, 0.7)
    assert f"{path}: expected an audio file that decodes to its end" in libri_problem(libri)
    noise(path, samples=0)
    assert f"{path}: expected " in libri_problem(libri)


def test_problems_are_collected_and_the_first_is_required(libri):
    cut(libri / "dev" / "5" / "6" / "5-6-0000.flac", 0.5)
    (libri / "train" / "1" / "2" / "1-2-0000.flac").unlink()
    report = check_librispeech(libri, progress=False)
    assert len(report.problems) == 2 and report.counts["train utterances"] == 2
    with pytest.raises(FitHubertError) as error:
        require(report)
    assert str(error.value) == report.problems[0] + f" (and 1 more: fithubert check librispeech {libri} lists them)"
    with pytest.raises(FitHubertError, match="^alone$"):
        require(Report("librispeech x", {}, ["alone"]))

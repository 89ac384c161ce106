"""Items of ABX tests: their format, their frames, and what is told of those that cannot be used."""

from fractions import Fraction

import numpy as np
import pytest
import soundfile

from fithubert_upstream.corpora.items import HEAD, Item, read_items, recordings_of, usable
from fithubert_upstream.corpora.synthetic.espeak import Phone
from fithubert_upstream.corpora.synthetic.librispeech import triphones
from fithubert_upstream.errors import FitHubertError

LINE = "a 0.10 0.25 e d n s1"


def write(path, *lines):
    path.write_text("\n".join([" ".join(HEAD), *lines]) + "\n")
    return path


def test_a_file_and_a_folder(tmp_path):
    write(tmp_path / "a.item", LINE)
    (tmp_path / "more").mkdir()
    write(tmp_path / "more/b.item", "b 1 1.5 u d n s2")
    assert read_items(tmp_path / "a.item") == [Item("a", Fraction(1, 10), Fraction(1, 4), "e", "d", "n", "s1")]
    assert [item.file for item in read_items(tmp_path)] == ["a", "b"]


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("a 0.1 0.2 e d n", "line 2: expected #file onset offset"),
        ("a 0.1 0.2 e d n s1 more", "line 2: expected #file onset offset"),
        ("a early 0.2 e d n s1", "line 2: expected #file onset offset"),
        ("a 0.2 0.2 e d n s1", "line 2: expected 0 <= onset < offset, found 0.2 and 0.2"),
        ("a -1 0.2 e d n s1", "expected 0 <= onset < offset"),
    ],
)
def test_lines_that_are_no_items(tmp_path, line, words):
    with pytest.raises(FitHubertError, match=words):
        read_items(write(tmp_path / "a.item", line))


def test_no_items(tmp_path):
    with pytest.raises(FitHubertError, match="expected items in files"):
        read_items(tmp_path)
    with pytest.raises(FitHubertError, match="expected items in files"):
        read_items(write(tmp_path / "a.item"))
    (tmp_path / "a.item").write_text("file onset\n")
    with pytest.raises(FitHubertError, match="line 1: expected #file onset offset .*, found file onset"):
        read_items(tmp_path)


@pytest.mark.parametrize("rate", [50, 100])
def test_frames_are_those_whose_centres_lie_in_the_item(rate):
    generator = np.random.default_rng(0)
    for onset, length in zip(generator.uniform(0, 2, 200), generator.uniform(0.03, 0.3, 200), strict=True):
        item = Item("a", Fraction(f"{onset:.4f}"), Fraction(f"{onset + length:.4f}"), "e", "d", "n", "s")
        inside = [k for k in range(1000) if item.onset <= Fraction(2 * k + 1, 2 * rate) <= item.offset]
        assert list(range(*item.frames(rate))) == inside


def test_recordings_are_found_by_name(tmp_path):
    items = read_items(write(tmp_path / "a.item", LINE, "b 0 0.1 e d n s1"))
    (tmp_path / "x").mkdir()
    soundfile.write(tmp_path / "a.flac", np.zeros(100), 16000)
    with pytest.raises(FitHubertError, match=r"found no b.\* and 0 others missing"):
        recordings_of(items, tmp_path)
    soundfile.write(tmp_path / "x/b.wav", np.zeros(100), 16000)
    soundfile.write(tmp_path / "x/c.wav", np.zeros(100), 16000)  # of no item
    assert recordings_of(items, tmp_path) == {"a": tmp_path / "a.flac", "b": tmp_path / "x/b.wav"}
    soundfile.write(tmp_path / "x/a.wav", np.zeros(100), 16000)
    with pytest.raises(FitHubertError, match="expected each name once, found .*a.flac and .*a.wav"):
        recordings_of(items, tmp_path)


def test_items_without_a_frame_are_left_out(tmp_path):
    lines = ["a 0.1 0.3 e d n s", "a 0.1 0.105 e d n s", "a 0.8 0.999 e d n s", "a 0.8 0.96 e d n s"]
    items = read_items(write(tmp_path / "a.item", *lines))
    soundfile.write(tmp_path / "a.wav", np.zeros(16000), 16000)  # 49 frames: the centre of the last is at 0.97 s
    assert usable(items, recordings_of(items, tmp_path)) == [items[0], items[3]]
    soundfile.write(tmp_path / "a.wav", np.zeros(8000), 8000)
    with pytest.raises(FitHubertError, match="a.wav: .*16000 Hz"):
        usable(items, recordings_of(items, tmp_path))
    items = read_items(write(tmp_path / "a.item", "a 3 4 e d n s"))
    soundfile.write(tmp_path / "a.wav", np.zeros(16000), 16000)
    with pytest.raises(FitHubertError, match="found one of 1.00 s and an item until 4.00 s"):
        usable(items, recordings_of(items, tmp_path))


def test_triphones_of_synthetic_speech():
    said = [
        Phone(*one) for one in (("k", 0.1), ("'a", 0.2), ("t", 0.3), ("_:", 0.4), ("s", 0.5), ("i:", 0.6), ("_", 0.7))
    ]
    assert list(triphones(said)) == ["0.1000 0.4000 a k t"]

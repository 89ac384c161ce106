import json
import subprocess
import sys
from functools import partial

import pytest

from fithubert_upstream.corpora.synthetic.corpus import Corpus, Piece, cast_voices, describe, write_corpus
from fithubert_upstream.corpora.synthetic.espeak import all_voices
from fithubert_upstream.errors import FitHubertError

from ...helpers.folders import contents, times


def write_file(name, folder):
    (folder / f"{name}.txt").write_text(name)


def fail(error, folder):
    raise error


def corpus(seed=0, pieces=()):
    pieces = [Piece(1.4, partial(write_file, name)) for name in "abcd"] + list(pieces)
    return Corpus(describe("test", 1, {"train": 1.0}, seed), cast_voices({"train": 2}, seed), pieces)


@pytest.mark.parametrize("jobs", [1, 2])
def test_a_corpus_is_written_and_described(tmp_path, jobs):
    root = write_corpus(tmp_path / "c", corpus(), jobs, progress=False)
    assert [path.name for path in tmp_path.iterdir()] == ["c"]
    files = contents(root)
    description = json.loads(files.pop("corpus.json"))
    assert files == {f"{name}.txt": name.encode() for name in "abcd"}
    assert description["seed"] == 0 and len(description["speakers"]["train"]) == 2
    assert set(description["speakers"]["train"][0]) == {"speaker", "name", "pitch", "pitch_range", "rate"}


@pytest.mark.parametrize(("error", "jobs"), [(KeyboardInterrupt(), 1), (FitHubertError("no"), 1), (ValueError(), 2)])
def test_an_interrupted_call_leaves_nothing(tmp_path, error, jobs):
    with pytest.raises(type(error)):
        write_corpus(tmp_path / "c", corpus(pieces=[Piece(1, partial(fail, error))]), jobs, progress=False)
    assert list(tmp_path.iterdir()) == []


def test_what_a_killed_call_left_is_written_anew(tmp_path):
    (tmp_path / "c.partial" / "train").mkdir(parents=True)
    root = write_corpus(tmp_path / "c", corpus(), 1, progress=False)
    assert [path.name for path in tmp_path.iterdir()] == ["c"] and not (root / "train").exists()


def test_a_complete_corpus_is_kept_and_others_refused(tmp_path):
    root = write_corpus(tmp_path / "c", corpus(), 1, progress=False)
    before = times(root)
    assert write_corpus(root, corpus(), 1, progress=False) == root
    assert before == times(root)
    with pytest.raises(FitHubertError, match="'seed': 0.*now.*'seed': 1"):
        write_corpus(root, corpus(seed=1), 1)
    mine = tmp_path / "mine"
    mine.mkdir()
    assert write_corpus(mine, corpus(), 1, progress=False) == mine  # empty: taken
    (tmp_path / "file").write_text("mine")
    for taken in (tmp_path, tmp_path / "file"):
        with pytest.raises(FitHubertError, match="something other"):
            write_corpus(taken, corpus(), 1)
    with pytest.raises(FitHubertError, match="cannot be written"):
        write_corpus(tmp_path / "file" / "c", corpus(), 1)


def test_the_bar_ends_full(tmp_path, capsys):
    write_corpus(tmp_path / "c", corpus(), 1)
    assert "Speech for c: 100%" in capsys.readouterr().err


def test_no_voice_is_in_two_splits():
    voices = all_voices()
    for wanted in ({"a": 1, "b": 5.4}, {"a": 40, "b": 40, "c": 8}, {"a": 1000, "b": 0.1}, {"a": 0.1, "b": 1000}):
        cast = cast_voices(wanted, seed=3)
        everyone = [voice for split in cast.values() for voice in split]
        assert len(set(everyone)) == len(everyone) <= len(voices)
        assert list(cast) == list(wanted) and all(len(split) >= 2 for split in cast.values())
    assert len(cast_voices({"a": 5.4, "b": 6.6}, 0)["b"]) == 7
    assert cast_voices({"a": 9}, 0) != cast_voices({"a": 9}, 1)
    with pytest.raises(FitHubertError, match="splits"):
        cast_voices({}, 0)


@pytest.mark.parametrize("minutes", [{"train": 0}, {"train": -1}, {"train": float("nan")}, {"a/b": 1}, {"": 1}])
def test_senseless_minutes(minutes):
    with pytest.raises(FitHubertError, match="minutes > 0"):
        describe("test", 1, minutes, 0)


def test_senseless_seed_and_jobs(tmp_path):
    with pytest.raises(FitHubertError, match="seed"):
        describe("test", 1, {"train": 1}, -1)
    with pytest.raises(FitHubertError, match="job"):
        write_corpus(tmp_path / "c", corpus(), jobs=0)


def test_a_process_that_synthesises_imports_no_torch():
    code = "import sys, fithubert_upstream.corpora.synthetic.run; print('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "False\n"

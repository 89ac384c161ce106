"""Each kind of damage to a sound little corpus gives its one line."""

import pytest

from fithubert_upstream.corpora.layouts.fluent_commands import (
    check_fluent_commands,
    read_table,
    recordings,
    slot_values,
)
from fithubert_upstream.errors import FitHubertError

from ...helpers import small_corpora
from ...helpers.audio import cut, noise, without_length
from ...helpers.problems import only_problem


@pytest.fixture
def root(tmp_path):
    return small_corpora.fluent_commands(tmp_path / "fluent")


def problem(root):
    return only_problem(check_fluent_commands(root, progress=False))


def edit(root, table, old, new):
    path = root / "data" / f"{table}_data.csv"
    text = path.read_text(encoding="utf-8")
    assert text.count(old) >= 1
    path.write_text(text.replace(old, new, 1), encoding="utf-8")
    return path


def test_counts(root):
    report = check_fluent_commands(root, progress=False)
    assert report.problems == [] and report.corpus == f"fluent_commands {root}" and report.counts["intents"] == 4
    for split in ("train", "dev", "test"):
        assert [report.counts[f"{split} {what}"] for what in ("commands", "speakers")] == [4, 1]
        assert report.counts[f"{split} hours"] == pytest.approx(4 * 0.575 / 3600)


def test_what_is_read(root):
    (command, *_) = read_table(root / "data" / "valid_data.csv")
    assert command == (2, "wavs/speakers/s1/valid-0.wav", "activate", "lights", "kitchen")
    assert len(recordings(root)) == 12
    actions, objects = ("activate", "bring", "increase"), ("lights", "lamp", "socks", "volume")
    numbered = [f"action {name}" for name in actions] + [f"object {name}" for name in objects]
    assert slot_values(root) == [*numbered, "location kitchen", "location none"]


def test_forms_that_a_table_may_have(root):
    """Other columns, marks of a byte order, Windows' ends of lines, empty lines, quotes, values that look like none."""
    path = root / "data" / "train_data.csv"
    text = path.read_text().replace("socks", "None").replace("Do, please", "Do\nit").replace("\n", "\r\n") + "\r\n"
    path.write_bytes(b"\xef\xbb\xbf" + text.encode())
    for table in ("valid", "test"):
        edit(root, table, "socks", "None")
    assert check_fluent_commands(root, progress=False).problems == []
    assert [command.object for command in read_table(path)] == ["lights", "lamp", "None", "volume"]


@pytest.mark.parametrize(
    ("table", "old", "new", "expected"),
    [
        ("train", "path,", "file,", "train_data.csv: expected the columns path, action, object, location once each"),
        ("test", "speakerId", "action", "test_data.csv: expected the columns path, action, object, location once each"),
        ("valid", "lamp,none", "lamp", "valid_data.csv, line 3: expected 7 fields as in its first line, found 6"),
        ("valid", "lamp,none", "lamp,", "valid_data.csv, line 3: expected a value for location, found none"),
        (
            "test",
            "s2/test-1",
            "s2/gone",
            "test_data.csv, line 3: expected wavs/speakers/s2/gone.wav in {root}, found no",
        ),
        (
            "test",
            "s2/test-1",
            "s0/train-0",
            "line 3: expected each recording once, found wavs/speakers/s0/train-0.wav of",
        ),
        ("test", "volume", "heat", "test_data.csv, line 5: expected object to be one of train_data.csv, found 'heat'"),
        ("valid", "bring", "take", "valid_data.csv, line 4: expected action to be one of train_data.csv, found 'take'"),
    ],
)
def test_wrong_tables(root, table, old, new, expected):
    edit(root, table, old, new)
    assert expected.format(root=root) in problem(root)


def test_tables_that_cannot_be_read(root):
    path = root / "data" / "valid_data.csv"
    path.write_bytes(b"caf\xe9")
    assert f"{path}: expected a table of path, action, object, location, found: 'utf-8' codec" in problem(root)
    path.write_text('path,action,object,location\n"' + "a,b,c\n" * 30_000)
    assert f"{path}, line " in problem(root) and "expected comma-separated values, found: field larger" in problem(root)
    path.write_text("path,action,object,location\n")
    assert problem(root) == f"{path}: expected recordings, found no row"
    path.write_text("")
    assert problem(root).endswith("found an empty file")
    path.unlink()
    assert problem(root).endswith("found: No such file or directory")
    with pytest.raises(FitHubertError, match="no such folder; expected wavs and data"):
        raise FitHubertError(problem(root / "no"))


def test_audio(root):
    path = root / "wavs" / "speakers" / "s2" / "test-3.wav"
    cut(path, 0.5)
    assert f"{path}: expected as much audio as its header says" in problem(root)
    noise(path, rate=8000)
    assert f"{path}: expected 16000 Hz, found 8000 Hz" in problem(root)
    noise(path, channels=2)
    assert f"{path}: expected a mono file, found 2 channels" in problem(root)
    without_length(noise(path.with_suffix(".FLAC")))
    edit(root, "test", "test-3.wav", "test-3.FLAC")
    assert check_fluent_commands(root, progress=False).problems == []

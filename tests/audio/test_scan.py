"""Scanning audio files: what is found wrong, what is remembered and when it is forgotten."""

import json
import os
import re

import pytest
import soundfile

from fithubert_upstream.audio import decode
from fithubert_upstream.audio.scan import FEW_FILES, count_milliseconds, count_samples, count_samples_16k, scan
from fithubert_upstream.errors import FitHubertError
from fithubert_upstream.files import cache_folder

from ..helpers.audio import cut, noise

CALLS = []


def file_size(path):
    """A measure for the tests: fails on empty files."""
    CALLS.append(path)
    if size := len(path.read_bytes()):
        return size
    raise ValueError("nothing\nin it")


def doubled_size(path):
    return 2 * file_size(path)


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("FITHUBERT_CACHE", str(tmp_path / "cache"))
    CALLS.clear()


def texts(folder, count):
    folder.mkdir()
    files = [folder / f"{i}.txt" for i in range(count)]
    for i, file in enumerate(files):
        file.write_text("x" * i)
    return files


def test_the_cache_folder_comes_from_the_environment(tmp_path, monkeypatch):
    assert cache_folder() == tmp_path / "cache"
    monkeypatch.setenv("FITHUBERT_CACHE", "")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache_folder() == tmp_path / ".cache" / "fithubert"


@pytest.mark.parametrize("suffix", ["flac", "wav"])
def test_samples_and_milliseconds_of_whole_files(tmp_path, suffix):
    long = noise(tmp_path / f"long.{suffix}", samples=3 * decode.BLOCK + 5)
    assert count_samples(long) == count_samples_16k(long) == len(soundfile.read(long)[0])
    stereo = noise(tmp_path / f"stereo.{suffix}", samples=4100, rate=8000, channels=2)
    assert count_samples(stereo) == 4100 and count_milliseconds(stereo) == 512


@pytest.mark.parametrize("suffix", ["flac", "wav"])
@pytest.mark.parametrize("share", [0, 0.0005, 0.1, 0.5, 0.999])
def test_a_file_cut_short_is_noticed(tmp_path, suffix, share):
    path = noise(tmp_path / f"a.{suffix}", samples=100_000)
    cut(path, share)
    with pytest.raises(FitHubertError, match=f"{re.escape(str(path))}: expected .*audio") as error:
        count_samples(path)
    assert "\n" not in str(error.value)


def test_a_damaged_flac_is_noticed(tmp_path):
    path = noise(tmp_path / "a.flac", samples=100_000)
    data = bytearray(path.read_bytes())
    data[len(data) // 2 : len(data) // 2 + 2000] = bytes(2000)
    path.write_bytes(data)
    with pytest.raises(FitHubertError, match="decodes to its end"):
        count_samples(path)


def test_a_wav_may_have_other_chunks_and_an_unknown_length(tmp_path):
    path = noise(tmp_path / "a.wav", samples=1000)
    data = path.read_bytes()
    before, after = b"odd " + (3).to_bytes(4, "little") + b"abc\0", b"LIST" + (4).to_bytes(4, "little") + b"INFO"
    at = data.index(b"data")
    path.write_bytes(data[:at] + before + data[at:] + after)
    assert count_samples(path) == 1000
    for length in (0x7FFFF000, 0xFFFFFFFF):  # what sox writes to a pipe, and the largest
        path.write_bytes(data[: at + 4] + length.to_bytes(4, "little") + data[at + 8 :])
        assert count_samples(path) == 1000


def test_other_formats_than_16_khz_mono(tmp_path):
    with pytest.raises(FitHubertError, match="a.wav: expected 16000 Hz, found 8000 Hz"):
        count_samples_16k(noise(tmp_path / "a.wav", rate=8000))
    with pytest.raises(FitHubertError, match="b.wav: expected a mono file, found 2 channels"):
        count_samples_16k(noise(tmp_path / "b.wav", channels=2))


def test_an_empty_or_missing_file(tmp_path):
    with pytest.raises(FitHubertError, match="a.wav: expected samples, found an empty file"):
        count_samples(noise(tmp_path / "a.wav", samples=0))
    with pytest.raises(FitHubertError, match="none.flac: expected an audio file"):
        count_samples(tmp_path / "none.flac")


def test_what_cannot_be_measured_is_told_in_a_line(tmp_path):
    files = texts(tmp_path / "a", 3)
    results = scan(files, file_size, "Test", progress=False)
    assert results == {files[0]: f"{files[0]}: ValueError: nothing in it", files[1]: 1, files[2]: 2}
    assert scan([], file_size, "Test", progress=False) == {}


def test_the_pool_gives_the_same(tmp_path):
    files = [noise(tmp_path / f"{i:02d}.wav", samples=100 + i) for i in range(FEW_FILES + 6)]
    cut(files[7], 0.5)
    alone = scan(files, count_samples, "Test", progress=False, jobs=1)
    for path in cache_folder().rglob("*.json"):
        path.unlink()
    assert scan(files, count_samples, "Test", progress=False, jobs=2) == alone
    assert list(alone) == files
    assert [file for file, value in alone.items() if isinstance(value, str)] == [files[7]]
    assert alone[files[-1]] == 100 + FEW_FILES + 5


def test_unchanged_files_are_not_measured_again(tmp_path):
    files = texts(tmp_path / "a", 5)
    first = scan(files, file_size, "Test", progress=False)
    assert CALLS == files
    CALLS.clear()
    assert scan(files, file_size, "Test", progress=False) == first
    assert CALLS == files[:1]  # what failed is tried again


def test_changed_and_new_files_are_measured_again(tmp_path):
    files = texts(tmp_path / "a", 5)[1:]
    scan(files, file_size, "Test", progress=False)
    CALLS.clear()
    files[0].write_text("longer than before")
    stamp = files[1].stat().st_mtime_ns + 1
    os.utime(files[1], ns=(stamp, stamp))  # of the same size
    added = tmp_path / "a" / "new.txt"
    added.write_text("new")
    results = scan([*files, added], file_size, "Test", progress=False)
    assert CALLS == [files[0], files[1], added]
    assert results[files[0]] == 18 and results[added] == 3


def test_a_part_of_the_files_does_not_forget_the_others(tmp_path):
    files = texts(tmp_path / "a", 5)[1:]
    for part in (files, files[:2], files):
        scan(part, file_size, "Test", progress=False)
    assert CALLS == files


def test_corpora_and_measures_do_not_mix(tmp_path):
    one, other = texts(tmp_path / "a", 3)[1:], texts(tmp_path / "b", 3)[1:]
    other[0].write_text("xyz")
    for file, twin in zip(one, other, strict=True):  # equal names and times
        stamp = file.stat().st_mtime_ns
        os.utime(twin, ns=(stamp, stamp))
    assert list(scan(one, file_size, "Test", progress=False).values()) == [1, 2]
    assert list(scan(other, file_size, "Test", progress=False).values()) == [3, 2]
    assert list(scan(one, doubled_size, "Test", progress=False).values()) == [2, 4]
    assert list(scan(one, file_size, "Test", progress=False).values()) == [1, 2]
    assert len(CALLS) == 6


def test_an_interrupted_scan_goes_on(tmp_path, monkeypatch):
    files = texts(tmp_path / "a", 5)[1:]

    def interrupt(path):
        if path == files[2]:
            raise KeyboardInterrupt
        return file_size(path)

    interrupt.__module__, interrupt.__qualname__ = file_size.__module__, file_size.__qualname__
    with pytest.raises(KeyboardInterrupt):
        scan(files, interrupt, "Test", progress=False)
    scan(files, file_size, "Test", progress=False)
    assert CALLS == files


@pytest.mark.parametrize(
    "content", [b"", b"\xff", b"[]", b"{}", b'{"root": 1, "files": 2}', b'{"root":null,"files":[]}']
)
def test_a_broken_cache_is_written_anew(tmp_path, content):
    files = texts(tmp_path / "a", 3)[1:]
    scan(files, file_size, "Test", progress=False)
    (path,) = cache_folder().rglob("*.json")
    whole = path.read_bytes()
    path.write_bytes(content)
    assert list(scan(files, file_size, "Test", progress=False).values()) == [1, 2]
    assert path.read_bytes() == whole


def test_senseless_entries_are_measured_again(tmp_path):
    files = texts(tmp_path / "a", 5)[1:]
    scan(files, file_size, "Test", progress=False)
    (path,) = cache_folder().rglob("*.json")
    content = json.loads(path.read_bytes())
    for name, entry in zip(list(content["files"]), (None, [1], [1, 2, "3"]), strict=False):
        content["files"][name] = entry
    path.write_text(json.dumps(content))
    assert list(scan(files, file_size, "Test", progress=False).values()) == [1, 2, 3, 4]


def test_a_cache_that_cannot_be_written_is_done_without(tmp_path, monkeypatch, caplog):
    (tmp_path / "file").write_text("no folder")
    monkeypatch.setenv("FITHUBERT_CACHE", str(tmp_path / "file"))
    files = texts(tmp_path / "a", 3)[1:]
    for _ in range(2):
        assert list(scan(files, file_size, "Test", progress=False).values()) == [1, 2]
    assert len(CALLS) == 4
    assert "set FITHUBERT_CACHE" in caplog.text


def test_the_bar_is_for_work_only(tmp_path, capsys):
    files = texts(tmp_path / "a", 3)[1:]
    scan(files, file_size, "Counting", progress=True)
    assert "Counting" in capsys.readouterr().err
    scan(files, file_size, "Counting", progress=True)
    assert capsys.readouterr().err == ""

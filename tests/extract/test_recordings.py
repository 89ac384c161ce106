import os

import pytest

from fithubert_upstream.errors import FitHubertError
from fithubert_upstream.extract.recordings import Recording, find_recordings, groups, parse_shard


def touch(*paths):
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")


def names(*audio):
    return [recording.name for recording in find_recordings(audio)]


def test_names_are_below_the_folder(tmp_path):
    touch(
        tmp_path / "b/2.flac", tmp_path / "a/1.WAV", tmp_path / "a/notes.txt", tmp_path / "3.aiff", tmp_path / ".x.wav"
    )
    assert names(tmp_path) == ["3", "a/1", "b/2"]


def test_names_of_several_folders_and_files_are_below_what_holds_all(tmp_path):
    touch(tmp_path / "dev/s/1.flac", tmp_path / "test/s/1.flac", tmp_path / "one.any")
    assert names(tmp_path / "dev", tmp_path / "test", tmp_path / "one.any") == ["dev/s/1", "one", "test/s/1"]


def test_a_file_given_twice_is_taken_once(tmp_path):
    touch(tmp_path / "a/1.flac")
    assert names(tmp_path / "a", tmp_path / "a/1.flac", tmp_path / "a/../a/1.flac") == ["a/1"]


def test_files_that_differ_in_their_suffix_keep_it(tmp_path):
    touch(tmp_path / "1.flac", tmp_path / "1.wav", tmp_path / "1.wav.mp3", tmp_path / "2.wav")
    assert names(tmp_path) == ["1.flac", "1.wav", "1.wav.mp3", "2"]


def test_nothing_to_find_is_told(tmp_path):
    touch(tmp_path / "a/1.txt")
    with pytest.raises(FitHubertError, match="expected a folder with audio files, found none"):
        find_recordings([tmp_path])
    with pytest.raises(FitHubertError, match="found nothing there"):
        find_recordings([tmp_path / "b"])


@pytest.mark.skipif(os.name == "nt", reason="links")
def test_a_link_to_nothing_is_left_to_the_decoder(tmp_path):
    (tmp_path / "1.flac").symlink_to(tmp_path / "2.flac")
    assert find_recordings([tmp_path]) == [Recording("1", str(tmp_path / "1.flac"), 0, 0)]


def test_groups_hold_each_once_and_files_of_like_size():
    recordings = [Recording(str(i), str(i), (i * 7919 % 1000) * 1000, 0) for i in range(1000)]
    found = list(groups(recordings))
    assert sorted(recording for group in found for recording in group) == sorted(recordings)
    assert all(sum(r.size for r in group) <= 4 << 20 or len(group) == 1 for group in found)
    ends = [(group[0].size, group[-1].size) for group in found]
    assert ends == sorted(ends) and len(found) < 200


def test_shards():
    assert parse_shard("0/1") == (0, 1) and parse_shard("3/4") == (3, 4)
    for text in ("4/4", "1", "-1/4", "a/b", "/2"):
        with pytest.raises(FitHubertError, match="expected i/n"):
            parse_shard(text)

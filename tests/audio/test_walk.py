import os

import pytest

from fithubert_upstream.audio.walk import find_audio, name_problems, other_audio_problems, walk
from fithubert_upstream.errors import FitHubertError


def touch(root, *names):
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()


def names(root):
    return [path.relative_to(root).as_posix() for path in find_audio(root)]


def test_suffixes_dots_and_order(tmp_path):
    wanted = ["B c/x.WAV", "a/1.take 2.flac", "a/2.Opus", "a/3.ogg", "a/b.c/4.mp3", "z.wav"]
    touch(tmp_path, *wanted, "a/notes.txt", "a/wav", "a/flac.bak")
    assert names(tmp_path) == wanted


@pytest.mark.parametrize("foreign", ["._x.wav", ".x.wav", ".ipynb_checkpoints/x.wav", "@eaDir/x.wav", "__MACOSX/x.wav"])
def test_what_is_no_part_of_a_corpus(tmp_path, foreign):
    touch(tmp_path, "a/x.wav", f"a/{foreign}", "a/Thumbs.db", "a/.DS_Store")
    assert names(tmp_path) == ["a/x.wav"]


def test_links_are_followed_and_loops_told(tmp_path):
    root = tmp_path / "root"
    touch(root, "a/x.wav")
    touch(tmp_path / "elsewhere", "deep/y.wav")
    (root / "b").symlink_to(tmp_path / "elsewhere")
    (root / "z.wav").symlink_to(tmp_path / "elsewhere" / "deep" / "y.wav")
    assert names(root) == ["a/x.wav", "b/deep/y.wav", "z.wav"]
    (tmp_path / "elsewhere" / "deep" / "up").symlink_to(root)
    with pytest.raises(FitHubertError, match="b/deep/up: expected no loop of links, found one to a folder above it"):
        find_audio(root)


def test_a_link_to_nothing_is_not_left_out(tmp_path):
    (tmp_path / "gone.wav").symlink_to(tmp_path / "nowhere.wav")
    assert names(tmp_path) == ["gone.wav"]


@pytest.mark.skipif(os.name != "posix", reason="names of bytes")
def test_names_that_are_no_text(tmp_path):
    file = os.path.join(os.fsencode(tmp_path), b"caf\xe9.wav")
    open(file, "wb").close()
    found = find_audio(tmp_path)
    assert os.fsencode(found[0]) == file
    (problem,) = name_problems(found, tmp_path)
    assert problem.endswith("caf\\udce9.wav: expected a name in UTF-8, found other bytes; rename it")
    problem.encode("utf-8")


@pytest.mark.skipif(os.geteuid() == 0 if hasattr(os, "geteuid") else True, reason="root reads everything")
def test_a_folder_that_cannot_be_read_is_told(tmp_path):
    touch(tmp_path, "a/x.wav", "b/y.wav")
    (tmp_path / "b").chmod(0)
    try:
        with pytest.raises(FitHubertError, match="b: expected a folder to read, found: Permission denied"):
            find_audio(tmp_path)
    finally:
        (tmp_path / "b").chmod(0o755)


def test_audio_that_is_not_read_is_named(tmp_path):
    touch(tmp_path, "a/x.m4a", "a/y.SPH")
    with pytest.raises(FitHubertError, match="found only others such as .*a/x.m4a; convert them"):
        find_audio(tmp_path)
    files = [file for _, inside in walk(tmp_path) for file in inside]
    assert [problem.partition(": ")[2] for problem in other_audio_problems(files)] == [
        f"expected .flac/.wav/.ogg/.opus/.mp3, found {suffix}, which is not read; convert it"
        for suffix in (".m4a", ".SPH")
    ]


def test_folders_that_are_not_there(tmp_path):
    touch(tmp_path, "train/x.wav", "notes/a.txt")
    with pytest.raises(FitHubertError, match=r"dev: expected a folder of audio, found none \(in .*: notes, train\)"):
        find_audio(tmp_path, ["dev"])
    with pytest.raises(FitHubertError, match="notes: expected .* files, found none"):
        find_audio(tmp_path, ["train", "notes"])
    with pytest.raises(FitHubertError, match="no such root"):
        find_audio(tmp_path / "none", ["a"])

import errno

import pytest

from fithubert_upstream.errors import FitHubertError
from fithubert_upstream.files import atomic_folder, atomic_path


def test_the_file_appears_whole(tmp_path):
    with atomic_path(tmp_path / "sub" / "a.txt") as temporary:
        temporary.write_text("all")
        assert not (tmp_path / "sub" / "a.txt").exists()
    assert (tmp_path / "sub" / "a.txt").read_text() == "all"
    assert [p.name for p in (tmp_path / "sub").iterdir()] == ["a.txt"]


def test_an_error_leaves_the_old_file(tmp_path):
    (tmp_path / "a.txt").write_text("old")
    with pytest.raises(RuntimeError), atomic_path(tmp_path / "a.txt") as temporary:
        temporary.write_text("ha")
        raise RuntimeError
    assert (tmp_path / "a.txt").read_text() == "old" and len(list(tmp_path.iterdir())) == 1


def test_the_folder_appears_whole(tmp_path):
    for place in (tmp_path / "sub" / "model", tmp_path / "empty"):
        (tmp_path / "empty").mkdir(exist_ok=True)
        with atomic_folder(place) as temporary:
            (temporary / "inner").mkdir()
            (temporary / "inner" / "a.txt").write_text("all")
            (temporary / "b.txt").touch(0o600)
            assert not (place / "inner").exists()
        assert sorted(path.name for path in place.rglob("*")) == ["a.txt", "b.txt", "inner"]
        assert (place / "b.txt").stat().st_mode == (place / "inner" / "a.txt").stat().st_mode
        assert not list(place.parent.glob(".*"))


def test_an_error_leaves_no_folder(tmp_path):
    with pytest.raises(RuntimeError), atomic_folder(tmp_path / "model") as temporary:
        (temporary / "a.txt").write_text("ha")
        raise RuntimeError
    assert not list(tmp_path.iterdir())
    with pytest.raises(FitHubertError, match=r"model: cannot be written \(No space left on device\)"):
        with atomic_folder(tmp_path / "model") as temporary:
            raise OSError(errno.ENOSPC, "No space left on device", str(temporary / "weights"))
    assert not list(tmp_path.iterdir())


def test_a_folder_with_files_is_left_alone(tmp_path):
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine.txt").write_text("mine")
    for name, found in (("full", "files in it"), ("full/mine.txt", "a file")):
        with pytest.raises(FitHubertError, match=f"expected a folder that is new or empty, found {found}"):
            with atomic_folder(tmp_path / name):
                raise AssertionError
    assert [path.name for path in tmp_path.rglob("*")] == ["full", "mine.txt"]

import pytest

from fithubert_upstream.files import atomic_path


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

import csv

import pytest

from fithubert_upstream.report import aligned_table, figure, save, write_csv


def test_a_table_is_aligned():
    assert aligned_table(["name", "n"], [["a", "100"], ["longer", "2"]], {0}) == [
        "| name   |   n |",
        "|--------|----:|",
        "| a      | 100 |",
        "| longer |   2 |",
    ]
    assert aligned_table(["a"], [], set()) == ["| a |", "|--:|"]


def test_csv(tmp_path):
    write_csv(tmp_path / "a.csv", ["name", "n"], [{"n": 0.1, "name": "a, é"}, {"name": None, "n": 0}])
    with (tmp_path / "a.csv").open(newline="", encoding="utf-8") as file:
        assert list(csv.reader(file)) == [["name", "n"], ["a, é", "0.1"], ["-", "0"]]
    with pytest.raises(ValueError, match="other"):  # a row that fails leaves the file as it was
        write_csv(tmp_path / "a.csv", ["name"], [{"name": "b"}, {"other": 1}])
    assert (tmp_path / "a.csv").read_text(encoding="utf-8").startswith("name,n\n")
    assert len(list(tmp_path.iterdir())) == 1


def test_picture(tmp_path):
    picture = figure(3, 2)
    picture.subplots().plot([1, 2])
    save(picture, tmp_path / "new" / "a.png")
    assert (tmp_path / "new" / "a.png").read_bytes().startswith(b"\x89PNG")
    assert [file.name for file in (tmp_path / "new").iterdir()] == ["a.png"]

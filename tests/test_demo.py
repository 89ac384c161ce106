"""The whole demo at a tiny size, twice: the second run finds everything done."""

import json

import pytest

from fithubert_upstream.cli import main
from fithubert_upstream.demo import Row, format_table, read_losses

STEPS = ["--teacher-steps", "2", "--student-steps", "4", "--pr-steps", "2"]


def test_table():
    rows = [Row("FBANK", 0, 0.0, 0.125, 0.5), Row("student", 1000, 1.25, 0.5, 0.25)]
    assert format_table(rows).splitlines()[2:] == [
        "| FBANK | 0 | - | 0.12 | 50.00 |",
        "| student | 1,000 | 1.2 MB | 0.50 | 25.00 |",
    ]


def test_demo_end_to_end_and_again(tmp_path, capsys, monkeypatch):
    from fithubert_upstream import demo

    monkeypatch.setattr(demo, "SYNTHETIC_MINUTES", {"train": 0.5, "dev": 0.1, "test": 0.1})
    output = tmp_path / "demo"
    assert main(["demo", *STEPS, "-o", str(output)]) == 0
    results = json.loads((output / "results.json").read_text())
    rows = {row["name"]: row for row in results["rows"]}
    assert list(rows) == ["FBANK", "student", "teacher"]
    assert rows["FBANK"]["parameters"] == 0 and rows["teacher"]["time_ratio"] == 1
    assert 0 < rows["student"]["parameters"] < rows["teacher"]["parameters"] / 2
    assert all(row["per"] > 0 for row in rows.values())
    assert "| student |" in capsys.readouterr().out and "| student |" in (output / "table.md").read_text()
    assert (output / "demo.png").read_bytes().startswith(b"\x89PNG")
    assert len(read_losses(output / "pretrain")) == 4

    made = {path: path.stat().st_mtime_ns for path in output.rglob("*.ckpt")}
    assert main(["demo", *STEPS, "-o", str(output)]) == 0
    assert made == {path: path.stat().st_mtime_ns for path in output.rglob("*.ckpt")}
    again = {row["name"]: row["per"] for row in json.loads((output / "results.json").read_text())["rows"]}
    assert again == {name: row["per"] for name, row in rows.items()}

    assert main(["demo", *STEPS, "--seed", "2", "-o", str(output)]) == 2
    assert "other settings" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--librispeech", "/no/where"], ["/no/where"]),
        (["--librispeech", ".", "--train", "no-split"], ["no-split"]),
    ],
)
def test_a_corpus_that_is_not_there(tmp_path, capsys, flags, words):
    assert main(["demo", *STEPS, *flags, "-o", str(tmp_path / "demo")]) == 2
    error = capsys.readouterr().err
    assert all(word in error for word in words) and error.count("\n") == 1
    assert not (tmp_path / "demo").exists()


def test_real_speech(tmp_path, real_data):
    excerpt = ["--librispeech", str(real_data / "LibriSpeech-excerpt")]
    splits = ["--train", "mini-dev", "--dev", "mini-dev", "--test", "mini-dev"]
    assert main(["demo", *STEPS, *excerpt, *splits, "-o", str(tmp_path / "demo")]) == 0
    rows = json.loads((tmp_path / "demo" / "results.json").read_text())["rows"]
    assert all(0 < row["per"] < 3 for row in rows)

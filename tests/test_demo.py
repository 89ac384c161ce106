"""The whole demo at a tiny size, twice: the second run finds everything done."""

import json
import shutil

import pytest

from fithubert_upstream.cli import main
from fithubert_upstream.demo import format_table
from fithubert_upstream.distillation.log import read_losses
from fithubert_upstream.superb.report import Row

STEPS = ["--student-steps", "4", "--task-steps", "2", "2", "2", "2"]
TINY = {
    "librispeech": {"train": 0.5, "dev": 0.1, "test": 0.1},
    "speech_commands": {"train": 1.0, "test": 0.4},
    "voxceleb1": {"dev": 0.75, "test": 0.75},
}


def test_table():
    rows = [Row("FBANK", 0, 50.0, 60.0, 70.0, 8.0), Row("student", 2**20, 25.0, 30.5, 80.25, 4.0)]
    times = {"FBANK": 0.125, "student": 0.5, "hubert_mini": 1.0}
    head, rule, *lines = [line.split("|")[1:-1] for line in format_table(rows, times).splitlines()]
    assert {cell[-1] for cell in rule[1:]} == {":"} and len(head) == len(rule)
    assert [[cell.strip() for cell in line] for line in lines] == [
        ["FBANK", "0", "-", "0.12", "50.00", "60.00", "70.00", "8.00"],
        ["student", "1,048,576", "4.0 MB", "0.50", "25.00", "30.50", "80.25", "4.00"],
    ]


@pytest.mark.slow
def test_demo_end_to_end_and_again(tmp_path, capsys, monkeypatch):
    from fithubert_upstream import demo

    monkeypatch.setattr(demo, "SYNTHETIC_MINUTES", TINY)
    output = tmp_path / "demo"
    assert main(["demo", *STEPS, "-o", str(output)]) == 0
    results = json.loads((output / "results.json").read_text())
    rows = {row["name"]: row for row in results["rows"]}
    assert list(rows) == ["FBANK", "student", "fithubert_mini", "hubert_mini"]
    assert rows["FBANK"]["parameters"] == 0 and set(results["seconds"]) == set(rows)
    assert 0 < rows["student"]["parameters"] < 0.45 * rows["hubert_mini"]["parameters"]
    assert all(row[task] >= 0 for row in rows.values() for task in ("pr", "asr", "ks", "sv"))
    table = (output / "table.md").read_text()
    assert table in capsys.readouterr().out and "superb_s" not in table
    assert sum(line.split()[:3] == ["|", "student", "|"] for line in table.splitlines()) == 1
    assert table.count("\nread:    ") == table.count("\nwritten: ") > 0
    assert (output / "demo.png").read_bytes().startswith(b"\x89PNG")
    assert len(read_losses(output / "pretrain" / "losses.csv")) == 4

    made = {path: path.stat().st_mtime_ns for path in output.rglob("*.ckpt")}
    assert main(["demo", *STEPS, "-o", str(output)]) == 0
    assert made == {path: path.stat().st_mtime_ns for path in output.rglob("*.ckpt")}
    assert json.loads((output / "results.json").read_text())["rows"] == results["rows"]

    assert main(["demo", *STEPS, "--seed", "2", "-o", str(output)]) == 2
    assert "other settings" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--librispeech", "/no/where"], ["/no/where"]),
        (["--librispeech", ".", "--train", "no-split"], ["no-split"]),
        (["--voxceleb1", "/no/where"], ["--voxceleb1", "/no/where"]),
    ],
)
def test_a_corpus_that_is_not_there(tmp_path, capsys, flags, words):
    assert main(["demo", *STEPS, *flags, "-o", str(tmp_path / "demo")]) == 2
    error = capsys.readouterr().err
    assert all(word in error for word in words) and error.count("\n") == 1
    assert not (tmp_path / "demo").exists()


@pytest.mark.slow
def test_real_speech(tmp_path, real_data, monkeypatch):
    from fithubert_upstream import demo

    monkeypatch.setattr(demo, "SYNTHETIC_MINUTES", TINY)
    excerpt = tmp_path / "excerpt"
    for transcript in sorted((real_data / "LibriSpeech-excerpt" / "mini-dev").rglob("*.trans.txt"))[:2]:
        chapter = excerpt / "part" / transcript.parent.relative_to(transcript.parents[2])
        chapter.mkdir(parents=True)
        lines = transcript.read_text().splitlines()[:3]
        (chapter / transcript.name).write_text("\n".join(lines) + "\n")
        for line in lines:
            shutil.copy(transcript.parent / f"{line.split()[0]}.flac", chapter)
    flags = ["--librispeech", str(excerpt), "--speech-commands", str(real_data / "speech_commands")]
    splits = ["--train", "part", "--dev", "part", "--test", "part"]
    assert main(["demo", *STEPS, *flags, *splits, "-o", str(tmp_path / "demo")]) == 0
    rows = json.loads((tmp_path / "demo" / "results.json").read_text())["rows"]
    assert all(0 < row["pr"] < 300 and 0 <= row["ks"] <= 100 and 0 <= row["sv"] <= 100 for row in rows)
    assert [folder.name for folder in (tmp_path / "demo" / "corpora").iterdir()] == ["voxceleb1"]

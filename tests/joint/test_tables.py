"""The two tables, the list of runs and the picture against numbers worked out by hand."""

import csv
import subprocess
import sys

import pytest

from fithubert_upstream.joint.tables import (
    Row,
    Run,
    markdown,
    mean_and_deviation,
    plot,
    published_rows,
    rows_of,
    write_csv,
)

from ..conftest import REPO


def run(name, mode, tasks, seed, ks, sv, note=""):
    parameters = {"teacher": 94_700_000, "student": 345_678}[name]
    return Run(name, parameters, mode, tasks, seed, ks, sv, 600 if tasks == "joint" else 300, note)


# KS of the student: mean 92, deviations -2, 0, 2: sqrt(8 / 2) = 2. SV: mean 11, deviations -1, 1: sqrt(2 / 1).
RUNS = [
    run("teacher", "fine-tuned", "ks", 1, 98.5, None),
    run("student", "frozen", "ks", 1, 90.0, None),
    run("student", "frozen", "sv", 1, None, 10.0),
    run("student", "frozen", "joint", 1, 80.0, 20.0),
    run("student", "frozen", "ks", 2, 92.0, None),
    run("student", "frozen", "sv", 2, None, 12.0, note="a remark"),
    run("student", "frozen", "ks", 3, 94.0, None),
]


def cells(text: str) -> list[list[str]]:
    lines = [line for line in text.splitlines() if line.startswith("| ")]
    return [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines]


def test_mean_and_sample_deviation():
    assert mean_and_deviation([90, 92, 94]) == (92, 2)
    assert mean_and_deviation([10.0, 12.0]) == (11, pytest.approx(2**0.5))
    assert mean_and_deviation([7.5]) == (7.5, None)


def test_rows_take_each_column_from_its_kind_of_run():
    assert rows_of(RUNS, "single") == [
        Row("teacher", 94_700_000, "fine-tuned", (98.5,), ()),
        Row("student", 345_678, "frozen", (90, 92, 94), (10, 12)),
    ]
    assert rows_of(RUNS, "joint") == [Row("student", 345_678, "frozen", (80,), (20,))]
    assert rows_of([], "single") == []


def test_published_rows():
    """Typed by hand from the paper's tables: parameters in M, KS accuracy, SV EER."""
    single = {
        ("wav2vec 2.0, KS only", None): (96, (98.10,), ()),
        ("wav2vec 2.0, SV only", None): (96, (), (3.35,)),
        ("DistilledWav2vec", None): (27, (98.01,), (4.48,)),
        ("DistilledHuBERT", None): (27, (97.82,), (4.26,)),
    }
    joint = {
        ("wav2vec 2.0", "fine-tuned"): (96, (98.19,), (3.15,)),
        ("wav2vec 2.0", "frozen"): (96, (90.33,), (20.5,)),
        ("DistilledWav2vec", "fine-tuned"): (27, (97.70,), (4.59,)),
        ("DistilledWav2vec", "frozen"): (27, (89.29,), (15.01,)),
        ("DistilledHuBERT", "fine-tuned"): (27, (97.90,), (4.27,)),
        ("DistilledHuBERT", "frozen"): (27, (91.27,), (12.67,)),
    }
    for table, expected in {"single": single, "joint": joint}.items():
        rows = published_rows(table)
        assert {(r.name, r.mode): (r.parameters / 1e6, r.ks, r.sv) for r in rows} == expected
        assert len(rows) == len(expected)
        assert all(("HUS" in row.source) == row.name.startswith("wav2vec 2.0") for row in rows)
    # The gains over frozen that the paper prints: KS +8.41 and +6.63, EER -10.42 and -8.40.
    rows = {(row.name, row.mode): row for row in published_rows("joint")}
    for name, ks, sv in (("DistilledWav2vec", 8.41, -10.42), ("DistilledHuBERT", 6.63, -8.40)):
        tuned, frozen = rows[name, "fine-tuned"], rows[name, "frozen"]
        assert (tuned.ks[0] - frozen.ks[0], tuned.sv[0] - frozen.sv[0]) == pytest.approx((ks, sv))


def test_results_of_small_corpora_stand_apart_from_published_ones():
    text = markdown(RUNS, "About these runs.", comparable=False)
    assert text.startswith("About these runs.\n") and "4 bytes" in text
    single, joint = text.split("## ")[1:]
    assert single.startswith("Each task alone") and joint.startswith("Both tasks in turn")
    ours, published = single.split("Published, ")
    assert cells(ours)[1:] == [
        ["teacher", "fine-tuned", "94.7", "378.8", "98.50 (n=1)", "-", "this run"],
        [
            "student",
            "frozen",
            "0.35",
            "1.4",
            "92.00 \N{PLUS-MINUS SIGN} 2.00 (n=3)",
            "11.00 \N{PLUS-MINUS SIGN} 1.41 (n=2)",
            "this run",
        ],
    ]
    assert ["DistilledHuBERT", "-", "27", "108", "97.82", "4.26", "published (KER)"] in cells(published)
    ours, published = joint.split("Published, ")
    assert cells(ours)[1:] == [["student", "frozen", "0.35", "1.4", "80.00 (n=1)", "20.00 (n=1)", "this run"]]
    assert ["wav2vec 2.0", "frozen", "96", "384", "90.33", "20.50", "published (KER, of HUS)"] in cells(published)
    assert text.endswith("- student, frozen, sv, seed 2: a remark")


def test_comparable_results_share_the_tables_with_published_ones():
    text = markdown(RUNS, "", comparable=True)
    assert "for orientation" not in text and "not with the published" not in text
    for part, count in zip(text.split("## ")[1:], (2 + 4, 1 + 6), strict=True):
        lines = [line for line in part.splitlines() if line.startswith("|")]
        assert len(lines) == 2 + count and len({len(line) for line in lines}) == 1


def test_tables_of_no_runs():
    assert markdown([], "", comparable=False).count("No run is finished.") == 2


def test_csv_has_every_run(tmp_path):
    runs = [*RUNS, run("student", "frozen", "joint", 2, 100 / 3, 0.1)]
    write_csv(runs, tmp_path / "runs.csv")
    with (tmp_path / "runs.csv").open(newline="") as file:
        lines = list(csv.DictReader(file))
    assert len(lines) == len(runs)
    assert lines[2] == {
        "upstream": "student",
        "parameters": "345678",
        "mode": "frozen",
        "tasks": "sv",
        "seed": "1",
        "ks": "-",
        "sv": "10.0",
        "steps": "300",
        "note": "",
    }
    assert float(lines[-1]["ks"]) == 100 / 3


@pytest.mark.parametrize("comparable", [False, True])
def test_picture(tmp_path, monkeypatch, comparable):
    from matplotlib.figure import Figure

    drawn = []
    save = Figure.savefig
    monkeypatch.setattr(
        Figure, "savefig", lambda self, *args, **kwargs: (drawn.append(self), save(self, *args, **kwargs))
    )
    plot(RUNS, tmp_path / "joint.png", comparable)
    assert (tmp_path / "joint.png").read_bytes().startswith(b"\x89PNG")
    panels = drawn[0].axes
    titles = ["KS (acc. %), alone", "KS (acc. %), joint", "SV (EER %), alone", "SV (EER %), joint"]
    assert [axes.get_title(loc="left") for axes in panels] == titles
    bars = [[bar.get_width() for bar in axes.containers[0]] for axes in panels]
    assert bars == [[98.5, 92], [0, 80], [0, 11], [0, 20]]
    texts = [[text.get_text() for text in axes.texts] for axes in panels]
    assert texts == [
        ["98.50", "92.00 \N{PLUS-MINUS SIGN} 2.00"],
        ["-", "80.00"],
        ["-", "11.00 \N{PLUS-MINUS SIGN} 1.41"],
        ["-", "20.00"],
    ]
    (error,) = panels[0].containers[1].lines[2][0].get_segments()
    assert error.tolist() == [[90, 1], [94, 1]]
    assert panels[0].collections[-1].get_offsets()[:, 0].tolist() == [90, 92, 94]  # a dot for each seed
    names = [label.get_text() for label in panels[0].get_yticklabels()]
    assert names == ["teacher\nfine-tuned", "student\nfrozen"]
    marks = [[line.get_xdata()[0] for line in axes.lines if list(line.get_ydata()) == [0, 1]] for axes in panels]
    assert marks == ([[97.82], [97.9, 91.27], [4.26], [4.27, 12.67]] if comparable else [[], [], [], []])
    assert len(drawn[0].legends) == comparable
    limits = [axes.get_xlim() for axes in panels]
    assert limits[0] == limits[1] and limits[2] == limits[3] and limits[0][1] > 98.5 and limits[2][1] > 20
    assert max(panels[0].get_xticks()) == 100


def test_picture_of_no_runs(tmp_path):
    plot([], tmp_path / "joint.png", comparable=False)
    assert (tmp_path / "joint.png").read_bytes().startswith(b"\x89PNG")


def test_importing_it_is_light():
    code = "import sys, fithubert_upstream.joint.tables; print({'torch', 's3prl', 'matplotlib'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True, cwd=REPO)
    assert done.stdout.strip() == "set()"

"""The table and the picture of SUPERB results, and the score, against numbers worked out by hand."""

import csv
import subprocess
import sys

import pytest

from fithubert_upstream.errors import FitHubertError
from fithubert_upstream.superb.metrics import METRICS, superb_score
from fithubert_upstream.superb.report import Row, markdown_table, measured, plot, published_rows, write_csv

from ..conftest import REPO

FOUR = ("pr", "asr", "ks", "sv")
SMALL = [
    Row("fbank", 0, 93.1, 98.2, 61.25, 38.4),
    Row("student", 345_678, 71.3, 92.05, 77.1, 31.222, note="ASR: a remark"),
    Row("teacher", None, pr=65.0),
]
FULL = [Row("student", 22_030_784, 13.3, 12.1, 96.2, 8.1, comparable=True), Row("ks only", 7, ks=96.0, comparable=True)]


def by_name() -> dict[str, Row]:
    return {row.name: row for row in published_rows()}


def test_score_against_hand_worked_numbers():
    # HuBERT Base: PR 76.6/78.48, ASR 16.76/19.56, KS 54.9173326/55.2773326, SV 4.45/4.45
    by_task = (976.045, 856.851, 993.487, 1000.0)
    row = by_name()["HuBERT Base, 960 h"]
    assert row.score(FOUR) == pytest.approx(sum(by_task) / 4, abs=1e-2)
    for task, score in zip(FOUR, by_task, strict=True):
        assert superb_score({task: getattr(row, task)}) == pytest.approx(score, abs=1e-3)
    # FitHuBERT-960h: PR 68.69/78.48, ASR 11.09/19.56, KS 54.8873326/55.2773326, SV 1.56/4.45
    by_task = (875.255, 566.973, 992.945, 350.562)
    assert by_name()["FitHuBERT, 960 h"].score(FOUR) == pytest.approx(sum(by_task) / 4, abs=1e-2)


def test_no_score_below_the_baseline():
    """It was printed as -2,475 for heads trained for minutes (it has no lower end)."""
    assert Row("x", 1, pr=90.0, asr=100.0, ks=30.0, sv=30.0).score(FOUR) is None


def test_score_of_the_reference_points():
    assert superb_score({key: metric.baseline for key, metric in METRICS.items()}) == 0
    assert superb_score({key: metric.top for key, metric in METRICS.items()}) == pytest.approx(1000)
    assert by_name()["FBANK"].score(FOUR) == pytest.approx(0, abs=0.1)  # its KS is printed with two digits


@pytest.mark.parametrize(
    ("name", "score"),
    [
        ("wav2vec 2.0 Base, 960 h", 818),
        ("HuBERT Base, 960 h", 941),
        ("WavLM Base, 960 h", 1019),
        ("WavLM Base+", 1106),
        ("WavLM Large", 1145),
        ("DistilHuBERT, 960 h", 717),
        ("LightHuBERT Stage 1, 960 h", 959),
        ("LightHuBERT small, 960 h", 901),
        ("FitHuBERT, 960 h", 685),
        ("FitHuBERT, 100 h", 695),
        ("FitW2V2, 960 h", 766),
        ("FitW2V2, 100 h", 659),
        ("Deep-vs-Wide 12-L HALF, 960 h", 807),
        ("Deep-vs-Wide 3-L ONE, 960 h", 772),
        ("DPHuBERT, 960 h", 866),
        ("DPHuBERT, 100 h", 819),
        ("DPWavLM, 960 h", 926),
        ("MaskHuBERT, 960 h", 837),
        ("ARMHuBERT, 960 h", 827),
        ("ARMHuBERT-S, 960 h", 828),
        ("ARMHuBERT-S, 100 h", 800),
        ("ARMwavLM-S, 960 h", 852),
        ("ARMwavLM-S, 100 h", 774),
        ("STaRHuBERT, 960 h", 887),
        ("STaRHuBERT-L, 960 h", 896),
        ("STaRHuBERT, 100 h", 831),
    ],
)
def test_published_scores_over_ten_tasks(name, score):
    """A wrong digit in a published row would show here."""
    assert by_name()[name].score(list(METRICS)) == pytest.approx(score, abs=1.7)


def test_score_equals_the_one_from_inverted_error_rates():
    values = {"pr": 20.0, "asr": 15.5, "sv": 7.7}
    slow = [
        1000 * ((100 - v) - (100 - METRICS[t].baseline)) / ((100 - METRICS[t].top) - (100 - METRICS[t].baseline))
        for t, v in values.items()
    ]
    assert superb_score(values) == pytest.approx(sum(slow) / 3)


@pytest.mark.parametrize("values", [{}, {"mos": 4.0}])
def test_score_of_other_tasks_is_an_error(values):
    with pytest.raises(FitHubertError, match="pr, asr, ks, sv"):
        superb_score(values)


def test_a_row_has_a_score_only_of_all_results():
    assert (
        [row.score(FOUR) is None for row in FULL] == [None in (r.pr, r.asr, r.ks, r.sv) for r in FULL] == [False, True]
    )


def test_published_rows():
    """Typed by hand from the tables that the rows are quoted from: parameters in M, PR, ASR, KS, SV."""
    sample = {
        "FBANK": (0, 82.01, 23.18, 41.38, 9.56),
        "wav2vec 2.0 Base, 960 h": (95.04, 5.74, 6.43, 96.23, 6.02),
        "HuBERT Base, 960 h": (94.70, 5.41, 6.42, 96.30, 5.11),
        "WavLM Base, 960 h": (94.70, 4.84, 6.21, 96.79, 4.69),
        "WavLM Base+": (94.70, 3.92, 5.59, 97.37, 4.07),
        "WavLM Large": (316.6, 3.06, 3.44, 97.86, 3.77),
        "DistilHuBERT, 960 h": (23.49, 16.27, 13.37, 95.98, 8.55),
        "LightHuBERT Stage 1, 960 h": (95, 4.15, 5.71, 96.82, 5.14),
        "LightHuBERT small, 960 h": (27.00, 6.60, 8.34, 96.07, 5.42),
        "FitHuBERT, 960 h": (22.49, 13.32, 12.09, 96.27, 8.00),
        "FitHuBERT, 100 h": (22.49, 14.05, 12.66, 96.23, 7.88),
        "FitW2V2, 960 h": (31.63, 12.22, 11.44, 96.04, 6.65),
        "FitW2V2, 100 h": (22.49, 16.50, 14.77, 94.68, 7.43),
        "Deep-vs-Wide 12-L HALF, 960 h": (26.87, 10.67, 10.96, 97.24, 6.13),
        "Deep-vs-Wide 3-L ONE, 960 h": (30.58, 13.34, 12.23, 96.69, 6.48),
        "DPHuBERT, 960 h": (23.59, 9.67, 10.47, 96.36, 5.84),
        "DPHuBERT, 100 h": (23.57, 10.02, 11.38, 96.36, 6.25),
        "DPWavLM, 960 h": (23.59, 8.22, 10.19, 96.27, 5.98),
        "MaskHuBERT, 960 h": (26.64, 7.30, 9.77, 96.36, 5.38),
        "ARMHuBERT, 960 h": (26.45, 7.72, 9.96, 96.88, 5.68),
        "ARMHuBERT-S, 960 h": (22.39, 8.63, 10.82, 96.82, 5.58),
        "ARMHuBERT-S, 100 h": (22.39, 9.17, 11.83, 96.01, 5.92),
        "ARMwavLM-S, 960 h": (22.39, 7.42, 10.03, 97.01, 5.99),
        "ARMwavLM-S, 100 h": (22.39, 8.33, 11.37, 96.30, 6.38),
        "STaRHuBERT, 960 h": (22.31, 8.16, 9.35, 96.27, 5.39),
        "STaRHuBERT-L, 960 h": (26.63, 7.97, 8.91, 96.56, 5.45),
        "STaRHuBERT, 100 h": (22.31, 9.17, 10.92, 96.46, 5.66),
    }
    rows = by_name()
    assert len(published_rows()) == len(rows) and set(rows) == set(sample)
    for name, row in rows.items():
        assert (row.parameters / 1e6, row.pr, row.asr, row.ks, row.sv) == sample[name], name
        assert row.comparable and row.source.startswith("published (")


def test_results_of_small_corpora_stand_apart_from_published_ones():
    text = markdown_table(SMALL, published_rows())
    ours, published = text.split("Published, on the real corpora, for orientation:")
    assert "FitHuBERT" not in ours and "student" not in published.split("\n- ")[0]
    cells = [[cell.strip() for cell in line.split("|")[1:-1]] for line in ours.splitlines() if line.startswith("| ")]
    assert cells[1:] == [
        ["fbank", "0.00", "93.10", "98.20", "61.25", "38.40", "-", "this run"],
        ["student", "0.35", "71.30", "92.05", "77.10", "31.22", "-", "this run"],
        ["teacher", "-", "65.00", "-", "-", "-", "-", "this run"],
    ]
    assert "- student: ASR: a remark" in text


def test_comparable_results_share_a_table_with_published_ones():
    text = markdown_table(FULL, published_rows())
    lines = [line for line in text.splitlines() if line.startswith("|")]
    assert len(lines) == 2 + len(FULL) + len(published_rows()) and len({len(line) for line in lines}) == 1
    assert "for orientation" not in text
    cells = [cell.strip() for cell in lines[2].split("|")[1:-1]]
    assert cells == ["student", "22.03", "13.30", "12.10", "96.20", "8.10", f"{FULL[0].score(FOUR):.0f}", "this run"]


def test_csv(tmp_path):
    path = tmp_path / "table.csv"
    write_csv(SMALL, published_rows(), path)
    with path.open(newline="") as file:
        rows = {row["name"]: row for row in csv.DictReader(file)}
    assert len(rows) == len(SMALL) + len(published_rows())
    assert rows["student"]["sv"] == "31.222" and rows["student"]["parameters"] == "345678"
    assert rows["teacher"]["asr"] == rows["teacher"]["parameters"] == rows["teacher"]["superb_s"] == "-"
    assert rows["teacher"]["comparable"] == "False" and rows["FBANK"]["comparable"] == "True"
    assert float(rows["HuBERT Base, 960 h"]["superb_s"]) == 956.6


@pytest.mark.parametrize(("rows", "marks"), [(SMALL, 0), (FULL, 3)])
def test_picture(tmp_path, monkeypatch, rows, marks):
    from matplotlib.figure import Figure

    drawn = []
    save = Figure.savefig
    monkeypatch.setattr(
        Figure, "savefig", lambda self, *args, **kwargs: (drawn.append(self), save(self, *args, **kwargs))
    )
    plot(rows, published_rows(), tmp_path / "superb.png")
    assert (tmp_path / "superb.png").read_bytes().startswith(b"\x89PNG")
    for axes, task in zip(drawn[0].axes, FOUR, strict=True):
        bars = axes.containers[0]
        assert [bar.get_width() for bar in bars] == [getattr(row, task) or 0 for row in rows]
        texts = ["-" if getattr(row, task) is None else f"{getattr(row, task):.2f}" for row in rows]
        assert [text.get_text() for text in axes.texts] == texts
        assert len([line for line in axes.lines if len(line.get_xdata())]) == marks
    assert [label.get_text().splitlines()[0] for label in drawn[0].axes[0].get_yticklabels()] == [r.name for r in rows]
    assert len(drawn[0].legends) == (1 if marks else 0)


def test_importing_it_is_light():
    code = "import sys, fithubert_upstream.superb.report; print({'torch', 's3prl', 'matplotlib'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True, cwd=REPO)
    assert done.stdout.strip() == "set()"


def test_picture_of_a_task_that_was_not_run(tmp_path):
    plot([Row("fbank", 0, pr=90.0), Row("student", 7, pr=80.0)], published_rows(), tmp_path / "superb.png")
    assert (tmp_path / "superb.png").read_bytes().startswith(b"\x89PNG")


def test_slot_filling_counts_once():
    values = {"sf": 79.725, "sf_cer": 52.94, "pr": 82.01}  # half of the way, none, none
    assert superb_score(values) == pytest.approx((500 + 0) / 2 / 2)


def test_only_what_was_measured_is_shown():
    rows = [Row("fbank", 0, ks=8.0, sf=60.0, sf_cer=70.0), Row("student", 7, ks=90.0, sf=70.0, sf_cer=50.0)]
    assert measured(rows) == ["ks", "sf", "sf_cer"]
    text = markdown_table(rows, published_rows())
    assert "KS (acc.) | SF (F1) | SF (CER) | superb_s" in text and "PR" not in text
    assert "higher is better for KS (acc.), SF (F1). superb_s is over KS, SF:" in text


def test_picture_of_all_tasks(tmp_path):
    rows = [Row(name, size, **dict.fromkeys(METRICS, 50.0)) for name, size in (("fbank", 0), ("student", 7))]
    plot(rows, published_rows(), tmp_path / "superb.png")
    assert (tmp_path / "superb.png").read_bytes().startswith(b"\x89PNG")

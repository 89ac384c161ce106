"""examples/claims: its report, of results that are made up."""

import csv
import json
import re
import subprocess
import sys
from dataclasses import asdict, fields, replace

import pytest

from fithubert_upstream.checkpoints.student import save_fithubert
from fithubert_upstream.distillation.config import DistillationConfig
from fithubert_upstream.joint.tables import Run
from fithubert_upstream.models.fithubert import FitHubert
from fithubert_upstream.superb.report import Row

from .conftest import REPO
from .helpers.tiny import SMALL

CLAIMS = REPO / "examples" / "claims"
PER = {"thin_deep": 60, "wide_shallow": 62, "last_layer": 59, "no_reduction": 58}
OTHERS = {"fbank": (82, 10), "hubert_mini": (42, 90), "fithubert_mini": (45, 86)}


@pytest.fixture
def folder(tmp_path):
    for name in PER:
        save_fithubert(FitHubert(SMALL), tmp_path / f"{name}-1" / "student.safetensors")
    for seed in (1, 2):
        spread = 3 * (seed - 1)  # which only "wide and shallow" does not share
        students = [Row(n, 1, pr=per + (0 if n == "wide_shallow" else spread)) for n, per in PER.items()]
        pair = [Row(n, 1, pr=per, ks=ks) for n, (per, ks) in OTHERS.items()]
        for kind, rows in {"students": students, "pair": pair}.items():
            (tmp_path / f"{kind}-{seed}").mkdir()
            text = json.dumps({"rows": [asdict(row) for row in rows]})
            (tmp_path / f"{kind}-{seed}" / "results.json").write_text(text)
    (tmp_path / "joint").mkdir()
    with (tmp_path / "joint" / "runs.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, [field.name for field in fields(Run)])
        writer.writeheader()
        for seed in (1, 2):
            frozen = Run("fithubert_mini", 1, "frozen", "joint", seed, 60 + seed, 20, 10)
            writer.writerow(asdict(frozen))
            writer.writerow(asdict(replace(frozen, mode="fine-tuned", ks=80 + seed, sv=21)))
            writer.writerow(asdict(replace(frozen, tasks="ks", sv=None)) | {"sv": "-"})
    return tmp_path


def test_report(folder):
    done = subprocess.run([sys.executable, str(CLAIMS / "report.py"), str(folder)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    text = (folder / "claims.md").read_text()
    assert text == done.stdout.rstrip("\n") + "\n" and (folder / "claims.png").stat().st_size > 10_000
    verdicts = {
        line.split("|")[1].strip()[:3]: line.split("|")[3].strip() for line in text.splitlines() if "| (" in line
    }
    assert verdicts["(a)"] == "open: not with every seed"  # 60 against 62, then 63 against 62
    assert verdicts["(b)"] == "does not hold"
    assert re.fullmatch(r"\+2.0 points of PER for -?\d+ % less time", verdicts["(c)"])
    assert "61.5 ± 2.1 against 62.0 ± 0.0" in text
    lines = [line for line in text.splitlines() if "(d)" in line or "(e)" in line]
    assert ["does not hold" in line for line in lines] == [False, True, False, False]
    assert "92.5 ± 0.0 % (fbank 82.0" in lines[2] and "95.0 ± 0.0 %" in lines[3] and "holds" in lines[3]


def test_run_sh():
    done = subprocess.run(["bash", str(CLAIMS / "run.sh"), "folder"], capture_output=True, text=True)
    assert done.returncode == 2 and "LIBRISPEECH SPEECH_COMMANDS VOXCELEB1 WORDS" in done.stderr


def test_equal_sizes(monkeypatch):
    """The wide student of run.sh has at most 6 % more parameters than the thin one."""
    monkeypatch.setenv("WHISPER", "whisper")
    config = DistillationConfig.from_yaml(CLAIMS / "student.yaml").student
    wide = replace(config, embed_dim=256, num_layers=3, ffn_dim=512, head_layers=(1, 2, 3))
    thin, wide = (sum(p.numel() for p in FitHubert(c).keep_heads((c.num_layers,)).parameters()) for c in (config, wide))
    assert "embed_dim=256 student.num_layers=3 student.ffn_dim=512" in (CLAIMS / "run.sh").read_text()
    assert thin < wide < 1.06 * thin

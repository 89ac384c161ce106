"""Query by example: every layer is evaluated on dev, the best on test; nothing is trained, searched or repeated."""

import json
from pathlib import Path

import pytest

from fithubert_upstream import cli
from fithubert_upstream.checkpoints.student import save_fithubert
from fithubert_upstream.errors import FitHubertError
from fithubert_upstream.models.fithubert import FitHubert
from fithubert_upstream.superb.choice_report import choice_table, draw_choice
from fithubert_upstream.superb.configs import Settings
from fithubert_upstream.superb.names import Upstream
from fithubert_upstream.superb.run import run
from fithubert_upstream.superb.running import layer_choice
from fithubert_upstream.superb.running.layer_choice import count_layers
from fithubert_upstream.superb.verify import verify

from ...helpers import small_corpora
from ...helpers.superb_runs import TWO, config_in, flag
from ...helpers.tiny import SMALL

DEV = {"0": 0.1, "1": 0.4, "2": 0.4, None: 0.2}
TEST = 0.3
STUDENT = Upstream("student", "fithubert", "student.safetensors")


@pytest.fixture
def layers(runner, corpora, student, monkeypatch):
    """A runner that logs these results; the student has three layers. Gives the layer and split of each call."""
    (corpora.root / "quesst14").mkdir()
    monkeypatch.setenv("QUESST14", str(corpora.root / "quesst14"))
    monkeypatch.setattr(layer_choice, "count_layers", lambda upstream: 1 if upstream.name == "fbank" else 3)
    calls = []
    others = type(runner).__call__

    def call(self, argv):
        if flag(argv, "-d") != "quesst14_dtw":
            return others(self, argv)
        assert config_in(argv)["runner"] == {}
        if len(calls) == self.fail_at:
            raise self.error
        split, layer = flag(argv, "-t"), flag(argv, "-l")
        calls.append((split, layer))
        return {f"quesst14_dtw/{split}-mtwv": DEV[layer] if split == "dev" else TEST}

    monkeypatch.setattr(type(runner), "__call__", call)
    return calls


def test_the_best_layer_on_dev_is_tested(layers, corpora):
    rows = run([TWO[0], STUDENT], ["qbe"], Settings(), "out")
    assert layers == [("dev", None), ("test", None), *(("dev", layer) for layer in "012"), ("test", "1")]
    assert [row.qbe for row in rows] == [30, 30] and corpora.checked == [("quesst14_dtw", "evaluate")]
    result = json.loads(Path("out/student/qbe/result.json").read_text())
    assert result["layer"] == 1 and result["dev"] == pytest.approx({"0": 10, "1": 40, "2": 40})
    assert result["logged"] == {"quesst14_dtw/test-mtwv": TEST} and result["checkpoint"] is None
    assert [flag(command.split(), "-t") for command in result["command"]] == ["dev", "test"]
    table = Path("out/table.md").read_text()
    assert "| student  | QBE (MTWV) |     10.00 | **40.00** |   40.00 |" in table and "updates: none" in table
    assert "| fbank    | QBE (MTWV) | **20.00** |         - |       - |" in table
    assert Path("out/qbe.png").read_bytes().startswith(b"\x89PNG") and not Path("out/layers.png").exists()
    run([TWO[0], STUDENT], ["qbe"], Settings(), "out")
    assert len(layers) == 6


def test_a_finished_layer_is_not_evaluated_again(layers, runner):
    runner.error, runner.fail_at = KeyboardInterrupt(), 2
    with pytest.raises(KeyboardInterrupt):
        run([STUDENT], ["qbe"], Settings(), "out")
    assert json.loads(Path("out/student/qbe/dev.json").read_text()) == pytest.approx({"0": 10, "1": 40})
    runner.fail_at = None
    run([STUDENT], ["qbe"], Settings(), "out")
    assert layers == [*(("dev", layer) for layer in "012"), ("test", "1")]


def test_rates_and_seeds_leave_it_alone(layers, runner):
    (row,) = run([STUDENT], ["qbe"], Settings(rates=(1e-2, 1e-3), seeds=(1, 2)), "out")
    assert len(layers) == 4 and row.spread == {} and row.qbe == 30
    run([STUDENT], ["qbe"], Settings(rates=(0.5,), seed=7), "out")  # the same result
    (row,) = run(TWO[:1], ["qbe", "ks"], Settings(seeds=(1, 2)), "both")
    assert row.spread == {"ks": 0} and row.qbe == 30


def test_verify(layers, runner, capsys):
    run([STUDENT], ["qbe"], Settings(), "out")
    Path("out").rename("elsewhere")
    assert cli.main(["superb", "--verify", "elsewhere"]) == 0
    assert "| student/qbe | quesst14_dtw/test-mtwv |    0.3 |   0.3 | same |" in capsys.readouterr().out
    assert layers[-1] == ("test", "1")
    Path("student.safetensors").write_bytes(b"another")
    (verdict,) = verify("elsewhere")
    assert not verdict.same and verdict.remark.endswith("is not the upstream's file that was tested")


@pytest.mark.slow
def test_end_to_end(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    save_fithubert(FitHubert(SMALL), tmp_path / "tiny.safetensors")
    corpus = small_corpora.quesst14(tmp_path / "quesst14")
    upstreams = [TWO[0], Upstream("tiny", "fithubert", "tiny.safetensors")]
    rows = run(upstreams, ["qbe"], Settings(quesst14=str(corpus)), "out")
    results = [json.loads(Path(f"out/{row.name}/qbe/result.json").read_text()) for row in rows]
    assert [row.qbe for row in rows] == [result["value"] for result in results]
    assert [len(result["dev"]) for result in results] == [1, count_layers(upstreams[1])]
    assert all(0 <= value <= 100 for result in results for value in result["dev"].values())
    assert all(verdict.same for verdict in verify("out"))
    (corpus / "scoring" / "groundtruth_quesst14_dev" / "quesst14_dev.rttm").write_text("LEXEME doc_2 1 0 1 dev_0 x\n")
    with pytest.raises(FitHubertError, match="the corpus has changed since"):
        run(upstreams, ["qbe"], Settings(quesst14=str(corpus)), "out")


def test_fine_overrides(layers, capsys):
    flags = ["superb", "-u", "fbank", "--tasks", "qbe", "-o", "out", "--override"]
    assert cli.main([*flags, "qbe:downstream_expert.max_workers=2"]) == 0
    assert cli.main([*flags, "qbe:runner.total_steps=2"]) == 2
    assert "qbe: config.runner.total_steps: unknown key 'total_steps'" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("upstream", "count"),
    [
        (Upstream("f", "fbank"), 1),
        (Upstream("m", "fithubert_mini"), 12),
        (Upstream("m", "fithubert_mini", feature="last_hidden_state"), 1),
    ],
)
def test_layers_of_real_upstreams(upstream, count):
    assert count_layers(upstream) == count


def test_report(tmp_path):
    choices = {
        "a": {"layer": 1, "dev": {"0": 0.0, "1": 5.25}},
        "b": {"layer": 0, "dev": {"0": 3.0}},
    }
    lines = choice_table(choices, "qbe").splitlines()
    assert lines[0].startswith("The layer of query by example, chosen on dev")
    assert [line.replace(" ", "") for line in lines[4:]] == ["|a|QBE(MTWV)|0.00|**5.25**|", "|b|QBE(MTWV)|**3.00**|-|"]
    draw_choice(choices, "qbe", tmp_path / "qbe.png")
    assert (tmp_path / "qbe.png").read_bytes().startswith(b"\x89PNG")

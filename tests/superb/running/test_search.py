"""Learning rates: every one is trained, dev chooses, only the chosen one is tested; losers are stopped early."""

import json
import shutil
from pathlib import Path

import pytest

from fithubert_upstream import cli
from fithubert_upstream.compat import runs
from fithubert_upstream.errors import FitHubertError
from fithubert_upstream.superb.configs import Settings
from fithubert_upstream.superb.run import parse_rates, run
from fithubert_upstream.superb.running import search
from fithubert_upstream.superb.running.search import SUPERB_RATES
from fithubert_upstream.superb.search_report import draw_search, search_table

from ...helpers.superb_runs import TWO, config_in, flag

BEST = {1e-1: 0.2, 1e-2: 0.7, 1e-3: 0.9, 1e-4: 0.5}  # accuracy on dev at the end


@pytest.fixture
def curves(runner, monkeypatch):
    """The runner logs five rising results on dev; the learning rate says how high. Gives how many it logged."""
    evaluations = {}
    train = type(runner).__call__

    def call(self, argv):
        done = train(self, argv)
        if flag(argv, "-m") == "train":
            rate = config_in(argv)["optimizer"]["lr"]
            evaluations[rate] = 0
            for number in range(1, 6):
                evaluations[rate] += 1
                for watcher in list(runs._watchers):
                    watcher("speech_commands/train-loss", 1.0, 100 * number)
                    watcher("speech_commands/dev-acc", BEST[rate] * number / 5, 100 * number)
        return done

    monkeypatch.setattr(type(runner), "__call__", call)
    return evaluations


def test_only_the_best_rate_on_dev_is_tested(runner, corpora, curves):
    rows = run(TWO[:1], ["ks"], Settings(rates=(1e-2, 1e-3, 1e-1), halving=False), "out")
    trained = [config_in(argv)["optimizer"]["lr"] for argv in runner.calls if flag(argv, "-m") == "train"]
    tested = [Path(flag(argv, "-e")).parent.name for argv in runner.calls if flag(argv, "-m") == "evaluate"]
    assert trained == [1e-2, 1e-3, 1e-1] and tested == ["lr-0.001"] and curves == dict.fromkeys(trained, 5)
    result = json.loads(Path("out/fbank/ks/result.json").read_text())
    assert result["lr"] == 1e-3 and [entry["dev"] for entry in result["search"]] == pytest.approx([70, 90, 20])
    assert [entry["chosen"] for entry in result["search"]] == [False, True, False]
    assert result["dev"] == pytest.approx({str(100 * n): 18.0 * n for n in range(1, 6)})
    text = Path("out/table.md").read_text()
    assert "| fbank    | KS (acc.) |  20.00 |   70.00 | **90.00** |" in text and rows[0].ks == 75.0
    assert Path("out/lr.png").is_file() and rows[0].comparable is False
    before = len(runner.calls)
    run(TWO[:1], ["ks"], Settings(rates=(1e-2, 1e-3, 1e-1), halving=False), "out")
    assert len(runner.calls) == before
    with pytest.raises(FitHubertError, match="already holds a run with other settings: rates"):
        run(TWO[:1], ["ks"], Settings(rates=(1e-2, 1e-3), halving=False), "out")


def test_losers_are_stopped_early(runner, corpora, curves):
    run(TWO[:1], ["ks"], Settings(rates=(1e-3, 1e-2, 1e-1, 1e-4)), "out")
    assert curves[1e-3] == 5 and all(curves[rate] < 5 for rate in (1e-1, 1e-4))
    result = json.loads(Path("out/fbank/ks/result.json").read_text())
    assert result["lr"] == 1e-3 and {e["lr"]: e["stopped"] for e in result["search"]}[1e-1]
    assert "(1)" in Path("out/table.md").read_text()


def test_an_interrupted_search_goes_on(runner, corpora, curves):
    settings = Settings(rates=(1e-3, 1e-2), halving=False)
    runner.error, runner.fail_at = KeyboardInterrupt(), 1
    with pytest.raises(KeyboardInterrupt):
        run(TWO[:1], ["ks"], settings, "out")
    runner.fail_at = None
    run(TWO[:1], ["ks"], settings, "out")
    trained = [config_in(argv)["optimizer"]["lr"] for argv in runner.calls if flag(argv, "-m") == "train"]
    assert trained == [1e-3, 1e-2]  # the first one was not trained again


def test_further_seeds_follow_the_first(runner, corpora, curves):
    rows = run(TWO[:1], ["ks"], Settings(rates=(1e-2, 1e-3), halving=False, seeds=(1, 2, 3)), "out")
    trained = [
        (config_in(argv)["optimizer"]["lr"], flag(argv, "--seed"))
        for argv in runner.calls
        if flag(argv, "-m") == "train"
    ]
    assert trained == [(1e-2, "1"), (1e-3, "1"), (1e-3, "2"), (1e-3, "3")]
    assert rows[0].spread == {"ks": 0.0} and "75.00 ± 0.00" in Path("out/table.md").read_text()


def test_a_further_seed_that_was_interrupted_goes_on(runner, corpora, curves):
    """It noted the chosen rate among its settings, and then took itself for a run of other settings."""
    settings = Settings(rates=(1e-2, 1e-3), halving=False, seeds=(1, 2))
    runner.error, runner.fail_at = KeyboardInterrupt(), 3  # two rates, one test, then the training of seed 2
    with pytest.raises(KeyboardInterrupt):
        run(TWO[:1], ["ks"], settings, "out")
    runner.fail_at = None
    (row,) = run(TWO[:1], ["ks"], settings, "out")
    assert row.spread == {"ks": 0.0}
    shutil.rmtree("out/fbank/ks/seed-1")
    with pytest.raises(FitHubertError, match="seed-2: already holds a run with other settings: rates"):
        run(TWO[:1], ["ks"], Settings(rates=(1e-1, 1e-3), halving=False, seeds=(1, 2)), "out")


def test_a_task_without_dev_is_an_error(runner, corpora):
    with pytest.raises(FitHubertError, match="KS on fbank: ks: expected results on dev to choose a learning rate by"):
        run(TWO[:1], ["ks"], Settings(rates=(1e-2, 1e-3)), "out")  # this runner logs none


def test_a_config_without_dev_is_told_before_anything_runs(runner, corpora):
    with pytest.raises(FitHubertError, match="--lr: sv: expected dev in runner.eval_dataloaders to choose by"):
        run(TWO[:1], ["ks", "sv"], Settings(configs="full", rates=(1e-2, 1e-3)), "out")
    assert not runner.calls


@pytest.mark.parametrize(
    ("words", "rates"),
    [(None, ()), (["search"], SUPERB_RATES), (["1e-2"], (0.01,)), (["1e-2", "1e-2", ".5"], (0.01, 0.5))],
)
def test_rates(words, rates):
    assert parse_rates(words) == rates


@pytest.mark.parametrize("words", [["0"], ["-1"], ["fast"], ["nan"], ["inf"], ["1e-2", "search"], ["true"]])
def test_no_rates(words, corpora, capsys):
    assert cli.main(["superb", "-u", "fbank", "--tasks", "ks", "--lr", *words]) == 2
    assert "expected a number above 0, or search" in capsys.readouterr().err


def test_one_rate_is_no_search(runner, corpora):
    run(TWO[:1], ["ks"], Settings(rates=(0.5,)), "out")
    assert config_in(runner.calls[0])["optimizer"]["lr"] == 0.5 and not Path("out/lr.png").exists()
    assert Settings(configs="full", rates=(0.5,)).comparable  # SUPERB searches it


def test_report(tmp_path):
    curve = {"100": 1.0}
    entry = {"dev": 10.0, "curve": curve, "stopped": False, "chosen": False}
    tried = [
        {"lr": 0.1, **entry},
        {"lr": 0.01, **entry, "dev": 20.0, "chosen": True},
        {"lr": 1e-3, **entry, "dev": None},
    ]
    searches = {"fbank": {"ks": tried}, "student": {"ks": tried, "pr": [{"lr": 0.1, **entry, "stopped": True}]}}
    lines = search_table(searches).splitlines()
    assert lines[-1].split("|")[1:4] == [" student  ", " PR (PER)  ", " 10.00 (1) "]
    draw_search(searches, tmp_path / "lr.png")
    assert (tmp_path / "lr.png").read_bytes().startswith(b"\x89PNG")


def test_an_evaluation_that_is_made_again_counts_once(runner, corpora, curves, monkeypatch):
    """mini/ks.yaml saves every 250 updates and evaluates every 100: a resumed training evaluates 300 again."""
    train = type(runner).__call__

    def call(self, argv):
        done = train(self, argv)
        if flag(argv, "-m") == "train" and config_in(argv)["optimizer"]["lr"] == 1e-3:
            for watcher in list(runs._watchers):  # the first one, again
                watcher("speech_commands/dev-acc", 0.1, 100)
        return done

    seen = []
    monkeypatch.setattr(type(runner), "__call__", call)
    monkeypatch.setattr(search, "falls_behind", lambda task, own, others, count: seen.append(list(own)) and False)
    run(TWO[:1], ["ks"], Settings(rates=(1e-3, 1e-2)), "out")
    assert max(map(len, seen)) == 5 and seen[5] == [10.0]

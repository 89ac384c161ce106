"""Stored checkpoints are evaluated again: the same numbers, other numbers, other files."""

import json
from pathlib import Path

import pytest

from fithubert_upstream import cli
from fithubert_upstream.errors import FitHubertError
from fithubert_upstream.superb.configs import Settings
from fithubert_upstream.superb.run import run
from fithubert_upstream.superb.verify import verify

from ..helpers import superb_runs
from ..helpers.superb_runs import TWO, flag


@pytest.fixture
def done(runner, corpora):
    run(TWO[:1], ["ks", "pr"], Settings(), "out")
    runner.calls.clear()
    return runner


def test_the_same_numbers(done, capsys):
    assert cli.main(["superb", "--verify", "out"]) == 0
    text = capsys.readouterr().out
    assert "| fbank/ks | speech_commands/test-acc |   0.75 |  0.75 | same |" in text and "fbank/pr" in text
    assert all(flag(argv, "-m") == "evaluate" and flag(argv, "-p") not in ("out", None) for argv in done.calls)


def test_the_folder_may_have_moved(done):
    Path("out").rename("elsewhere")
    assert all(verdict.same for verdict in verify("elsewhere"))
    assert flag(done.calls[0], "-e") == str(Path("elsewhere/fbank/ks/dev-best.ckpt"))


def test_other_numbers(done, monkeypatch, capsys):
    monkeypatch.setitem(superb_runs.SCORES, "speech_commands", {"speech_commands/test-acc": 0.5})
    assert cli.main(["superb", "--verify", "out"]) == 2
    captured = capsys.readouterr()
    assert "|   0.75 |   0.5 | differs |" in captured.out
    assert captured.err == "fithubert superb: --verify out: 1 of 2 numbers are not the same\n"


def test_another_checkpoint(done):
    Path("out/fbank/ks/dev-best.ckpt").write_bytes(b"another")
    (ks,) = [verdict for verdict in verify("out") if verdict.run == "fbank/ks"]
    assert not ks.same and ks.remark == "dev-best.ckpt is not the checkpoint that was tested"


def test_results_of_an_older_version(done):
    file = Path("out/fbank/ks/result.json")
    result = json.loads(file.read_text())
    del result["logged"]
    file.write_text(json.dumps(result))
    (ks,) = [verdict for verdict in verify("out") if verdict.run == "fbank/ks"]
    assert not ks.same and "older version" in ks.remark


def test_nothing_to_verify(tmp_path):
    with pytest.raises(FitHubertError, match="expected a folder of results, found no result.json"):
        verify(tmp_path)


@pytest.mark.parametrize("job", ["superb", "joint-report"])
def test_no_upstream(job, capsys):
    assert cli.main([job]) == 2
    assert f"give for example fithubert {job} -u fbank" in capsys.readouterr().err

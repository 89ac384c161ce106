"""`superb` and `joint-report` advised s3prl's `-o config.KEY=VALUE`, but their -o is the output folder."""

import pytest

from fithubert_upstream import cli
from fithubert_upstream.downstream.tasks import TASKS
from fithubert_upstream.errors import FitHubertError
from fithubert_upstream.joint.report import Plan, config_of
from fithubert_upstream.settings.files import expand_variables
from fithubert_upstream.superb.configs import Settings, task_config
from fithubert_upstream.superb.running.jobs import advice_for


def test_corpora_that_are_not_named(monkeypatch):
    monkeypatch.delenv("DSPSPEECH", raising=False)
    monkeypatch.delenv("LIBRISPEECH", raising=False)
    with pytest.raises(FitHubertError, match=r"or give --override downstream_expert\.ks\.root=\.\.\."):
        config_of("joint", "frozen", Plan())
    with pytest.raises(FitHubertError, match=r"or give --override pr:downstream_expert\.corpus\.path=\.\.\."):
        task_config("pr", Settings(), {})
    with pytest.raises(FitHubertError, match=r"or give -o config\.path=\.\.\."):  # s3prl's runner
        expand_variables({"path": "${LIBRISPEECH}"})


def test_splits_that_are_not_there(tmp_path, monkeypatch, capsys):
    (tmp_path / "corpus").mkdir()
    monkeypatch.chdir(tmp_path)
    assert cli.main(["superb", "-u", "fbank", "--tasks", "pr", "--librispeech", "corpus", "-o", "out"]) == 2
    assert "give --override pr:downstream_expert.corpus.path=..." in capsys.readouterr().err


def test_in_a_run():
    with pytest.raises(FitHubertError, match=r"^give --override ks:optimizer\.lr=1, -o$"), advice_for(TASKS["ks"]):
        raise FitHubertError("give -o config.optimizer.lr=1, -o")

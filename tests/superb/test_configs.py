"""The finished config of each task, and the corpora that it names."""

import os
from pathlib import Path

import pytest

from fithubert_upstream.downstream.tasks import TASKS
from fithubert_upstream.errors import FitHubertError
from fithubert_upstream.superb.configs import Settings
from fithubert_upstream.superb.run import parse_override, run

from ..helpers.superb_runs import ALL, TWO, config_in


def test_overrides_are_in_the_finished_config(runner, corpora):
    given = [
        "runner.total_steps=300",
        "optimizer.lr=1e-3",
        "downstream_expert.text.mode=type",
        "runner.eval_dataloaders=[dev, test]",
    ]
    run(TWO[:1], ["pr"], Settings(overrides=tuple(parse_override(f"pr:{text}") for text in given)), "out")
    config = config_in(runner.calls[0])
    steps = {"total_steps": 300, "eval_step": 100, "save_step": 100, "eval_dataloaders": ["dev", "test"]}
    assert steps.items() <= config["runner"].items() and config["optimizer"]["lr"] == 1e-3
    assert config["downstream_expert"]["text"]["mode"] == "type"  # a word, though Python has a thing of that name


def test_flags_name_the_corpora_before_the_environment_does(runner, corpora, monkeypatch):
    other = corpora.root / "other"
    other.mkdir()
    monkeypatch.delenv("VOXCELEB1")
    before = dict(os.environ)
    run(TWO[:1], ["ks", "sv"], Settings(speech_commands="other", voxceleb1=str(other)), "out")
    ks, sv = (config_in(argv)["downstream_expert"]["datarc"] for argv in runner.calls[::2])
    assert ks["speech_commands_root"] == f"{other}/train" and sv["file_path"] == str(other)
    assert dict(os.environ) == before


@pytest.mark.parametrize(
    ("change", "comparable"),
    [
        ({}, True),
        ({"overrides": (("sv", "optimizer.lr", 1e-3),)}, True),  # SUPERB searches it
        ({"overrides": (("sv", "runner.total_steps", 100),)}, False),
        ({"splits": (["a"], ["b"], ["c"])}, False),
        ({"skip_oov": True}, False),
        ({"configs": "mini"}, False),
    ],
)
def test_comparable(change, comparable):
    assert Settings(**({"configs": "full"} | change)).comparable is comparable


def test_full_configs_are_supported(runner, corpora):
    rows = run(TWO[:1], ALL, Settings(configs="full"), "out")
    assert [config_in(argv)["runner"]["total_steps"] for argv in runner.calls[::2]] == [
        100_000,
        200_000,
        200_000,
        200_000,
    ]
    assert rows[0].comparable and rows[0].score(ALL) is None  # the runner's numbers are below FBANK's
    assert corpora.prepared[0][2] == ["train-clean-100", "dev-clean", "test-clean"]
    assert "for orientation" not in Path("out/table.md").read_text()


@pytest.mark.parametrize(
    ("task", "variable"),
    [("pr", "LIBRISPEECH"), ("asr", "LIBRISPEECH"), ("ks", "SPEECH_COMMANDS"), ("sv", "VOXCELEB1")],
)
def test_a_missing_corpus_is_told_before_anything_runs(runner, corpora, monkeypatch, task, variable):
    monkeypatch.delenv(variable)
    with pytest.raises(FitHubertError, match=f"{task}.*{variable}"):
        run(TWO[:1], ALL, Settings(), "out")
    assert not runner.calls
    run(TWO[:1], [key for key in ALL if TASKS[key].corpus != variable], Settings(), "out")  # not needed by the others
    assert runner.calls

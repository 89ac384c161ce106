"""YAML takes 1e-3 and 2e0 for text and 010 for 8: s3prl's optimizer got the text, a recipe `steps: 2e0` was refused."""

import argparse
import math

import pytest
import yaml

from fithubert_upstream.compat.s3prl_settings import read_settings
from fithubert_upstream.data.loader import DataConfig
from fithubert_upstream.distillation.config import DistillationConfig
from fithubert_upstream.distillation.recipe import read_run_config
from fithubert_upstream.downstream.joint_ks_sv.config import JointConfig
from fithubert_upstream.downstream.overrides import override
from fithubert_upstream.errors import FitHubertError
from fithubert_upstream.pretrain.run import check_runner_config
from fithubert_upstream.settings.files import DOWNSTREAM_CONFIGS, find_config, from_dict, read_yaml
from fithubert_upstream.settings.values import dump_yaml, parse_value
from fithubert_upstream.superb.run import parse_override

NUMBERS = {
    "1e-3": 1e-3,
    "1e3": 1000.0,
    "2e0": 2.0,
    "1E5": 1e5,
    ".5": 0.5,
    "-.5": -0.5,
    "2.": 2.0,
    "1_000": 1000,
    "+3": 3,
    "0x10": 16,
    "inf": math.inf,
    ".inf": math.inf,
    "-.inf": -math.inf,
    "1.0e-4": 1e-4,
}
WORDS = ["010", "1:30", "e3", "1e", "infinity", "1-2-3", "train-clean-100", "1.2.3", "_1"]


@pytest.mark.parametrize("text", NUMBERS)
def test_a_number_is_the_same_everywhere(tmp_path, text):
    (tmp_path / "a.yaml").write_text(f"a: {text}\nb: [{text}]\n")
    args, config = argparse.Namespace(seed=1), {}
    override(f"config.a.b={text}", args, config)
    values = [
        parse_value(text, "a"),
        read_yaml(tmp_path / "a.yaml")["a"],
        read_yaml(tmp_path / "a.yaml")["b"][0],
        parse_override(f"ks:a.b={text}")[2],
        config["a"]["b"],
    ]
    assert values == [NUMBERS[text]] * 5 and {type(value) for value in values} == {type(NUMBERS[text])}


@pytest.mark.parametrize("text", WORDS)
def test_a_word_is_a_word_everywhere(tmp_path, text):
    (tmp_path / "a.yaml").write_text(f"a: {text}\nb: '1e5'\n")
    assert read_yaml(tmp_path / "a.yaml") == {"a": text, "b": "1e5"} and parse_value(text, "a") == text


@pytest.mark.parametrize("word", ["1e5", "1e-3", "inf", ".5", "1_000", "010", "on", "1.5", "a"])
def test_what_is_written_is_read_as_it_was(tmp_path, word):
    (tmp_path / "a.yaml").write_text(dump_yaml({"b": word, "a": [word, 1e-6, math.inf, 3, None, True]}))
    for data in (read_yaml(tmp_path / "a.yaml"), yaml.safe_load((tmp_path / "a.yaml").read_text())):
        assert data == {"b": word, "a": [word, 1e-6, math.inf, 3, None, True]} and list(data) == ["b", "a"]


def test_a_key_given_twice_is_an_error(tmp_path):
    (tmp_path / "a.yaml").write_text("runner:\n  lr: 1\n  lr: 2\n")
    with pytest.raises(FitHubertError, match="key 'lr' is given twice"):
        read_yaml(tmp_path / "a.yaml")


def test_a_recipe(monkeypatch):
    words = ["trainer.steps=2e0", "trainer.save_every=1e3", "trainer.clip=5e0", "data.train=/a", "data.valid=/b"]
    words += [
        "data.batch_size=null",
        "data.batch_seconds=1e2",
        "optimizer.betas=[.9, 9e-1]",
        "model.student.num_layers=12e0",
    ]
    run = read_run_config("fithubert.yaml", "fithubert_100h.yaml", words)
    trainer = run.train.trainer
    assert (trainer.steps, trainer.save_every, trainer.clip) == (2, 1000, 5.0) and type(trainer.steps) is int
    assert run.train.data.batch_seconds == 100 and run.train.optimizer.betas == (0.9, 0.9)


@pytest.mark.parametrize(
    ("cls", "change", "message"),
    [
        (DataConfig, {"batch_size": 2.5}, "batch_size: expected int, found 2.5"),
        (DataConfig, {"batch_size": True}, "batch_size: expected int, found True"),
        (DataConfig, {"batch_size": None, "batch_seconds": "long"}, "batch_seconds: expected float, found 'long'"),
        (DataConfig, {"batch_size": None, "batch_seconds": float("nan")}, "batch_seconds: expected float, found nan"),
        (DataConfig, {"train": [False]}, "train: expected str, found False"),
        (DataConfig, {"crop": True}, "crop: expected str, found True"),
        (DistillationConfig, {"student": {"head_layers": [2.5]}}, "head_layers: expected int, found 2.5"),
        (DistillationConfig, {"student": {"conv_layers": [[512, 10.5, 5]]}}, "conv_layers"),
        (DistillationConfig, {"loss": {"hint_weight": -0.1}}, "hint_weight of at least 0"),
        (DistillationConfig, {"teacher": {"ckpt": True}}, "ckpt: expected str, found True"),
        (DistillationConfig, {"init_from_teacher": "maybe"}, "init_from_teacher: expected bool"),
        (JointConfig, {"sv": {"root": "/x", "loss": {"margin": "wide"}}}, "margin: expected float, found 'wide'"),
        (JointConfig, {"ks": {"root": "/x"}, "sv": {"root": "/x"}, "num_workers": -1}, "num_workers of at least 0"),
        (JointConfig, {"ks": {"root": "/x", "speakers": {"train": [True]}}}, "train: expected str, found True"),
    ],
)
def test_what_is_no_number_is_refused_by_its_key(cls, change, message):
    base = {"train": ["a"], "batch_size": 3} if cls is DataConfig else {}
    with pytest.raises(FitHubertError) as caught:
        from_dict(cls, base | change, "my.yaml")
    assert message in str(caught.value)


def changed(config: dict, key: str, value) -> dict:
    *sections, last = key.split(".")
    place = config
    for section in sections:
        place = place[section]
    place[last] = value
    return config


def task_config(name: str) -> dict:
    return read_yaml(find_config(name, DOWNSTREAM_CONFIGS))


TASKS = {"ctc": "pr.yaml", "asr": "asr.yaml", "speech_commands": "ks.yaml", "sv_voxceleb1": "sv.yaml"}
TASKS |= {"fluent_commands": "ic.yaml", "voxceleb1": "sid.yaml", "emotion": "er.yaml"}


@pytest.mark.parametrize(
    ("task", "key", "value", "read"),
    [
        ("ctc", "runner.total_steps", "2e0", 2),  # out of a checkpoint that PyYAML's config went into
        ("ctc", "optimizer.lr", "1e-3", 1e-3),
        ("asr", "downstream_expert.modelrc.RNNs.dropout", ["1e-1", 0], [0.1, 0]),
        ("asr", "downstream_expert.datarc.batch_size", 4.0, 4),
        ("asr", "downstream_expert.datarc.train", [100], ["100"]),
        ("speech_commands", "runner.gradient_clipping", "inf", math.inf),
        ("sv_voxceleb1", "downstream_expert.datarc.vad_config.min_sec", "3.2e4", 3.2e4),
        ("sv_voxceleb1", "downstream_expert.modelrc.LossConfig.AMSoftmaxLoss.m", "4e-1", 0.4),
        ("fluent_commands", "downstream_expert.datarc.train_batch_size", "3.2e1", 32),
        ("voxceleb1", "downstream_expert.datarc.max_timestep", "1e5", 100_000),
        ("emotion", "downstream_expert.datarc.valid_ratio", "2e-1", 0.2),
    ],
)
def test_s3prl_gets_numbers(task, key, value, read):
    config = read_settings(task, changed(task_config(TASKS[task]), key, value))
    for name in key.split("."):
        config = config[name]
    assert config == read and type(config) is type(read)


@pytest.mark.parametrize(
    ("task", "key", "value"),
    [
        ("ctc", "runner.total_steps", 2.5),
        ("ctc", "runner.log_step", 0),
        ("ctc", "runner.eval_step", True),
        ("ctc", "runner.gradient_clipping", "fast"),
        ("ctc", "runner.fp16", "on"),
        ("ctc", "optimizer.lr", -1),
        ("ctc", "optimizer.lr", math.nan),
        ("ctc", "downstream_expert.corpus.batch_size", "many"),
        ("ctc", "downstream_expert.corpus.train", [True]),
        ("ctc", "runner.eval_dataloaders", "dev"),
        ("asr", "downstream_expert.modelrc.project_dim", "wide"),
        ("asr", "downstream_expert.modelrc.RNNs.dim", [1024, "x"]),
        ("speech_commands", "downstream_expert.datarc.num_workers", -1),
        ("sv_voxceleb1", "downstream_expert.datarc.max_timestep", "long"),
        ("sv_voxceleb1", "downstream_expert.modelrc.module_config.XVector.dropout_p", 2),
        ("fluent_commands", "downstream_expert.datarc.eval_batch_size", 0),
        ("voxceleb1", "downstream_expert.datarc.max_timestep", 1.5),
        ("emotion", "downstream_expert.datarc.valid_ratio", 1),
        ("emotion", "downstream_expert.datarc.test_fold", "fold6"),
        ("emotion", "downstream_expert.datarc.pre_load", "later"),
    ],
)
def test_s3prl_never_gets_what_is_no_number(task, key, value):
    with pytest.raises(FitHubertError, match=f"config.{key}: expected"):
        read_settings(task, changed(task_config(TASKS[task]), key, value))


def test_the_runner_config_of_pretrain():
    config = read_yaml(find_config("fithubert_mini_runner.yaml"))
    for key, value in (("runner.total_steps", "8e2"), ("runner.gradient_clipping", "5e0"), ("optimizer.lr", "4e-3")):
        changed(config, key, value)
    config = check_runner_config(config)
    assert config["runner"]["total_steps"] == 800 and config["optimizer"]["lr"] == 4e-3
    with pytest.raises(FitHubertError, match="config.optimizer.eps: expected float, found 'tiny'"):
        check_runner_config(changed(config, "optimizer.eps", "tiny"))

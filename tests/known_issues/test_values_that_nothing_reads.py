"""Keys and values that a config may hold and a run does not read, and words that YAML takes for something else."""

import argparse
import copy
import math

import pytest

from fithubert_upstream.compat.s3prl_settings import read_settings
from fithubert_upstream.data.loader import DataConfig
from fithubert_upstream.downstream.overrides import changed_keys, check_given, override, put
from fithubert_upstream.downstream.run import main
from fithubert_upstream.errors import FitHubertError
from fithubert_upstream.settings.files import DOWNSTREAM_CONFIGS, find_config, from_dict, read_yaml
from fithubert_upstream.settings.values import parse_value
from fithubert_upstream.superb.configs import Settings, task_config
from fithubert_upstream.teachers.config import TeacherConfig

TASKS = {"pr": "ctc", "asr": "asr", "ks": "speech_commands", "sv": "sv_voxceleb1"}
MODEL = "downstream_expert.modelrc"


def changed(task: str, key: str, value) -> dict:
    config = copy.deepcopy(read_yaml(find_config(f"{task}.yaml", DOWNSTREAM_CONFIGS)))
    put(config, key.split("."), value, key)
    return config


@pytest.mark.parametrize(
    "text", ["2024-01-02", "/data/my #1", "b: c", "*", "&x", "- x", "@x", "%x", "!x", "(old)/data", "C:\\data", "a, b"]
)
def test_a_word_stays_whole(tmp_path, text):
    assert parse_value(text, "a") == text
    config = {}
    override(f"config.path={text}", argparse.Namespace(), config)
    assert config == {"path": text}


def test_a_date_in_a_file_is_a_name(tmp_path):
    (tmp_path / "a.yaml").write_text("path: 2024-01-02\n")
    assert read_yaml(tmp_path / "a.yaml") == {"path": "2024-01-02"}


def test_a_key_that_a_merge_brings_is_no_second_one(tmp_path):
    (tmp_path / "a.yaml").write_text("x:\n  a: &a {lr: 1}\n  b: &b {<<: *a, lr: 2}\nc: {<<: *b}\n")
    assert read_yaml(tmp_path / "a.yaml") == {"x": {"a": {"lr": 1}, "b": {"lr": 2}}, "c": {"lr": 2}}


def test_a_list_of_validation_folders_may_be_left_empty():
    assert from_dict(DataConfig, {"train": "a", "valid": None, "batch_size": 1}, "x").valid == ()


@pytest.mark.parametrize(
    ("option", "words"),
    [
        ("args.config=x.yaml", "-o cannot change config, which is read before it; use the flag itself"),
        ("args.expname=x", "-o cannot change expname, which is read before it; use the flag itself"),
        ("config..a=1", "expected args.KEY=VALUE or config.KEY=VALUE"),
    ],
)
def test_an_override_that_would_have_no_effect(option, words):
    with pytest.raises(FitHubertError) as caught:
        override(option, argparse.Namespace(config="y", expname=None), {})
    assert words in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize("text", ["123", "2024", "yes", "1e3", "[a]"])
def test_a_flag_that_takes_a_word_gets_it_as_written(text):
    args = argparse.Namespace(expdir="x")
    override(f"args.expdir={text}", args, {})
    assert args.expdir == text


@pytest.mark.parametrize(
    ("task", "key", "value"),
    [
        ("ks", "optimizer.betas", [0.9]),
        ("ks", "optimizer", {}),
        ("ks", "runner.evaluate_ratio", 2),
        ("pr", "downstream_expert.metric", ["pre"]),
        ("sv", f"{MODEL}.LossConfig.AMSoftmaxLoss.s", 0),
        ("sv", f"{MODEL}.LossConfig.AMSoftmaxLoss.m", -1),
        ("asr", f"{MODEL}.select", "FrameLevel"),  # whose arguments are others
        ("asr", "specaug.time_mask_width_range", [0, 1.5]),
        ("asr", "specaug.time_warp_window", 0),
        ("asr", "specaug.adaptive_size_ratio", 2),
        ("ks", "optimizer.eps", math.nan),
    ],
)
def test_values_that_s3prl_cannot_use(task, key, value):
    with pytest.raises(FitHubertError, match=f"config.{key}"):
        read_settings(TASKS[task], changed(task, key, value))


def test_an_optimizer_whose_eps_are_two():
    optimizer = {"name": "TorchOptim", "torch_optim_name": "Adafactor", "lr": 1e-3, "eps": [None, 1e-3]}
    read_settings("speech_commands", changed("ks", "optimizer", optimizer))


@pytest.mark.parametrize(
    ("task", "key", "value", "words"),
    [
        ("asr", f"{MODEL}.Wav2Letter.total_rate", 160, f"{MODEL}.select is RNNs"),
        ("sv", f"{MODEL}.LossConfig.AAMSoftmaxLoss.m", 0.2, f"{MODEL}.ObjectiveLoss is AMSoftmaxLoss"),
        ("sv", f"{MODEL}.module_config.Identity.agg_dim", 8, f"{MODEL}.module is XVector"),
        ("pr", "downstream_expert.model.RNNs.dim", [8], "downstream_expert.model.select is FrameLevel"),
        ("asr", "downstream_expert.datarc.dev-claen", ["dev"], "did you mean 'dev-clean'?"),
        ("pr", "downstream_expert.corpus.test-othr", "test", "did you mean 'test-other'?"),
    ],
)
def test_overridden_keys_that_this_run_does_not_read(monkeypatch, task, key, value, words):
    for name in ("LIBRISPEECH", "VOXCELEB1"):
        monkeypatch.setenv(name, "/corpus")
    config = read_settings(TASKS[task], changed(task, key, value), splits=["dev-claen"])  # a file may hold it
    with pytest.raises(FitHubertError) as caught:
        check_given(TASKS[task], config, changed_keys(f"config.{key}={value}"))
    assert key in str(caught.value) and words in str(caught.value) and "\n" not in str(caught.value)
    with pytest.raises(FitHubertError, match=f"{task}: config.{key}"):
        task_config(task, Settings(configs="full"), {key: value})
    check_given(TASKS[task], config, ["runner.total_steps", "downstream_expert.corpus.lexicon"])
    check_given("mosei", config, [key])  # a task of others


def test_overridden_keys_that_the_same_override_selects():
    key = f"{MODEL}.Wav2Letter.total_rate"
    config = changed("asr", key, 160)
    config["downstream_expert"]["modelrc"]["select"] = "Wav2Letter"
    check_given("asr", config, [key])
    noisy = "downstream_expert.datarc.test-noisy"
    check_given("asr", changed("asr", noisy, ["noisy"]), [noisy], ["test-noisy"])


def test_the_command_refuses_them(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LIBRISPEECH", "/corpus")
    flags = ["-m", "train", "-u", "fbank", "-d", "asr", "-c", "asr.yaml", "-n", "x"]
    with pytest.raises(FitHubertError, match="nothing reads it, as .*select is RNNs"):
        main([*flags, "-o", f"config.{MODEL}.Wav2Letter.total_rate=160"])
    assert not (tmp_path / "result").exists()


@pytest.mark.parametrize("source", ["transformers", "fithubert"])
def test_a_teachers_checkpoint_that_its_source_does_not_read(source):
    with pytest.raises(FitHubertError, match=f"the path in teacher.model, for source {source}, found ckpt x"):
        TeacherConfig(source, "model", "x")

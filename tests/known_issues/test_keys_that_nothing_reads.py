"""`-o config.runner.eval_stp=1` was a run with the default, `--override ks:optimizer.weight_deacy=0.1` a TypeError."""

import argparse

import pytest

from fithubert_upstream.compat.s3prl_settings import read_settings, unknown_keys
from fithubert_upstream.downstream import tasks
from fithubert_upstream.downstream.flags import read_flags
from fithubert_upstream.downstream.joint_ks_sv.config import JointConfig
from fithubert_upstream.downstream.overrides import override
from fithubert_upstream.downstream.run import main
from fithubert_upstream.errors import FitHubertError
from fithubert_upstream.joint import report as joint_report
from fithubert_upstream.pretrain.run import build_parser, read_arguments
from fithubert_upstream.settings.files import DOWNSTREAM_CONFIGS, available_configs, find_config, from_dict, read_yaml
from fithubert_upstream.superb import run as superb
from fithubert_upstream.superb.configs import task_changes, task_config
from fithubert_upstream.superb.run import Settings

TASKS = {key: task.downstream for key, task in tasks.TASKS.items()} | {"joint_ks_sv": "joint_ks_sv"}


def packaged(name: str) -> dict:
    return read_yaml(find_config(name, DOWNSTREAM_CONFIGS))


@pytest.mark.parametrize("name", available_configs(DOWNSTREAM_CONFIGS))
def test_packaged_configs_are_read_whole_and_stay_as_they_are(name):
    config = packaged(name)
    assert read_settings(TASKS[name.removeprefix("mini/").removesuffix(".yaml")], config) == config


@pytest.mark.parametrize(
    ("task", "key", "near"),
    [
        ("ks", "runner.eval_stp", "eval_step"),
        ("pr", "optimizer.weight_deacy", "weight_decay"),
        ("pr", "optimiser.lr", "optimizer"),
        ("asr", "specaug.num_freq_masks", "num_freq_mask"),
        ("asr", "downstream_expert.datarc.batchsize", "batch_size"),
        ("asr", "downstream_expert.datarc.decoder_args.decoder_typ", "decoder_type"),
        ("asr", "downstream_expert.modelrc.RNNs.dropuot", "dropout"),
        ("ks", "downstream_expert.datarc.num_worker", "num_workers"),
        ("ks", "downstream_expert.modelrc.UtteranceLevel.poling", "pooling"),
        ("pr", "downstream_expert.corpus.bucketting", "bucketing"),
        ("pr", "downstream_expert.corpus.trian", "train"),
        ("pr", "downstream_expert.model.FrameLevel.hidden", "hiddens"),
        ("sv", "downstream_expert.datarc.vad_config.min_secs", "min_sec"),
        ("sv", "downstream_expert.modelrc.LossConfig.AMSoftmaxLoss.margin", "known keys: s, m"),
        ("sv", "downstream_expert.datarcs.x", "datarc"),
        ("joint_ks_sv", "runner.savestep", "save_step"),
        ("ic", "downstream_expert.datarc.batch_size", "eval_batch_size"),
        ("sid", "downstream_expert.datarc.max_timesteps", "max_timestep"),
        ("sid", "downstream_expert.modelrc.projecter_dim", "projector_dim"),
        ("er", "downstream_expert.datarc.fold", "test_fold"),
        ("er", "downstream_expert.datarc.preload", "pre_load"),
        ("sd", "downstream_expert.loaderrc.train_batch_size", "train_batchsize"),
        ("sd", "downstream_expert.datarc.frameshift", "frame_shift"),
        ("qbe", "downstream_expert.dtwrc.distance", "dist_method"),
        ("qbe", "runner.evaluate_ratio", "known keys: none"),  # s3prl would take documents for queries
        ("qbe", "optimizer.lr", "runner"),
    ],
)
def test_the_nearest_key_is_named(task, key, near):
    config = packaged(f"{task}.yaml")
    override(f"config.{key}=1", argparse.Namespace(), config)
    with pytest.raises(FitHubertError, match="unknown key") as caught:
        read_settings(TASKS[task], config)
    assert near in str(caught.value) and "\n" not in str(caught.value)
    assert read_settings(TASKS[task], config, accepted=unknown_keys(TASKS[task], config))  # of a checkpoint


@pytest.mark.parametrize(
    ("key", "value", "near"),
    [
        ("optimizer.name", "TorchOptm", "TorchOptim"),
        ("optimizer.torch_optim_name", "AdamX", "Adam"),
        ("scheduler", {"name": "linear_schedule_with_warmp"}, "linear_schedule_with_warmup"),
        ("scheduler", {"name": "linear_schedule_with_warmup"}, "expected num_warmup_steps"),
        ("scheduler", {"name": "linear_schedule_with_warmup", "num_warmup_steps": 1, "num_cycle": 2}, "num_cycle"),
        ("downstream_expert.modelrc.select", "FrameLvl", "FrameLevel"),
        ("downstream_expert.modelrc.UtteranceLevel.pooling", "MaxPooling", "MeanPooling"),
        ("optimizer", {"name": "Adam", "lr": 1e-3, "betas": [0.9, 0.98]}, "betas"),  # s3prl's Adam passes over it
    ],
)
def test_values_that_s3prl_does_not_have(key, value, near):
    config = packaged("ks.yaml")
    override(f"config.{key}={value!r}", argparse.Namespace(), config)
    with pytest.raises(FitHubertError) as caught:
        read_settings("speech_commands", config)
    assert near in str(caught.value)


@pytest.mark.parametrize(
    ("task", "option", "value"),
    [
        ("ks", "runner.evaluate_ratio", "0.5"),
        ("ks", "runner.train_dataloader", "train"),
        ("ks", "optimizer.amsgrad", "true"),
        ("ks", "scheduler", "{'name': 'linear_schedule_with_warmup', 'num_warmup_steps': 10}"),
        ("ks", "downstream_expert.modelrc.UtteranceLevel.post_net", "{'select': 'FrameLevel'}"),
        ("pr", "downstream_expert.corpus.test-other", "[test-other]"),
        ("pr", "downstream_expert.model.FrameLevel.hiddens", "[8, 8]"),
        ("asr", "downstream_expert.datarc.dict_path", "/x=y/char.dict"),
        ("asr", "downstream_expert.datarc.decoder_args.lm_weight", "2"),
        ("sv", "downstream_expert.modelrc.LossConfig.AAMSoftmaxLoss.easy_margin", "True"),
        ("ic", "downstream_expert.modelrc.UtteranceLevel.pooling", "AttentivePooling"),
        ("sid", "downstream_expert.datarc.max_timestep", "null"),
        ("er", "downstream_expert.datarc.test_fold", "null"),
    ],
)
def test_what_s3prl_reads_and_our_configs_lack_is_accepted(task, option, value):
    config = packaged(f"{task}.yaml")
    override(f"config.{option}={value}", argparse.Namespace(), config)
    assert read_settings(TASKS[task], config)


def test_flags_of_minus_o():
    args = argparse.Namespace(seed=1, upstream_trainable=False, upstream="fbank")
    override("args.seed=2e0,,args.upstream_trainable=true", args, {})
    assert vars(args) == {"seed": 2, "upstream_trainable": True, "upstream": "fbank"}
    for option, near in (("args.sede=1", "'seed'"), ("args.upstream_trainable=maybe", "expected bool")):
        with pytest.raises(FitHubertError, match=near):
            override(option, args, {})


def test_each_command_refuses_them(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SPEECH_COMMANDS", "/nowhere")
    flags = ["-m", "train", "-u", "fbank", "-d", "speech_commands", "-n", "x"]
    with pytest.raises(FitHubertError, match="eval_stp.*did you mean 'eval_step'"):
        main([*flags, "-c", "mini/ks.yaml", "-o", "config.runner.eval_stp=1"])
    text = find_config("mini/ks.yaml", DOWNSTREAM_CONFIGS).read_text()
    (tmp_path / "ks.yaml").write_text(text.replace("max_keep", "maxkeep"))
    with pytest.raises(FitHubertError, match="maxkeep.*did you mean 'max_keep'"):
        main([*flags, "-c", "ks.yaml"])
    settings = Settings(overrides=(("ks", "optimizer.weight_deacy", 0.1),))
    with pytest.raises(FitHubertError, match="ks: config.optimizer.weight_deacy.*did you mean 'weight_decay'"):
        task_config("ks", settings, task_changes("ks", settings, tmp_path))
    for option in ("config.runner.logstep=1", "config.optimizer.warmup=1", "config.pretrain_expert.data=1"):
        monkeypatch.setenv("LIBRISPEECH", "/nowhere")
        with pytest.raises(FitHubertError, match="unknown key"):
            read_arguments(["-g", "fithubert_mini.yaml", "-c", "fithubert_mini_runner.yaml", "-n", "x", "-o", option])
    with pytest.raises(FitHubertError, match="ks: unknown key 'crop_second'; did you mean 'crop_seconds'"):
        from_dict(JointConfig, {"ks": {"root": "/x", "crop_second": 1}}, "config.downstream_expert")


def test_an_override_of_what_does_not_run_is_refused(tmp_path):
    with pytest.raises(FitHubertError, match="--override asr:optimizer.lr: expected one of the tasks that run, ks"):
        superb.run([], ["ks"], Settings(overrides=(("asr", "optimizer.lr", 0.1),)), tmp_path / "out")
    with pytest.raises(FitHubertError, match="--override sv:optimizer.lr: expected one of the runs that are made, ks"):
        joint_report.run(
            [], joint_report.Plan(tasks=("ks",), overrides=(("sv", "optimizer.lr", 0.1),)), tmp_path / "out"
        )


def test_a_second_override_does_not_replace_the_first():
    options = ["-o", "config.runner.eval_step=1", "-o", "config.runner.log_step=2"]
    for given in (read_flags(["-m", "train", "-n", "x", *options]), build_parser().parse_args(options)):
        assert given.override == "config.runner.eval_step=1,,config.runner.log_step=2"

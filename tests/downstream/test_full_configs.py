"""SUPERB's own configs give s3prl's heads their official sizes."""

import importlib
from pathlib import Path

import pytest
import yaml

from fithubert_upstream.compat import s3prl as s3prl_compat
from fithubert_upstream.compat.s3prl_settings import read_settings
from fithubert_upstream.downstream import checks
from fithubert_upstream.downstream.repairs import datasets as s3prl_datasets
from fithubert_upstream.downstream.tasks import TASKS
from fithubert_upstream.settings.files import DOWNSTREAM_CONFIGS, expand_variables, find_config


def full_config(key: str, **paths: Path) -> dict:
    """The packaged config, completed, with other paths in its datarc."""
    config = yaml.safe_load(find_config(f"{key}.yaml", DOWNSTREAM_CONFIGS).read_text())
    config = expand_variables(config)
    if paths:
        config["downstream_expert"]["datarc"] |= {name: str(path) for name, path in paths.items()}
    checks.complete(config)
    return config


def head(key: str, config: dict):
    """s3prl's expert of a task on features of HuBERT Base's size."""
    s3prl_compat.apply()
    module = importlib.import_module(f"s3prl.downstream.{TASKS[key].downstream}.expert")
    return module.DownstreamExpert(upstream_dim=768, upstream_rate=320, expdir=".", **config)


def count(*modules) -> int:
    return sum(parameter.numel() for module in modules for parameter in module.parameters())


def test_heads_of_the_full_configs_have_the_official_sizes(ready):
    libri, commands, vox = (ready[name] for name in ("LIBRISPEECH", "SPEECH_COMMANDS", "VOXCELEB1"))
    roots = {"speech_commands_root": commands / "train", "speech_commands_test_root": commands / "test"}
    assert count(head("ks", full_config("ks", **roots))) == 199_948

    with s3prl_datasets.own_datasets("sv_voxceleb1"):
        sv = head("sv", full_config("sv", test_meta_data=vox / "test_trials.txt"))
    assert count(sv.connector, sv.model) == 6_110_172
    assert count(sv.objective) == 512 * 3  # 3 speakers here; 620,032 for VoxCeleb1's 1,211
    assert (sv.objective.s, sv.objective.m) == (30, 0.4)

    pr = head("pr", full_config("pr"))
    assert pr.projector.weight.shape == (256, 768)
    assert pr.model.linear.weight.shape == (pr.tokenizer.vocab_size, 256)
    assert set(pr.tokenizer._vocab_list) >= {"SIL", "SPN", "AA0", "ZH"}  # 71 phones beside s3prl's own symbols

    config = full_config("asr")
    assert config["downstream_expert"]["datarc"]["dict_path"] == str(libri / "len_for_bucket" / "char.dict")
    asr = head("asr", config)
    layers = [layer.layer for layer in asr.model.rnns]
    assert asr.projector.weight.shape == (1024, 768)
    assert [(layer.hidden_size, layer.bidirectional) for layer in layers] == [(1024, True)] * 2
    assert asr.model.linear.weight.shape == (len(asr.dictionary), 2048)


# steps, accumulated, log, eval and save steps, states kept; batches to train and to evaluate
SUPERB = {
    "ic": ([200_000, 1, 100, 4000, 250, 1], [32, 32]),
    "sid": ([200_000, 4, 500, 4000, 1000, 1], [8, 1]),
    "er": ([30_000, 8, 500, 1000, 1000, 1], [4, 4]),
}
OWN = {"ic": {}, "sid": {"max_timestep": 128_000}, "er": {"test_fold": "fold1", "pre_load": True, "valid_ratio": 0.2}}


@pytest.mark.parametrize("key", SUPERB)
def test_the_classification_tasks_have_superbs_settings(ready, key):
    config = full_config(key)
    assert read_settings(TASKS[key].downstream, config) == config
    steps, batches = SUPERB[key]
    names = ("total_steps", "gradient_accumulate_steps", "log_step", "eval_step", "save_step", "max_keep")
    assert [config["runner"][name] for name in names] == steps
    assert config["runner"]["gradient_clipping"] == 1 and config["runner"]["eval_dataloaders"] == ["dev", "test"]
    assert config["optimizer"] == {"name": "TorchOptim", "torch_optim_name": "Adam", "lr": 1e-4}
    expert = config["downstream_expert"]
    assert [expert["datarc"][f"{part}_batch_size"] for part in ("train", "eval")] == batches
    assert expert["datarc"]["num_workers"] == 12 and expert["datarc"].items() >= OWN[key].items()
    pooling = {"select": "UtteranceLevel", "UtteranceLevel": {"pooling": "MeanPooling"}}
    assert expert["modelrc"] == {"projector_dim": 256, **pooling}

    mini = yaml.safe_load(find_config(f"mini/{key}.yaml", DOWNSTREAM_CONFIGS).read_text())
    assert read_settings(TASKS[key].downstream, mini) == mini
    assert (mini["runner"]["total_steps"], mini["runner"]["eval_step"], mini["optimizer"]["lr"]) == (300, 100, 1e-3)
    assert mini["runner"]["eval_dataloaders"] == ["dev"] and mini["downstream_expert"]["datarc"]["num_workers"] == 2
    assert mini["downstream_expert"]["modelrc"] == expert["modelrc"]


def test_speaker_diarization_has_superbs_settings(ready):
    config = full_config("sd")
    assert read_settings("diarization", config) == config
    steps = {"total_steps": 30_000, "gradient_accumulate_steps": 4, "log_step": 500, "eval_step": 500, "save_step": 500}
    assert config["runner"] == {**steps, "max_keep": 1, "gradient_clipping": 1, "eval_dataloaders": ["dev"]}
    assert config["optimizer"] == {"name": "TorchOptim", "torch_optim_name": "Adam", "lr": 1e-4}
    expert = config["downstream_expert"]
    chunks = {"chunk_size": 2000, "subsampling": 1, "label_delay": 0, "num_speakers": 2, "rate": 16_000}
    assert expert["datarc"] == chunks  # frame_shift is the upstream's
    folders = {f"{split}_dir": str(ready["LIBRIMIX"] / split) for split in ("train", "dev", "test")}
    assert expert["loaderrc"] == {"num_workers": 8, "train_batchsize": 8, "eval_batchsize": 1, **folders}
    assert expert["modelrc"] == {"rnn_layers": 1, "hidden_size": 512} and expert["scorerc"] == {
        "save_predictions": True
    }
    mini = yaml.safe_load(find_config("mini/sd.yaml", DOWNSTREAM_CONFIGS).read_text())
    assert mini["downstream_expert"]["datarc"] == chunks and mini["optimizer"]["lr"] == 1e-3

    made = head("sd", config)
    assert count(made) == 4 * 512 * (768 + 512 + 2) + 2 * 513 and expert["datarc"]["frame_shift"] == 320


@pytest.mark.parametrize(("key", "outputs"), [("ic", 3 + 4 + 2), ("sid", 1251), ("er", 4)])
def test_heads_of_classification(ready, key, outputs):
    """The small corpus of intents has 3 actions, 4 objects and 2 locations."""
    with s3prl_datasets.own_datasets(TASKS[key].downstream):
        expert = head(key, full_config(key))
    assert expert.projector.weight.shape == (256, 768)
    assert expert.model.post_net.linear.weight.shape == (outputs, 256)

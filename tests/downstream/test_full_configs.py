"""SUPERB's own configs give s3prl's heads their official sizes."""

import importlib
from pathlib import Path

import yaml

from fithubert_upstream.compat import s3prl as s3prl_compat
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

import json
from pathlib import Path

import pytest
import torch
import yaml
from safetensors.torch import load_file, save_file

from fithubert_upstream.checkpoints.load import load_fithubert
from fithubert_upstream.checkpoints.student import save_fithubert
from fithubert_upstream.errors import FitHubertError
from fithubert_upstream.models.fithubert import FitHubert

from ..helpers.official import write_official
from ..helpers.tiny import SMALL


def test_own_format_round_trip(tmp_path):
    model = FitHubert(SMALL)
    save_fithubert(model, tmp_path / "s.safetensors")
    again = load_fithubert(tmp_path / "s.safetensors")
    assert again.config == SMALL and not again.training
    assert all(p.requires_grad for p in again.parameters())
    for (name, one), (other_name, other) in zip(model.state_dict().items(), again.state_dict().items(), strict=True):
        assert name == other_name and torch.equal(one, other)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["s.safetensors"]


def test_half_precision_weights_load_as_float(tmp_path):
    save_fithubert(FitHubert(SMALL).half(), tmp_path / "s.safetensors")
    assert {p.dtype for p in load_fithubert(tmp_path / "s.safetensors").parameters()} == {torch.float32}


def test_a_config_beside_the_file_may_repeat_but_not_contradict(tmp_path):
    path, config = tmp_path / "s.safetensors", tmp_path / "model.yaml"
    save_fithubert(FitHubert(SMALL).keep_heads((3,)), path)
    config.write_text(yaml.safe_dump({"student": SMALL.to_dict(), "teacher": {}}))
    assert load_fithubert(path, config).config.head_layers == (3,)
    config.write_text(yaml.safe_dump(SMALL.to_dict() | {"dropout": 0.3}))
    with pytest.raises(FitHubertError, match="contradicts"):
        load_fithubert(path, config)


def test_files_that_are_no_students(tmp_path):
    good = tmp_path / "good.safetensors"
    save_fithubert(FitHubert(SMALL), good)
    weights = load_file(good)
    config = {"format": "fithubert", "config": SMALL.to_json()}
    whole_ckpt, official_yaml, _ = write_official(tmp_path)

    cases = {}
    cases["truncated"] = good.read_bytes()[:-100]
    cases["cut.ckpt"] = whole_ckpt.read_bytes()[:-1000]
    cases["text"] = b"<html>quota exceeded</html>"
    cases["empty"] = b""
    for name, content in cases.items():
        (tmp_path / name).write_bytes(content)
    save_file(weights, tmp_path / "foreign")
    save_file({k: v for k, v in weights.items() if k != "pos_conv.bias"}, tmp_path / "missing", config)
    save_file(weights, tmp_path / "unknown", config | {"config": json.dumps({"embed_dims": 3})})
    torch.save([1, 2], tmp_path / "list.ckpt")
    for name in [*cases, "foreign", "missing", "unknown", "list.ckpt", "not_there", "."]:
        with pytest.raises(FitHubertError) as caught:
            load_fithubert(tmp_path / name, official_yaml if name.endswith("ckpt") else None)
        assert str(tmp_path) in str(caught.value) and "\n" not in str(caught.value), name


def test_nothing_half_written_is_left(tmp_path, monkeypatch):
    def fail(path, content):
        path.open("wb").write(b"half")
        raise OSError("disk full")

    monkeypatch.setattr(Path, "write_bytes", fail)
    with pytest.raises(OSError, match="disk full"):
        save_fithubert(FitHubert(SMALL), tmp_path / "s.safetensors")
    assert list(tmp_path.iterdir()) == []

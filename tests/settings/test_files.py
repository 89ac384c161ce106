import dataclasses
from pathlib import Path

import pytest

from fithubert_upstream.distillation.config import DistillationConfig
from fithubert_upstream.errors import FitHubertError
from fithubert_upstream.models.config import FITHUBERT_CONV_LAYERS, FitHubertConfig, parse_conv_layers
from fithubert_upstream.settings.files import DOWNSTREAM_CONFIGS, available_configs, expand_variables, find_config

OFFICIAL = "[(128, 10, 5)] + [(256, 1, 1)] + [(256, 3, 2)] * 4 + [(512, 1, 1)] + [(512, 2, 2)] * 2"


def test_official_conv_string():
    assert parse_conv_layers(OFFICIAL) == FITHUBERT_CONV_LAYERS
    assert parse_conv_layers("[(512,10,5)] + [(512,3,2)]*2") == ((512, 10, 5), (512, 3, 2), (512, 3, 2))


@pytest.mark.parametrize("text", ["__import__('os').getcwd()", "[(1, 2)]", "[", "[(1, 2, x)]", "[(1,2,3)] * 10**9"])
def test_conv_string_is_data_not_code(text):
    with pytest.raises(FitHubertError, match="conv_layers"):
        parse_conv_layers(text)


def test_defaults_are_the_packaged_fithubert():
    assert DistillationConfig.from_yaml(find_config("fithubert.yaml")).student == FitHubertConfig()


def test_round_trips():
    config = FitHubertConfig(head_layers=(3, 12), dropout=0.2)
    assert FitHubertConfig.from_json(config.to_json()) == config
    whole = DistillationConfig(student=config)
    assert DistillationConfig.from_dict(whole.to_dict()) == whole


def test_configs_are_frozen():
    with pytest.raises(dataclasses.FrozenInstanceError):
        FitHubertConfig().embed_dim = 3


@pytest.mark.parametrize(
    ("data", "words"),
    [
        ({"embed_dims": 480}, ["unknown key 'embed_dims'", "did you mean 'embed_dim'"]),
        ({"embed_dim": "wide"}, ["embed_dim", "expected int", "'wide'"]),
        ({"embed_dim": True}, ["embed_dim", "expected int"]),
        ({"embed_dim": 481}, ["multiple of num_heads"]),
        ({"dropout": 1.5}, ["dropout in [0, 1)", "1.5"]),
        ({"head_layers": [13]}, ["head_layers", "1..12"]),
        ({"head_layers": "12"}, ["head_layers: expected a list of numbers", "'12'"]),
        ({"head_kind": "predict"}, ["head_kind hint or prediction", "predict"]),
        ({"head_kind": "prediction"}, ["head_layers, the teacher's layers"]),
        ({"head_kind": "prediction", "head_layers": [8, 4]}, ["rising from 1 on", "[8, 4]"]),
        ({"conv_layers": "[(128, 10, 5)]"}, ["total stride of 320", "5"]),
        ([], ["expected a mapping", "list"]),
    ],
)
def test_a_wrong_config_is_one_clear_line(data, words):
    with pytest.raises(FitHubertError) as caught:
        FitHubertConfig.from_dict(data, "my.yaml")
    message = str(caught.value)
    assert message.startswith("my.yaml") and "\n" not in message
    assert all(word in message for word in words), message


def test_yaml_number_without_a_dot():
    assert FitHubertConfig.from_dict({"dropout": "1e-1"}).dropout == 0.1


def test_unknown_key_in_a_nested_block(tmp_path: Path):
    path = tmp_path / "model.yaml"
    path.write_text("student: {}\nteacher: {modle: x}\n")
    with pytest.raises(FitHubertError, match="teacher: unknown key 'modle'; did you mean 'model'"):
        DistillationConfig.from_yaml(path)


@pytest.mark.parametrize("content", ["- 1\n", "a: [", None])
def test_unreadable_yaml(tmp_path: Path, content):
    path = tmp_path / "model.yaml"
    if content is not None:
        path.write_text(content)
    with pytest.raises(FitHubertError, match="model.yaml"):
        DistillationConfig.from_yaml(path)


def test_downstream_configs_are_found_by_path_first(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("mini/pr.yaml", "downstream_configs/mini/pr.yaml", "./downstream_configs/mini/pr.yaml"):
        assert find_config(name, DOWNSTREAM_CONFIGS).parts[-2:] == ("mini", "pr.yaml")
    Path("pr.yaml").write_text("mine: 1")
    assert find_config("pr.yaml", DOWNSTREAM_CONFIGS) == Path("pr.yaml")
    tasks = {"pr.yaml", "asr.yaml", "ks.yaml", "sv.yaml"}
    assert set(available_configs(DOWNSTREAM_CONFIGS)) >= tasks | {f"mini/{name}" for name in tasks}
    with pytest.raises(FitHubertError, match="no.yaml: no such file.*mini/sv.yaml"):
        find_config("no.yaml", DOWNSTREAM_CONFIGS)
    with pytest.raises(FitHubertError, match=r"of that name; did you mean mini/pr\.yaml\?$"):
        find_config("mini/pr.yml", DOWNSTREAM_CONFIGS)


def test_variables_are_filled_in_wherever_they_stand(monkeypatch):
    monkeypatch.setenv("CORPUS", "/data")
    monkeypatch.delenv("OTHER", raising=False)
    config = {"a": {"path": "${CORPUS}/x", "list": ["${CORPUS}", 1, None]}, "rate": 0.5, "plain": "$CORPUS"}
    filled = {"a": {"path": "/data/x", "list": ["/data", 1, None]}, "rate": 0.5, "plain": "$CORPUS"}
    assert expand_variables(config) == filled
    with pytest.raises(FitHubertError, match=r"config.a.b: expected the environment variable OTHER .* -o config.a.b="):
        expand_variables({"a": {"b": "${OTHER}/x"}})

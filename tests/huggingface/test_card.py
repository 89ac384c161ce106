"""The model card, read back as the Hub reads it."""

import json

import pytest
from huggingface_hub import ModelCard

from fithubert_upstream.downstream.tasks import TASKS as SUPERB
from fithubert_upstream.errors import FitHubertError
from fithubert_upstream.huggingface.card import TASKS, Facts, model_card, read_result

RESULT = {
    "value": 53.6123,
    "metric": "PER %",
    "logged": {"ctc-libriphone/test-per": 0.536123},
    "steps": 1000,
    "seed": 1337,
}


@pytest.fixture
def result(tmp_path):
    (tmp_path / "result.json").write_text(json.dumps(RESULT))
    return tmp_path / "result.json"


def test_what_was_said_and_measured(student, result):
    facts = Facts("mit", "facebook/hubert-base-ls960", ("librispeech_asr",), (result,))
    card = ModelCard(model_card(student, "student.safetensors", "small", facts))
    data = card.data.to_dict()
    assert data["license"] == "mit" and data["base_model"] == "facebook/hubert-base-ls960"
    assert data["datasets"] == ["librispeech_asr"] and {"fithubert", "hubert"} <= set(data["tags"])
    assert data["library_name"] == "transformers" and data["pipeline_tag"] == "feature-extraction"
    (found,) = card.data.eval_results
    assert (found.metric_type, found.metric_value, found.dataset_type) == ("per", 53.61, "librispeech_asr")
    assert found.task_type == "automatic-speech-recognition" and data["model-index"][0]["name"] == "small"
    assert (
        "| Phone recognition on frozen features | LibriSpeech, 1000 updates, seed 1337 | PER % | 53.61 |" in card.text
    )
    assert "distilled from facebook/hubert-base-ls960" in card.text and "3 x (B, L, 32)" in card.text


def test_nothing_is_said_that_is_not_known(student):
    data = ModelCard(model_card(student, "student.safetensors", "small", Facts())).data.to_dict()
    assert not {"license", "base_model", "datasets", "model-index"} & data.keys()


def test_every_task_has_its_name():
    for task in SUPERB.values():
        assert task.tag.partition("/")[0].partition("-fold")[0] in TASKS


@pytest.mark.parametrize("content", ["", "[]", "{}", json.dumps(RESULT | {"logged": {"mine/x": 1}})])
def test_other_files(tmp_path, content):
    (tmp_path / "other.json").write_text(content)
    with pytest.raises(FitHubertError, match="other.json: expected the result.json of a task"):
        read_result(tmp_path / "other.json")

"""Models that take no time."""

import pytest

from fithubert_upstream.benchmarks.variants import MODELS, Model
from fithubert_upstream.models.config import FitHubertConfig
from fithubert_upstream.models.fithubert import FitHubert

from ..helpers.tiny import STUDENT, make_teacher


@pytest.fixture
def tiny_models(tmp_path):
    """A HuBERT and a student that take no time, in the place of all models."""
    path = make_teacher(tmp_path / "hubert")
    from transformers import HubertModel

    config = FitHubertConfig.from_dict(STUDENT | {"head_layers": [2]})
    tiny = {
        "hubert_base": Model("tiny HuBERT", lambda: HubertModel.from_pretrained(path)),
        "fithubert": Model("tiny student", lambda: FitHubert(config), student=True),
        "headless": Model("headless", lambda: FitHubert(FitHubertConfig.from_dict(STUDENT | {"head_layers": []}))),
    }
    before = dict(MODELS)
    MODELS.clear()
    MODELS.update(tiny)
    yield
    MODELS.clear()
    MODELS.update(before)  # in its order, which monkeypatch would turn round

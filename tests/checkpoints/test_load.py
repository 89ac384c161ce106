"""A student by its name, path or URL; and the package's public face."""

import pytest
import torch

import fithubert_upstream
from fithubert_upstream import assets, available_models, load_fithubert, save_fithubert
from fithubert_upstream.errors import FitHubertError
from fithubert_upstream.models.fithubert import FitHubert
from fithubert_upstream.runs.versions import VERSION

from ..helpers.tiny import SMALL


def test_embedded_models_by_name():
    assert available_models()[:4] == ["fithubert_mini", "hubert_mini", "fithubert_960h", "fithubert_100h"]
    for name in assets.NAMES:
        model, same = load_fithubert(name), load_fithubert(assets.find(name))
        assert model.config == same.config and not model.training
        assert all(torch.equal(a, b) for a, b in zip(model.parameters(), same.parameters(), strict=True))
    assert load_fithubert().config == load_fithubert("fithubert_mini").config


def test_a_file_comes_before_a_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    save_fithubert(FitHubert(SMALL), "hubert_mini")
    assert load_fithubert("hubert_mini").config == SMALL


def test_a_url(tmp_path, monkeypatch):
    monkeypatch.setattr(torch.hub, "_hub_dir", str(tmp_path / "hub"))
    save_fithubert(FitHubert(SMALL), tmp_path / "s.safetensors")
    assert load_fithubert((tmp_path / "s.safetensors").as_uri()).config == SMALL


def test_what_is_not_there():
    with pytest.raises(
        FitHubertError, match="fithubert_mni: no such file, and no such model; models: fithubert_mini, "
    ):
        load_fithubert("fithubert_mni")
    with pytest.raises(FitHubertError, match="nowhere.safetensors: expected a checkpoint file, found nothing"):
        load_fithubert("nowhere.safetensors")


def test_an_upstream_by_name():
    upstream = fithubert_upstream.UpstreamExpert("hubert_mini").eval()
    with torch.inference_mode():
        assert upstream([torch.randn(16000)])["last_hidden_state"].shape == (1, 49, 512)


def test_every_name_of_the_package_is_there():
    assert fithubert_upstream.__version__ == VERSION
    for name in fithubert_upstream.__all__:
        assert callable(getattr(fithubert_upstream, name)) and getattr(fithubert_upstream, name).__doc__
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        _ = fithubert_upstream.nothing

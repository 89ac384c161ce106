"""Learned weights of hidden states: read from s3prl's checkpoints, drawn as a heat map."""

import pytest
import torch

from fithubert_upstream.superb.layers import draw_layers, layer_weights


def test_weights_of_a_checkpoint(tmp_path):
    torch.save({"Featurizer": {"weights": torch.tensor([0.0, 1.0, 2.0])}}, tmp_path / "dev-best.ckpt")
    weights = layer_weights(tmp_path / "dev-best.ckpt")
    assert weights == pytest.approx([0.0900, 0.2447, 0.6652], abs=1e-4)  # softmax by hand
    for states in ({"Featurizer": {}}, {"Downstream": {}}, {"Featurizer": {"weights": torch.zeros(1)}}):
        torch.save(states, tmp_path / "one.ckpt")
        assert layer_weights(tmp_path / "one.ckpt") is None


def test_picture(tmp_path):
    weights = {"student": {"pr": [0.1, 0.2, 0.7], "ks": [0.3, 0.3, 0.4]}, "teacher": {"pr": [0.25] * 4}}
    draw_layers(weights, tmp_path / "layers.png")
    assert (tmp_path / "layers.png").read_bytes().startswith(b"\x89PNG")

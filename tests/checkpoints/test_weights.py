"""Weights under other libraries' names: each finds its place, and each place its weight."""

import re

import pytest
import torch

from ..helpers.live_teachers import make_live, refused
from ..helpers.teacher_files import edit_weights, fairseq_cfg, torchaudio_file, transformers_safetensors


@pytest.mark.parametrize("write", [transformers_safetensors, torchaudio_file, fairseq_cfg], ids=lambda w: w.__name__)
def test_a_weight_missing_left_over_or_of_another_shape(tmp_path, write):
    def name(state, ending):
        return next(name for name in state if re.search(rf"layers\.1\..*{ending}$", name))

    def other_shape(state):
        state[name(state, "final_layer_norm.bias")] = torch.ones(7)

    edits = [
        (lambda state: state.pop(name(state, "final_layer_norm.bias")), ["1 (layers.1.ffn_norm.bias) missing"]),
        (lambda state: state.pop(name(state, "k_proj.bias")), ["layers.1.attention.qkv.bias", "missing"]),
        (lambda state: state.update({"encoder.layers.1.fc9.bias": torch.ones(1)}), ["encoder.layers.1.fc9.bias"]),
        (lambda state: state.update({"layer_norm2.bias": torch.ones(1)}), ["1 (layer_norm2.bias) unexpected"]),
        (other_shape, ["layers.1.ffn_norm.bias", "(128,)", "(7,)"]),
    ]
    for i, (edit, words) in enumerate(edits):
        (tmp_path / str(i)).mkdir()
        refused(edit_weights(write(make_live(), tmp_path / str(i)), edit), *words)


def test_a_weight_under_two_names(tmp_path):
    def add(state):
        state["post_extract_proj.bias"] = state["feature_projection.projection.bias"].clone()

    refused(edit_weights(transformers_safetensors(make_live(), tmp_path), add), "once", "post_extract_proj.bias")

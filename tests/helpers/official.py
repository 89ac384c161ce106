"""A small checkpoint in the authors' format."""

from pathlib import Path

import torch
import yaml

from .slow_fithubert import official_state

CONV = [(16, 10, 5), (24, 1, 1), *[(24, 3, 2)] * 4, (32, 1, 1), *[(32, 2, 2)] * 2]
CONV_TEXT = "[(16, 10, 5)] + [(24, 1, 1)] + [(24, 3, 2)] * 4 + [(32, 1, 1)] + [(32, 2, 2)] * 2"
LAYERS, HEADS = 3, 4


def write_official(folder: Path, edit=None, extra=None, distiller=None, parametrized=False):
    """A Lightning-like .ckpt, teacher and all, and its yaml."""
    state = official_state(CONV, 48, 56, LAYERS, 16, 4, 40, parametrized=parametrized)
    if edit:
        edit(state)
    lightning = {f"student_model.{name}": tensor for name, tensor in state.items()}
    lightning["teacher_model.model.layer_norm.weight"] = torch.ones(3)
    ckpt, config = folder / "official.ckpt", folder / "official.yaml"
    torch.save({"epoch": 3, "state_dict": lightning, **(extra or {})}, ckpt)
    block = {
        "extractor_mode": "default",
        "extractor_conv_feature_layers": CONV_TEXT,
        "encoder_attention_heads": HEADS,
        "layer_norm_first": False,
        "dropout_input": 0.05,
        "tr_layer_type": "conv1d",
        "tr_layer_index": 0,
        "tr_reduce_factor": 2,
    }
    config.write_text(yaml.safe_dump({"teacher": {}, "distiller": block | (distiller or {}), "train": {}}))
    return ckpt, config, state

"""What a config says of layers that differ, and which of its parts contradict each other."""

import pytest
import torch

from fithubert_upstream.errors import FitHubertError
from fithubert_upstream.models.config import FitHubertConfig
from fithubert_upstream.models.fithubert import FitHubert
from fithubert_upstream.settings.files import find_config, read_yaml

from ..helpers.tiny import STUDENT

PRUNED = STUDENT | {"num_heads": [3, 0], "head_width": 8, "ffn_dim": [0, 20], "time_reduction": 1}
WAVLM = PRUNED | {"position_buckets": 16, "position_distance": 20, "kept_heads": [[0, 1, 3], []]}
REUSED = STUDENT | {"reuse_attention": [2]}


def test_a_config_of_before_reads_as_before():
    config = FitHubertConfig.from_dict(STUDENT)
    assert config.layer_heads == (4, 4) and config.layer_ffn_dims == (32, 32) and config.width_of_head == 8
    assert config.hidden_states == ("layers",) and config.reuse_attention == () and config.kept_heads is None


@pytest.mark.parametrize("options", [PRUNED, WAVLM, REUSED])
def test_lists_survive_json(options):
    config = FitHubertConfig.from_dict(options)
    assert FitHubertConfig.from_json(config.to_json()) == config
    if options is not REUSED:
        assert config.layer_heads == (3, 0) and config.layer_ffn_dims == (0, 20)


def test_all_heads_are_kept_unless_told_otherwise():
    config = FitHubertConfig.from_dict(STUDENT | {"position_buckets": 16, "position_distance": 20})
    assert config.kept_heads == ((0, 1, 2, 3),) * 2


@pytest.mark.parametrize(
    ("states", "count", "width"), [(["layers"], 2, 32), (["heads"], 1, 24), (["projection", "layers"], 3, 32)]
)
def test_how_many_hidden_states_there_are(states, count, width):
    one_rate = STUDENT | {"time_reduction": 1, "head_layers": [2], "hidden_states": states}
    config = FitHubertConfig.from_dict(one_rate)
    assert (config.num_states, config.state_dim) == (count, width)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"num_heads": 5}, "embed_dim a multiple of num_heads"),
        ({"num_heads": 0}, "num_heads of at least 1, found 0"),
        ({"num_heads": "four"}, "num_heads: expected int, found 'four'"),
        ({"num_heads": [4]}, "num_heads, a number or one for each of 2 layers, found [4]"),
        ({"num_heads": [4, -1]}, "num_heads of at least 0 in each layer, found [4, -1]"),
        ({"num_heads": [4, 2]}, "head_width beside num_heads that differ by layer"),
        ({"ffn_dim": [4, 2, 1]}, "ffn_dim, a number or one for each of 2 layers"),
        ({"head_width": 0}, "head_width of at least 1, found 0"),
        ({"feature_projection": False}, "feature_projection true, or conv_layers that end in embed_dim 32, found 24"),
        ({"reuse_attention": [1]}, "reuse_attention of layers within 2..2, found 1"),
        ({"reuse_attention": [3]}, "reuse_attention of layers within 2..2, found 3"),
        ({"reuse_attention": [2, 2]}, "reuse_attention rising, found [2, 2]"),
        (REUSED | {"num_heads": [4, 2], "head_width": 8}, "for layer 2 4, found 2"),
        (REUSED | {"position_buckets": 16}, "reuse_attention without layers beside position_buckets"),
        ({"kept_heads": [[0], []]}, "position_buckets beside kept_heads"),
        ({"position_buckets": 3}, "position_buckets of at least 4, found 3"),
        ({"position_buckets": 16, "position_distance": 4}, "position_distance above position_buckets / 4, 4"),
        (WAVLM | {"head_width": 5}, "embed_dim a multiple of head_width beside position_buckets"),
        (WAVLM | {"kept_heads": [[0, 1], []]}, "as many as num_heads, [3, 0], found [2, 0]"),
        (WAVLM | {"kept_heads": [[0, 1, 4], []]}, "kept_heads rising within 0..3, found [0, 1, 4]"),
        (WAVLM | {"kept_heads": [[0, 3, 1], []]}, "kept_heads rising within 0..3"),
        (WAVLM | {"kept_heads": 3}, "kept_heads, a list for each layer, found 3"),
        ({"hidden_states": ["layer"]}, "hidden_states of projection, layers, heads, in this order, found ['layer']"),
        ({"hidden_states": ["heads", "layers"]}, "in this order"),
        ({"hidden_states": ["layers", "heads"]}, "head_dim as embed_dim 32, found head_dim 24"),
        ({"hidden_states": ["heads"], "head_layers": []}, "head_layers beside hidden_states of heads"),
        ({"hidden_states": []}, "hidden_states with layers or heads"),
        ({"hidden_states": ["projection", "layers"]}, "time_reduction 1 beside hidden_states of projection, found 2"),
    ],
)
def test_parts_that_contradict_each_other(options, words):
    with pytest.raises(FitHubertError) as caught:
        FitHubertConfig.from_dict(STUDENT | options)
    assert words in str(caught.value) and "\n" not in str(caught.value), caught.value


@pytest.mark.parametrize(
    ("name", "with_heads", "parameters"),
    [
        ("maskhubert", True, 26_635_360),  # published: 26.64 M, with the mask's 480
        ("armhubert", True, 26_447_968),  # 26.45 M
        ("armhubert_s", True, 22_393_648),  # 22.39 M
        ("starhubert", True, 22_308_592),  # 22.31 M
        ("distilhubert", False, 23_491_200),  # 23.49 M
    ],
)
def test_packaged_configs_have_the_published_sizes(name, with_heads, parameters):
    path = find_config(f"{name}.yaml")
    with torch.device("meta"):
        model = FitHubert(FitHubertConfig.from_dict(read_yaml(path)["student"]))
    total = sum(p.numel() for p in model.parameters())
    heads = sum(p.numel() for p in model.heads.parameters())
    assert (total if with_heads else total - heads) == parameters
    assert f"{parameters:,} parameters" in path.read_text()

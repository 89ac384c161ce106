"""Every format of the family, on files that the test writes: features as by slow forms, or by s3prl's own model."""

import contextlib
import io
import pickle
from pathlib import Path

import pytest
import torch

from fithubert_upstream import register
from fithubert_upstream.checkpoints.load import load_fithubert
from fithubert_upstream.checkpoints.student import save_fithubert
from fithubert_upstream.errors import FitHubertError
from fithubert_upstream.upstream.expert import UpstreamExpert

from ..helpers.family import (
    ARM,
    DPHUBERT,
    DPWAVLM,
    FAIRSEQ,
    MASK,
    STAR,
    TORCHAUDIO,
    write_distilhubert,
    write_dphubert,
    write_lightning,
)
from ..helpers.slow_family import slow_states
from ..helpers.slow_fithubert import linear

SAMPLES = (7000, 5555, 400)
SHAPES = {"armhubert": ARM, "maskhubert": MASK, "starhubert": STAR, "dphubert": DPHUBERT, "dpwavlm": DPWAVLM}


def write(folder, name):
    """Checkpoint, yaml or None, weights."""
    if name.startswith("dp"):
        path, state = write_dphubert(folder, SHAPES[name])
        return path, None, state
    return write_lightning(folder, SHAPES[name])


def expected_states(name, state, wav):
    """What the authors' upstream calls hidden states."""
    projection, layers = slow_states(state, SHAPES[name], wav, TORCHAUDIO if name.startswith("dp") else FAIRSEQ)
    if name.startswith("dp"):
        return [projection, *layers]
    if name == "starhubert":
        return layers
    return [linear(layer, state, f"proj_head.{i}.lin_proj") for i, layer in enumerate(layers)]


@pytest.mark.parametrize("name", SHAPES)
def test_features_alone_and_in_a_padded_batch_are_those_of_a_slow_form(tmp_path, name):
    ckpt, config, state = write(tmp_path, name)
    wavs = [torch.randn(samples) for samples in SAMPLES]
    upstream = UpstreamExpert(ckpt, config)
    batch = upstream(wavs)  # with gradients: one padded batch
    for i, wav in enumerate(wavs):
        expected = expected_states(name, state, wav)
        with torch.no_grad():
            alone = upstream([wav])
        for features, row in ((alone, 0), (batch, i)):
            assert len(features["hidden_states"]) == len(expected)
            for one, other in zip(features["hidden_states"], expected, strict=True):
                torch.testing.assert_close(one[row, : len(other)], other, atol=1e-5, rtol=0)
                assert not one[row, len(other) :].any()
            torch.testing.assert_close(
                features["last_hidden_state"][row, : len(expected[-1])], expected[-1], atol=1e-5, rtol=0
            )
    assert upstream.get_downsample_rates("hidden_states") == 320


@pytest.mark.parametrize("predicted", [(4, 8, 12), (12,)])
def test_distilhubert_is_s3prls_own(tmp_path, predicted):
    ckpt = write_distilhubert(tmp_path, predicted)
    register()
    from s3prl.upstream.distiller.expert import UpstreamExpert as Theirs

    with contextlib.redirect_stdout(io.StringIO()):
        theirs = Theirs(ckpt).eval()
    upstream = UpstreamExpert(ckpt)
    wavs = [torch.randn(samples) for samples in SAMPLES]
    batch = upstream(wavs)
    for i, wav in enumerate(wavs):
        with torch.no_grad():
            expected, alone = theirs([wav]), upstream([wav])
        for features, row in ((alone, 0), (batch, i)):
            assert len(features["hidden_states"]) == len(expected["hidden_states"]) == 3 + len(predicted)
            for one, other in zip(features["hidden_states"], expected["hidden_states"], strict=True):
                torch.testing.assert_close(one[row, : other.size(1)], other[0], atol=1e-5, rtol=0)
        torch.testing.assert_close(alone["last_hidden_state"], expected["last_hidden_state"], atol=1e-5, rtol=0)
    assert upstream.model.config.head_layers == predicted


@pytest.mark.parametrize("name", [*SHAPES, "distilhubert"])
def test_our_own_file_of_it_holds_the_same_model(tmp_path, name):
    ckpt, config = (write_distilhubert(tmp_path), None) if name == "distilhubert" else write(tmp_path, name)[:2]
    model = load_fithubert(ckpt, config)
    save_fithubert(model, tmp_path / "own.safetensors")
    again = load_fithubert(tmp_path / "own.safetensors")
    assert again.config == model.config
    for key, tensor in model.state_dict().items():
        assert torch.equal(tensor, again.state_dict()[key])
    wav = torch.randn(3000)
    one, two = UpstreamExpert(ckpt, config)([wav]), UpstreamExpert(tmp_path / "own.safetensors")([wav])
    assert all(torch.equal(a, b) for a, b in zip(one["hidden_states"], two["hidden_states"], strict=True))


def test_objects_beside_distilhuberts_weights_are_not_run(tmp_path):
    touched = tmp_path / "touched"

    class Foreign:
        def __reduce__(self):
            return Path.touch, (touched,)

    ckpt = write_distilhubert(tmp_path, Optimizer=Foreign(), Args={"x": Path("y")})
    with pytest.raises(pickle.UnpicklingError):
        torch.load(ckpt, weights_only=True)
    load_fithubert(ckpt)
    assert not touched.exists()


@pytest.mark.parametrize("name", ["armhubert", "maskhubert"])
def test_heads_that_were_stripped(tmp_path, name):
    """The authors keep the last head as `final_proj`, which has the name of what only STaRHuBERT's training used."""

    def strip(state):
        for key in [key for key in state if key.startswith("proj_head.")]:
            tensor = state.pop(key)
            if key.startswith("proj_head.2."):
                state[key.replace("proj_head.2.", "final_proj.")] = tensor

    ckpt, config, state = write_lightning(tmp_path, SHAPES[name], edit=strip)
    wav = torch.randn(2000)
    features = UpstreamExpert(ckpt, config)([wav])
    expected = linear(slow_states(state, SHAPES[name], wav)[1][-1], state, "final_proj.lin_proj")
    assert len(features["hidden_states"]) == 1 and "projected_states" not in features
    torch.testing.assert_close(features["last_hidden_state"][0], expected, atol=1e-5, rtol=0)

    model = load_fithubert(ckpt, config).keep_heads(())
    assert model.config.hidden_states == ("layers",)


@pytest.mark.parametrize(
    ("edit", "distiller", "words"),
    [
        (lambda s: s.pop("encoder.layers.1.fc1.bias"), {}, ["1 (layers.1.fc1.bias) missing"]),
        (lambda s: s.update({"encoder.layers.1.fc9.bias": torch.ones(1)}), {}, ["fc9.bias", "unexpected"]),
        (lambda s: s.pop("encoder.layers.0.self_attn.k_proj.weight"), {}, ["missing", "unexpected"]),
        (lambda s: s.update({"layer_norm.bias": torch.ones(31)}), {}, ["feature_norm.bias", "(32,)", "(31,)"]),
        (lambda s: s.pop("proj_head.1.lin_proj.bias"), {}, ["heads.2.linear.bias", "missing"]),
        (lambda s: s.pop("encoder.layers.0.fc1.weight"), {}, ["time-reduction", "ARMHuBERT"]),
        (None, {"reuse_pattern": "[True, True, False]"}, ["distiller.reuse_pattern: expected [True, False, False]"]),
        (None, {"reuse_pattern": "os.abort()"}, ["distiller.reuse_pattern", "os.abort()"]),
        (None, {"encoder_ffn_embed_dim": 41}, ["distiller.encoder_ffn_embed_dim: expected 40", "found 41"]),
        (None, {"encoder_layers": 12}, ["distiller.encoder_layers: expected 3"]),
        (None, {"enable_tr_layer": True}, ["distiller.enable_tr_layer: expected False"]),
        (None, {"conv_pos": 128}, ["distiller.conv_pos: expected 16"]),
        (None, {"layer_type": "conformer"}, ["distiller.layer_type: expected 'transformer'", "not supported"]),
        (None, {"conv_feature_layers": "[(16, 10, 5)]"}, ["do not fit"]),
    ],
)
def test_a_lightning_file_that_does_not_fit(tmp_path, edit, distiller, words):
    ckpt, config, _ = write_lightning(tmp_path, ARM, edit, distiller)
    refused(ckpt, config, words)


@pytest.mark.parametrize(
    ("edit", "config", "words"),
    [
        (lambda s: s.pop("feature_extractor.dummy_weight"), {}, ["feature_scale", "missing"]),
        (lambda s: s.update({"encoder.x": torch.ones(1)}), {}, ["1 (encoder.x) unexpected"]),
        (None, {"encoder_ff_interm_features": [33, 22, 40]}, ["layers.1.fc1.weight", "(22, 32)", "(21, 32)"]),
        (None, {"encoder_use_attention": [True] * 3}, ["encoder_use_attention: expected False for layer 2"]),
        (None, {"encoder_remaining_heads": [[1], [0], [2]]}, ["layers.0.attention", "(24, 32)", "(48, 32)"]),
        (None, {"encoder_use_attention": [True]}, ["encoder_use_attention: expected a list for 3 layers"]),
        (None, {"encoder_num_layers": None}, ["expected encoder_num_layers"]),
        (None, {"extractor_mode": "layer_norm"}, ["extractor_mode: expected 'group_norm'", "not supported"]),
        (None, {"normalize_waveform": True}, ["normalize_waveform: expected False"]),
        (None, {"encoder_remaining_heads": [[1, 3], [], [0, 4, 5]]}, ["kept_heads rising within 0..3"]),
        (None, {"encoder_total_num_heads": [4, 4, 2]}, ["encoder_total_num_heads: expected one number in all layers"]),
        (None, {"encoder_use_attention": [1, 0, 1]}, ["encoder_use_attention: expected bool, found 1"]),
        (None, {"encoder_remaining_heads": [1, 0, 1]}, ["encoder_remaining_heads: expected a list of numbers"]),
        (None, {"encoder_use_attention": [False, False, True]}, ["expected True for the first layer"]),
    ],
)
def test_a_dpwavlm_that_does_not_fit(tmp_path, edit, config, words):
    ckpt, _ = write_dphubert(tmp_path, DPWAVLM, edit, config)
    refused(ckpt, None, words)


def test_a_dphubert_without_the_width_of_its_heads(tmp_path):
    ckpt, _ = write_dphubert(tmp_path, DPHUBERT, config={"encoder_head_dim": None})
    assert load_fithubert(ckpt).config.head_width == 8
    ckpt, _ = write_dphubert(
        tmp_path, DPHUBERT, config={"encoder_head_dim": None, "encoder_use_attention": [False] * 3}
    )
    refused(ckpt, None, ["expected encoder_head_dim"])


@pytest.mark.parametrize(
    ("edit", "distiller", "words"),
    [
        (lambda s: s.pop("encoder.layers.1.fc1.bias"), {}, ["layers.1.fc1.bias", "missing"]),
        (lambda s: s.update({"x.y": torch.ones(1)}), {}, ["1 (x.y) unexpected"]),
        (lambda s: s.pop("output_layer.2.bias"), {}, ["pred_layer_id", "output_layer.2.bias"]),
        (lambda s: s.clear(), {}, ["expected DistilHuBERT's weights"]),
        (None, {"out_layer_inter_dim": 12}, ["pred_layer_id", "out_layer_inter_dim -1"]),
        (None, {"layer_norm_first": True}, ["distiller.layer_norm_first: expected False", "not supported"]),
        (None, {"final_dim": 20}, ["head_dim as embed_dim 24"]),
        (None, {"pred_layer_id": ["4", "x", "12"]}, ["pred_layer_id: expected int, found 'x'"]),
    ],
)
def test_a_distilhubert_that_does_not_fit(tmp_path, edit, distiller, words):
    refused(write_distilhubert(tmp_path, edit=edit, distiller=distiller), None, words)


@pytest.mark.parametrize("name", ["dphubert", "distilhubert"])
def test_an_official_yaml_beside_a_file_that_needs_none(tmp_path, name):
    ckpt = write_distilhubert(tmp_path) if name == "distilhubert" else write(tmp_path, name)[0]
    config = write_lightning(tmp_path, ARM)[1]
    refused(ckpt, config, ["student.yaml: expected no official .yaml", "leave -g out"])


def test_what_should_be_weights_and_is_not(tmp_path):
    ckpt = write_distilhubert(tmp_path, Distiller=[1])
    refused(ckpt, None, ["expected a dict of weights, found list"])


def test_a_distilhubert_with_another_config_or_none(tmp_path):
    for config in (None, {}, {"distiller": 3}):
        ckpt = write_distilhubert(tmp_path, Config=config)
        refused(ckpt, None, ["expected Config with a distiller block"])
    block = {"extractor_conv_feature_layers": "[(512, 10, 5)] + [(512, 3, 2)] * 4 + [(512, 2, 2)] * 2"}
    refused(
        write_distilhubert(tmp_path, Config={"distiller": block}), None, ["extractor_conv_feature_layers", "not fit"]
    )


def refused(ckpt, config, words):
    with pytest.raises(FitHubertError) as caught:
        load_fithubert(ckpt, config)
    assert all(word in str(caught.value) for word in words), caught.value
    assert "\n" not in str(caught.value)


def test_the_authors_own_files_give_the_authors_outputs(family_data):
    for name, suffix in (
        ("armhubert", ".ckpt"),
        ("maskhubert", ".ckpt"),
        ("starhubert", ".ckpt"),
        ("dphubert", ".pth"),
        ("dpwavlm", ".pth"),
    ):
        upstream = UpstreamExpert(
            family_data / (name + suffix), family_data / f"{name}.yaml" if suffix == ".ckpt" else None
        )
        theirs = torch.load(family_data / f"{name}_outputs.pt", weights_only=True)
        batch = upstream(theirs["wavs"])
        for i, (wav, expected) in enumerate(zip(theirs["wavs"], theirs["single"], strict=True)):
            with torch.no_grad():
                alone = upstream([wav])
            for features, row in ((alone, 0), (batch, i)):
                pairs = list(zip(features["hidden_states"], expected["hidden_states"], strict=True))
                pairs.append((features["last_hidden_state"], expected["last_hidden_state"]))
                for one, other in pairs:
                    torch.testing.assert_close(one[row, : len(other)], other, atol=2e-5, rtol=0)

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

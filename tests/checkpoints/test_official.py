import pickle
from pathlib import Path

import pytest
import torch
import yaml

from fithubert_upstream.checkpoints.load import load_fithubert
from fithubert_upstream.errors import FitHubertError
from fithubert_upstream.models.config import FitHubertConfig

from ..helpers.official import CONV, HEADS, LAYERS, write_official
from ..helpers.slow_fithubert import official_state, slow_forward


@pytest.mark.parametrize("parametrized", [False, True])
def test_official_import_equals_a_slow_forward_from_the_facts(tmp_path, parametrized):
    ckpt, config, state = write_official(tmp_path, parametrized=parametrized)
    model = load_fithubert(ckpt, config)
    for samples in (720, 8000, 8321):
        wav = torch.randn(samples)
        hidden, projected = slow_forward(state, wav, [s for _, _, s in CONV], HEADS, LAYERS)
        with torch.no_grad():
            ours, _ = model.encode(wav[None])
            heads, frames = model(wav[None])
        for one, other in zip(ours, hidden, strict=True):
            torch.testing.assert_close(one[0], other, atol=1e-5, rtol=0)
        for one, other in zip(heads, projected, strict=True):
            torch.testing.assert_close(one[0, : len(other)], other, atol=1e-5, rtol=0)
            assert one.size(1) == frames.item() == (samples - 400) // 320 + 1
            assert len(other) == frames.item() // 2 * 2  # the official model drops an odd last frame


def test_full_size_official_checkpoint_has_the_published_counts(tmp_path):
    conv = FitHubertConfig().conv_layers
    state = official_state(conv, 480, 480, 12, 128, 16, 768)
    assert sum(t.numel() for t in state.values()) == 31_629_632  # facts 1.3, the dead upsampler counted
    torch.save({"state_dict": state}, tmp_path / "a.ckpt")  # no prefix
    text = "[(128, 10, 5)] + [(256, 1, 1)] + [(256, 3, 2)] * 4 + [(512, 1, 1)] + [(512, 2, 2)] * 2"
    block = {"extractor_conv_feature_layers": text, "encoder_attention_heads": 12}
    (tmp_path / "a.yaml").write_text(yaml.safe_dump({"distiller": block}))
    model = load_fithubert(tmp_path / "a.ckpt", tmp_path / "a.yaml")
    assert model.config == FitHubertConfig()
    assert sum(p.numel() for p in model.parameters()) == 31_168_352


@pytest.mark.parametrize("kept", [[LAYERS - 1], [0], []])
def test_official_with_stripped_heads(tmp_path, kept):
    def strip(state):
        last = {n.split(".", 2)[2]: t for n, t in state.items() if n.startswith(f"proj_head.{LAYERS - 1}.")}
        for name in [n for n in state if n.startswith("proj_head.")]:
            del state[name]
        state.update({f"proj_head.{i}.{n}": t for i in kept for n, t in last.items()})

    ckpt, config, _ = write_official(tmp_path, edit=strip)
    assert load_fithubert(ckpt, config).config.head_layers == (LAYERS,) * len(kept)


def test_lightnings_own_objects_are_not_run(tmp_path):
    """A file with foreign classes is read, and none of what it names is called."""
    touched = tmp_path / "touched"

    class Foreign:
        def __reduce__(self):
            return Path.touch, (touched,)

    ckpt, config, state = write_official(tmp_path, extra={"callbacks": [Foreign()], "hparams": {"x": Path("y")}})
    with pytest.raises(pickle.UnpicklingError):
        torch.load(ckpt, weights_only=True)
    model = load_fithubert(ckpt, config)
    assert not touched.exists()
    torch.testing.assert_close(model.feature_norm.weight.detach(), state["layer_norm.weight"])


@pytest.mark.parametrize(
    ("edit", "words"),
    [
        (lambda s: s.pop("encoder.layers.2.fc1.bias"), ["1 (layers.1.fc1.bias) missing"]),
        (
            lambda s: s.update({"encoder.layers.2.fc9.bias": torch.ones(1)}),
            ["encoder.layers.2.fc9.bias", "unexpected"],
        ),
        (lambda s: s.pop("encoder.layers.2.self_attn.k_proj.weight"), ["missing", "unexpected"]),
        (lambda s: s.update({"layer_norm.bias": torch.ones(31)}), ["feature_norm.bias", "(32,)", "(31,)"]),
        (lambda s: s.pop("encoder.layers.0.weight"), ["time-reduction", "ARMHuBERT"]),
        (
            lambda s: [s.pop(n) for n in list(s) if n.startswith("feature_")],
            ["expected an official FitHuBERT"],
        ),
    ],
)
def test_official_import_is_strict_both_ways(tmp_path, edit, words):
    ckpt, config, _ = write_official(tmp_path, edit=edit)
    with pytest.raises(FitHubertError) as caught:
        load_fithubert(ckpt, config)
    assert all(word in str(caught.value) for word in words), caught.value
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("distiller", "words"),
    [
        ({"layer_norm_first": True}, ["layer_norm_first", "False", "True"]),
        ({"tr_layer_type": "fc1"}, ["tr_layer_type"]),
        ({"extractor_conv_feature_layers": "[(16, 10, 5)]"}, ["do not fit"]),
        ({"encoder_attention_heads": 5}, ["multiple of num_heads"]),
    ],
)
def test_an_official_yaml_of_another_architecture(tmp_path, distiller, words):
    ckpt, config, _ = write_official(tmp_path, distiller=distiller)
    with pytest.raises(FitHubertError) as caught:
        load_fithubert(ckpt, config)
    assert all(word in str(caught.value) for word in words), caught.value


def test_an_official_checkpoint_needs_its_yaml(tmp_path):
    ckpt, config, _ = write_official(tmp_path)
    with pytest.raises(FitHubertError, match="give that as model_config"):
        load_fithubert(ckpt)
    config.write_text("student: {}")
    with pytest.raises(FitHubertError, match="'distiller' block"):
        load_fithubert(ckpt, config)

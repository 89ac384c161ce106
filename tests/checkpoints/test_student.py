import json
import pickle
from pathlib import Path

import pytest
import torch
import yaml
from safetensors.torch import load_file, save_file

from fithubert_upstream.checkpoints.load import load_fithubert
from fithubert_upstream.checkpoints.student import save_fithubert
from fithubert_upstream.checkpoints.torch_files import Inert, InertUnpickler
from fithubert_upstream.errors import FitHubertError
from fithubert_upstream.models.config import FitHubertConfig
from fithubert_upstream.models.fithubert import FitHubert

from ..helpers.official import CONV, HEADS, LAYERS, write_official
from ..helpers.slow_fithubert import official_state, slow_forward
from ..helpers.tiny import SMALL


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


def test_inert_unpickler_finds_nothing_but_tensors():
    import io

    unpickler = InertUnpickler(io.BytesIO())
    for module, name in [("os", "system"), ("builtins", "eval"), ("builtins", "getattr"), ("torch", "load")]:
        assert unpickler.find_class(module, name) is Inert


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


def test_own_format_round_trip(tmp_path):
    model = FitHubert(SMALL)
    save_fithubert(model, tmp_path / "s.safetensors")
    again = load_fithubert(tmp_path / "s.safetensors")
    assert again.config == SMALL and not again.training
    assert all(p.requires_grad for p in again.parameters())
    for (name, one), (other_name, other) in zip(model.state_dict().items(), again.state_dict().items(), strict=True):
        assert name == other_name and torch.equal(one, other)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["s.safetensors"]


def test_half_precision_weights_load_as_float(tmp_path):
    save_fithubert(FitHubert(SMALL).half(), tmp_path / "s.safetensors")
    assert {p.dtype for p in load_fithubert(tmp_path / "s.safetensors").parameters()} == {torch.float32}


def test_a_config_beside_the_file_may_repeat_but_not_contradict(tmp_path):
    path, config = tmp_path / "s.safetensors", tmp_path / "model.yaml"
    save_fithubert(FitHubert(SMALL).keep_heads((3,)), path)
    config.write_text(yaml.safe_dump({"student": SMALL.to_dict(), "teacher": {}}))
    assert load_fithubert(path, config).config.head_layers == (3,)
    config.write_text(yaml.safe_dump(SMALL.to_dict() | {"dropout": 0.3}))
    with pytest.raises(FitHubertError, match="contradicts"):
        load_fithubert(path, config)


def test_files_that_are_no_students(tmp_path):
    good = tmp_path / "good.safetensors"
    save_fithubert(FitHubert(SMALL), good)
    weights = load_file(good)
    config = {"format": "fithubert", "config": SMALL.to_json()}
    whole_ckpt, official_yaml, _ = write_official(tmp_path)

    cases = {}
    cases["truncated"] = good.read_bytes()[:-100]
    cases["cut.ckpt"] = whole_ckpt.read_bytes()[:-1000]
    cases["text"] = b"<html>quota exceeded</html>"
    cases["empty"] = b""
    for name, content in cases.items():
        (tmp_path / name).write_bytes(content)
    save_file(weights, tmp_path / "foreign")
    save_file({k: v for k, v in weights.items() if k != "pos_conv.bias"}, tmp_path / "missing", config)
    save_file(weights, tmp_path / "unknown", config | {"config": json.dumps({"embed_dims": 3})})
    torch.save([1, 2], tmp_path / "list.ckpt")
    for name in [*cases, "foreign", "missing", "unknown", "list.ckpt", "not_there", "."]:
        with pytest.raises(FitHubertError) as caught:
            load_fithubert(tmp_path / name, official_yaml if name.endswith("ckpt") else None)
        assert str(tmp_path) in str(caught.value) and "\n" not in str(caught.value), name


def test_nothing_half_written_is_left(tmp_path, monkeypatch):
    def fail(path, content):
        path.open("wb").write(b"half")
        raise OSError("disk full")

    monkeypatch.setattr(Path, "write_bytes", fail)
    with pytest.raises(OSError, match="disk full"):
        save_fithubert(FitHubert(SMALL), tmp_path / "s.safetensors")
    assert list(tmp_path.iterdir()) == []

"""A joint model's ONNX file beside the model."""

import dataclasses
import json

import numpy as np
import onnx
import pytest
import torch

from fithubert_upstream.assets import JOINT_ONNX
from fithubert_upstream.errors import FitHubertError
from fithubert_upstream.export.numpy_features import OnnxFeatures
from fithubert_upstream.export.session import JOINT_FORMAT, open_session, run
from fithubert_upstream.joint import onnx as joint_onnx
from fithubert_upstream.joint.export import main
from fithubert_upstream.joint.model import load_joint, save_joint
from fithubert_upstream.joint.onnx import export_joint_onnx
from fithubert_upstream.joint.onnx_model import OnnxJoint, TorchJoint, load_listener
from fithubert_upstream.models.config import FitHubertConfig
from fithubert_upstream.upstream.onnx_expert import OnnxExpert

from ..helpers.joint_models import CLASSES, make
from ..helpers.onnx import FEW_CONVS
from ..helpers.tiny import STUDENT, TWO_LAYER

HINTS = FitHubertConfig.from_dict(STUDENT | FEW_CONVS | {"head_layers": []})
HEADS = FitHubertConfig.from_dict(STUDENT | TWO_LAYER | FEW_CONVS | {"head_layers": [2, 4]})
MODELS = [
    (HINTS, {"trim_db": 25.0}),
    (HEADS, {"feature": "projected_states", "normalize": True}),
    (HEADS, {"feature": "last_hidden_state", "classes": None, "threshold": None}),
    (HINTS, {"layer": 0, "embedding_dim": None}),
]
SAMPLES = (400, 1, 9999, 16000)


def drawn(student, config):
    torch.manual_seed(0)
    model = make(student, **config)
    if model.layer_weights is not None:
        model.layer_weights.copy_(torch.randn(len(model.layer_weights)).softmax(0))
    return model


@pytest.mark.slow
@pytest.mark.parametrize(("student", "config"), MODELS)
def test_the_file_says_what_the_model_says(tmp_path, student, config):
    model, path = drawn(student, config), tmp_path / "joint.onnx"
    assert "largest difference to the model" in export_joint_onnx(model, path)
    wavs = [0.1 * torch.randn(samples) for samples in SAMPLES]
    padded = torch.nn.utils.rnn.pad_sequence(wavs, batch_first=True)
    batch = run(open_session(path), padded + 0, torch.tensor(SAMPLES))
    joint = OnnxJoint(path)
    assert joint.tasks == model.config.tasks and joint.threshold == model.config.threshold
    assert joint.classes == (model.config.classes or ())
    for i, wav in enumerate(wavs):
        with torch.no_grad():
            logits, embedding = model.heads(model.mean_feature(wav))
        scores, answer = joint.scores(wav.numpy()), model(wav)  # with trimming
        if logits is not None:
            torch.testing.assert_close(batch["keyword_logits"][i], logits, atol=1e-4, rtol=0)
            assert joint.classes[scores.classes.argmax()] == answer["keyword"]
            assert scores.classes.max() == pytest.approx(answer["confidence"], abs=1e-4)
        if embedding is not None:
            torch.testing.assert_close(batch["embedding"][i], embedding, atol=1e-4, rtol=0)
            np.testing.assert_allclose(scores.embedding, answer["embedding"], atol=1e-4)
    found = {output.name for output in open_session(path).get_outputs()}
    assert found == {"hidden_states", "frames"} | {
        name
        for name, there in (
            ("keyword_logits", "ks" in joint.tasks),
            ("embedding", "sv" in joint.tasks),
            ("last_hidden_state", bool(student.head_layers)),
        )
        if there
    }


@pytest.mark.slow
def test_command(tmp_path, capsys, monkeypatch):
    model = drawn(HINTS, {})
    save_joint(model, tmp_path / "joint.safetensors")
    content = joint_onnx.trace_joint(model).SerializeToString()
    monkeypatch.setattr(joint_onnx, "trace_joint", lambda model: onnx.load_from_string(content))
    for flags, name, words in (([], "a.onnx", "difference to the model"), (["--int8"], "b.onnx", "lowest cosine")):
        main([str(tmp_path / "joint.safetensors"), "-o", str(tmp_path / name), *flags])
        text = capsys.readouterr().out
        assert words in text and "3 keywords" in text and f"-m {tmp_path / name}" in text
        assert OnnxFeatures(tmp_path / name).metadata["precision"] == ("int8" if flags else "fp32")
    assert (tmp_path / "b.onnx").stat().st_size < (tmp_path / "a.onnx").stat().st_size
    metadata = OnnxJoint(tmp_path / "a.onnx").metadata
    assert metadata["format"] == JOINT_FORMAT and json.loads(metadata["labels"]) == list(CLASSES)
    assert float(metadata["threshold"]) == 0.25 and json.loads(metadata["config"])["trim_db"] == 0.0

    with pytest.raises(FitHubertError, match="not one of `fithubert export` .*one of `fithubert export-joint`"):
        OnnxExpert(tmp_path / "a.onnx")
    monkeypatch.setattr(joint_onnx, "TOLERANCE", 1e-12)
    before = sorted(tmp_path.iterdir())
    with pytest.raises(FitHubertError, match="within 1e-12 of the model's.* nothing was written"):
        main([str(tmp_path / "joint.safetensors"), "-o", str(tmp_path / "c.onnx")])
    assert sorted(tmp_path.iterdir()) == before


@pytest.mark.slow
def test_the_embedded_file_is_a_fresh_export(tmp_path):
    """Made by `fithubert export-joint joint_mini -o fithubert_upstream/assets/joint_mini.onnx --int8`."""
    export_joint_onnx(load_joint(), tmp_path / "fresh.onnx", int8=True)
    fresh, embedded = onnx.load(tmp_path / "fresh.onnx"), onnx.load(JOINT_ONNX)
    weights = [{t.name: onnx.numpy_helper.to_array(t) for t in m.graph.initializer} for m in (fresh, embedded)]
    large = [sorted((v for v in w.values() if v.size > 100), key=lambda v: (v.size, v.tobytes())) for w in weights]
    for one, other in zip(*large, strict=True):
        np.testing.assert_array_equal(one, other)
    wav = np.random.default_rng(0).normal(0, 0.1, 16000).astype(np.float32)
    for one, other in zip(
        OnnxJoint(tmp_path / "fresh.onnx").scores(wav), OnnxJoint(JOINT_ONNX).scores(wav), strict=True
    ):
        np.testing.assert_allclose(one, other, atol=1e-3)


def test_the_embedded_file_is_small_and_near_the_model():
    assert JOINT_ONNX.stat().st_size <= 3e6
    assert isinstance(load_listener(), OnnxJoint)
    small, large = OnnxJoint(JOINT_ONNX), TorchJoint("joint_mini")
    assert small.classes == large.classes and small.threshold == pytest.approx(large.threshold)
    for seed in range(3):
        wav = np.random.default_rng(seed).normal(0, 0.1, 16000).astype(np.float32)
        one, other = small.scores(wav), large.scores(wav)
        assert float(one.embedding @ other.embedding) > 0.98
        np.testing.assert_allclose(one.classes, other.classes, atol=0.15)


def test_what_is_no_joint_model(tmp_path):
    with pytest.raises(FitHubertError, match="expected an .onnx file of `fithubert export-joint`, found nothing"):
        load_listener(str(tmp_path / "no.onnx"))
    with pytest.raises(FitHubertError, match="found nothing"):
        load_listener(str(tmp_path / "no.safetensors"))


def test_flags(tmp_path):
    for flags, words in (
        (["-o", "j.safetensors", "--int8"], "--int8: expected an output with the ending .onnx"),
        (["-o", "j.onnx", "--half"], "--half: expected a .safetensors to write"),
        (["-o", "j.safetensors", "-k", "x"], "-k: expected a run to export"),
    ):
        with pytest.raises(FitHubertError, match=words):
            main(["joint_mini", *(str(tmp_path / word) if word.startswith("j.") else word for word in flags)])
    assert not list(tmp_path.iterdir())


def test_the_embedded_model_can_be_written_again(tmp_path):
    main(["joint_mini", "-o", str(tmp_path / "j.safetensors"), "--half"])
    assert dataclasses.asdict(load_joint(tmp_path / "j.safetensors").config) == dataclasses.asdict(load_joint().config)

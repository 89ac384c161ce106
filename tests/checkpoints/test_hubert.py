"""One random small HuBERT (and one wav2vec 2.0) in every container, against the live transformers model."""

import json
from pathlib import Path

import pytest
import torch

from fithubert_upstream.teachers.config import TeacherConfig
from fithubert_upstream.teachers.teachers import HubertTeacher, S3prlTeacher, load_teacher

from ..helpers.live_teachers import HEADS, LAYERS, WIDTH, live_layers, make_live, refused
from ..helpers.teacher_files import (
    CONTAINERS,
    TASK,
    edit_weights,
    fairseq_config,
    fairseq_weights,
    s3prl_file,
    save,
    torchaudio_file,
    transformers_safetensors,
)


@pytest.mark.parametrize("kind", ["hubert", "wav2vec2"])
@pytest.mark.parametrize("write", CONTAINERS, ids=lambda write: write.__name__)
def test_every_container_gives_the_live_models_layers(tmp_path, write, kind):
    model = make_live(kind)
    teacher = load_teacher(write(model, tmp_path))
    assert isinstance(teacher, HubertTeacher)
    assert (teacher.num_layers, teacher.width) == (LAYERS, WIDTH)
    assert not (tmp_path / "touched").exists()
    wav = torch.randn(1, 8321)
    for ours, live in zip(teacher(wav), live_layers(model, wav), strict=True):
        torch.testing.assert_close(ours, live, atol=1e-5, rtol=0)


@pytest.mark.parametrize(
    "write",
    [write for write in CONTAINERS if write.__name__.startswith(("transformers_bin", "s3prl", "fairseq"))],
    ids=lambda write: write.__name__,
)
def test_heads_come_from_the_config(tmp_path, write):
    model = make_live(num_attention_heads=2 * HEADS)
    wav = torch.randn(1, 8321)
    for ours, live in zip(load_teacher(write(model, tmp_path))(wav), live_layers(model, wav), strict=True):
        torch.testing.assert_close(ours, live, atol=1e-5, rtol=0)


@pytest.mark.parametrize("kind", ["hubert", "wav2vec2"])
def test_s3prls_own_forward_agrees(tmp_path, kind):
    from s3prl import hub

    model = make_live(kind)
    config = s3prl_file(model, tmp_path)
    own = S3prlTeacher(config.model, getattr(hub, config.model)(ckpt=config.ckpt))
    wavs, lengths = torch.randn(2, 8000), torch.tensor([8000, 5000])
    for ours, theirs in zip(load_teacher(config)(wavs, lengths), own(wavs, lengths), strict=True):
        torch.testing.assert_close(ours, theirs, atol=2e-5, rtol=0)


LARGE = {"feat_extract_norm": "layer", "conv_bias": True, "do_stable_layer_norm": True}


@pytest.mark.parametrize("kind", ["hubert", "wav2vec2", "wavlm"])
def test_a_large_type_from_transformers(tmp_path, kind):
    refused(transformers_safetensors(make_live(kind, **LARGE), tmp_path), "only Base types", "feat_extract_norm")


def test_a_large_type_from_torchaudio_whose_file_has_no_config(tmp_path):
    config = torchaudio_file(make_live(**LARGE), tmp_path)
    refused(config, "only Base types", "feature_extractor.conv_layers.0.conv.bias")


@pytest.mark.parametrize("change", [{"layer_norm_first": True}, {"extractor_mode": "layer_norm"}])
def test_a_large_type_from_fairseq(tmp_path, change):
    model = make_live()
    content = {"cfg": {"task": TASK, "model": fairseq_config(model) | change}, "model": fairseq_weights(model)}
    path = save(content, tmp_path / "large.pt")
    refused(TeacherConfig(source="fairseq", model=path), "only Base types", *change)


def test_a_fairseq_model_trained_on_normalised_waveforms(tmp_path):
    model = make_live()
    cfg = {"task": TASK | {"normalize": True}, "model": fairseq_config(model)}
    path = save({"cfg": cfg, "model": fairseq_weights(model)}, tmp_path / "normalized.pt")
    refused(TeacherConfig(source="fairseq", model=path), "normalize False, found True")


def test_a_config_that_does_not_name_the_heads(tmp_path):
    model = make_live()
    cfg = {"task": TASK, "model": {"layer_norm_first": False}}
    path = save({"cfg": cfg, "model": fairseq_weights(model)}, tmp_path / "headless.pt")
    refused(TeacherConfig(source="fairseq", model=path), "attention heads", "found none")


def test_a_fairseq_file_without_a_config(tmp_path):
    path = save({"cfg": None, "model": fairseq_weights(make_live())}, tmp_path / "bare.pt")
    refused(TeacherConfig(source="fairseq", model=path), "bare.pt", "expected a cfg or args")


def test_another_number_of_convolutions_than_strides(tmp_path):
    path = save({"feature_extractor.conv_layers.7.0.weight": torch.ones(32, 32, 2)}, tmp_path / "x.pth")
    state = torch.load(torchaudio_file(make_live(), tmp_path).ckpt) | torch.load(path)
    refused(TeacherConfig(source="fairseq", model=save(state, tmp_path / "x.pth")), "each of 8 convolutions")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"nothing of the kind", ["truncated or not a PyTorch checkpoint"]),
        ({"epoch": 3, "states": {}}, ["expected fairseq's cfg and model", "found epoch, states"]),
        ({"weight": torch.ones(2, 2)}, ["expected the weights of HuBERT or wav2vec 2.0", "first: weight"]),
        ([torch.ones(1)], ["holding a dict, found list"]),
    ],
)
def test_a_wrong_file(tmp_path, content, words):
    path = tmp_path / "wrong.pt"
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        torch.save(content, path)
    refused(TeacherConfig(source="fairseq", model=str(path)), str(path), *words)
    refused(TeacherConfig(source="torchaudio", model="HUBERT_BASE", ckpt=str(path)), str(path), *words)


def test_a_file_that_is_not_there(tmp_path):
    refused(TeacherConfig(source="fairseq", model=str(tmp_path / "no.pt")), "no.pt", "found none")
    refused(TeacherConfig(source="fairseq", model=str(tmp_path)), "found a folder")


def test_a_transformers_directory_without_weights_or_with_damaged_ones(tmp_path):
    config = transformers_safetensors(make_live(), tmp_path)
    weights = Path(config.model, "model.safetensors")
    weights.write_bytes(weights.read_bytes()[:1000])
    refused(config, "model.safetensors", "truncated")
    weights.unlink()
    refused(config, "expected model.safetensors or pytorch_model.bin")


def test_a_wavlm_short_of_a_weight(tmp_path):
    config = transformers_safetensors(make_live("wavlm"), tmp_path)
    edit_weights(config, lambda state: state.pop("encoder.layers.1.final_layer_norm.bias"))
    refused(config, "1 weights missing", "encoder.layers.1.final_layer_norm.bias")


def test_a_transformers_config_without_the_standard_strides(tmp_path):
    config = transformers_safetensors(make_live(), tmp_path)
    path = Path(config.model, "config.json")
    path.write_text(json.dumps(json.loads(path.read_text()) | {"conv_stride": [5, 2, 2, 2, 2, 2, 1]}))
    refused(config, "total stride of 320", "160")

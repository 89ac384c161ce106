"""Whisper's encoder beside transformers' own, from every container, and aligned with HuBERT's frames."""

import json
import struct

import numpy as np
import pytest
import torch

from fithubert_upstream.checkpoints.whisper import load_whisper
from fithubert_upstream.errors import FitHubertError
from fithubert_upstream.models.whisper import LONGEST, log_mels
from fithubert_upstream.teachers.config import TeacherConfig
from fithubert_upstream.teachers.teachers import load_teacher
from fithubert_upstream.upstream.hubconf import whisper_local
from fithubert_upstream.upstream.whisper_expert import WhisperExpert

from ..helpers.tiny import build_whisper


@pytest.fixture(scope="module")
def whisper():
    return build_whisper()


@pytest.fixture(scope="module")
def folder(whisper, tmp_path_factory):
    folder = tmp_path_factory.mktemp("whisper")
    whisper.save_pretrained(folder)
    return folder


def string(text: str) -> bytes:
    return struct.pack("<H", len(text) + 1) + text.encode() + b"\0"


def variable(name: str, value: np.ndarray) -> bytes:
    number = {"float32": 0, "int8": 1, "int16": 2, "float16": 4}[value.dtype.name]
    shape = struct.pack(f"<B{value.ndim}I", value.ndim, *value.shape)
    return string(name) + shape + struct.pack("<BI", number, value.nbytes) + value.tobytes()


def ctranslate2(weights: dict[str, torch.Tensor], heads: int, version: int = 6, spec: str = "WhisperSpec") -> bytes:
    """The bytes of a model.bin as CTranslate2 writes it, decoder first."""
    arrays = {name: tensor.numpy().astype(np.float32) for name, tensor in weights.items()}
    found = {"decoder/num_heads": np.array(2, np.int16), "decoder/embeddings/weight": np.ones((4, 3), np.float16)}
    found["encoder/num_heads"] = np.array(heads, np.int16)
    names = {
        "self_attn.out_proj": "self_attention/linear_1",
        "self_attn_layer_norm": "self_attention/layer_norm",
        "fc1": "ffn/linear_0",
        "fc2": "ffn/linear_1",
        "final_layer_norm": "ffn/layer_norm",
    }
    for i in range(3):
        parts = {kind: [arrays[f"layers.{i}.self_attn.{w}_proj.{kind}"] for w in which]
                 for kind, which in (("weight", "qkv"), ("bias", "qv"))}  # fmt: skip
        parts["bias"].insert(1, np.zeros(24, np.float32))
        for kind, values in parts.items():
            found[f"encoder/layer_{i}/self_attention/linear_0/{kind}"] = np.concatenate(values)
        for name, theirs in names.items():
            for kind in ("weight", "bias"):
                theirs_kind = {"weight": "gamma", "bias": "beta"}[kind] if "norm" in name else kind
                found[f"encoder/layer_{i}/{theirs}/{theirs_kind}"] = arrays[f"layers.{i}.{name}.{kind}"]
    found["encoder/position_encodings/encodings"] = arrays["embed_positions.weight"]
    for name in ("conv1", "conv2"):
        found |= {f"encoder/{name}/{kind}": arrays[f"{name}.{kind}"] for kind in ("weight", "bias")}
    for kind, theirs in (("weight", "gamma"), ("bias", "beta")):
        found[f"encoder/layer_norm/{theirs}"] = arrays[f"layer_norm.{kind}"]
    head = struct.pack("<I", version) + string(spec) + struct.pack("<II", 3, len(found))
    return head + b"".join(variable(name, value) for name, value in found.items()) + struct.pack("<I", 0)


@pytest.fixture(scope="module")
def binary(whisper, tmp_path_factory):
    path = tmp_path_factory.mktemp("ct2") / "model.bin"
    path.write_bytes(ctranslate2(whisper.model.encoder.state_dict(), heads=2))
    return path


def test_layers_are_those_of_transformers(whisper, folder):
    import transformers

    wav = torch.randn(20000)
    padded = torch.zeros(1, LONGEST * 320)
    padded[0, :20000] = wav
    mels = transformers.WhisperFeatureExtractor()(wav.numpy(), sampling_rate=16000, return_tensors="pt").input_features
    torch.testing.assert_close(log_mels(padded), mels, atol=1e-5, rtol=0)
    encoder = load_whisper(folder)
    with torch.no_grad():
        expected = whisper.model.encoder(mels, output_hidden_states=True).hidden_states
        for ours, theirs in zip(encoder(padded), expected, strict=True):
            torch.testing.assert_close(ours, theirs, atol=1e-4, rtol=0)
        assert [len(encoder(padded[:, :3200], depth)) for depth in (1, 2, None)] == [2, 3, 4]
        with pytest.raises(FitHubertError, match="at most 30 s, found 30.0"):
            encoder(torch.zeros(1, LONGEST * 320 + 1))


def test_every_container_gives_the_same_weights(folder, binary, tmp_path):
    expected = load_whisper(folder).state_dict()
    content = binary.read_bytes()
    parts = [tmp_path / "model.bin.part1", tmp_path / "model.bin.part2"]
    for path, part in zip(parts, (content[:5000], content[5000:]), strict=True):
        path.write_bytes(part)
    for model in (binary, binary.parent, tmp_path, ",".join(map(str, parts))):
        encoder = load_whisper(model)
        assert encoder.config.num_heads == 2
        assert all(torch.equal(weight, expected[name]) for name, weight in encoder.state_dict().items())


def test_frames_are_centred_where_huberts_are(folder):
    """A click moves the frame whose centre, 20 i + 12.5 ms, is next to it."""
    teacher = load_teacher(TeacherConfig("whisper", str(folder)))
    assert (teacher.num_layers, teacher.width) == (3, 24)
    silence = 1e-3 * torch.randn(1, 16000, generator=torch.Generator().manual_seed(0))
    for frame in (10, 20, 37):
        click = silence.clone()
        click[0, 320 * frame + 200] = 1.0
        with torch.no_grad():
            mels = [log_mels(wav[:, 200:]) for wav in (silence, click)]
        moved = (mels[1] - mels[0]).abs().mean(1)[0]
        assert moved.argmax() in (2 * frame - 1, 2 * frame, 2 * frame + 1)
        centre = (moved * torch.arange(len(moved))).sum() / moved.sum()
        assert abs(centre - 2 * frame) < 0.6  # mel frames of 10 ms


@pytest.mark.parametrize("samples", [400, 720, 16000, 16119, 16120, 170_000])
def test_there_are_as_many_frames_as_huberts(folder, samples):
    teacher = load_teacher(TeacherConfig("whisper", str(folder)))
    layers = teacher(torch.randn(2, samples))
    assert len(layers) == 3 and {layer.shape for layer in layers} == {(2, (samples - 400) // 320 + 1, 24)}
    for layer in layers:
        torch.testing.assert_close(layer.mean(-1), torch.zeros(layer.shape[:2]), atol=1e-5, rtol=0)
    assert len(teacher(torch.randn(1, samples), depth=2)) == 2


def test_the_upstream(folder):
    upstream = WhisperExpert(folder).eval()
    wavs = [torch.randn(16000), torch.randn(9000), torch.randn(100)]
    with torch.no_grad():
        features = upstream(wavs)
        alone = upstream(wavs[1:2])
    assert [state.shape for state in features["hidden_states"]] == [(3, 50, 24)] * 4
    torch.testing.assert_close(features["last_hidden_state"][1, :28], alone["last_hidden_state"][0], atol=1e-5, rtol=0)
    assert not features["last_hidden_state"][1, 28:].any() and upstream.get_downsample_rates("hidden_states") == 320


def test_long_recordings_go_through_in_windows(folder):
    upstream = WhisperExpert(folder).eval()
    long = torch.randn(LONGEST * 320 + 6400)
    with torch.no_grad():
        whole = upstream([long])["last_hidden_state"][0]
        end = upstream([long[-6400:]])["last_hidden_state"][0]
    assert len(whole) == LONGEST + 20
    torch.testing.assert_close(whole[-20:], end, atol=1e-5, rtol=0)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda content: struct.pack("<I", 5) + content[4:], "of version 6, found 5"),
        (lambda content: content.replace(b"WhisperSpec", b"MarianXSpec"), "found 'MarianXSpec' of revision 3"),
        (lambda content: content[:4000], "found its end; give all its parts"),
        (lambda content: content[:2], "found its end"),
        (lambda content: content.replace(b"encoder/", b"encodex/"), "found no weights of one"),
        (lambda content: content.replace(b"layer_1/ffn/linear_0", b"layer_1/ffn/linear_9"), r"2 \(.*\) missing"),
    ],
)
def test_another_model_bin_is_refused(binary, tmp_path, change, said):
    path = tmp_path / "model.bin"
    path.write_bytes(change(binary.read_bytes()))
    with pytest.raises(FitHubertError, match=said) as caught:
        load_whisper(path)
    assert str(path) in str(caught.value)


def test_eight_bit_weights_are_refused(binary, tmp_path):
    content = struct.pack("<I", 6) + string("WhisperSpec") + struct.pack("<II", 3, 1)
    (tmp_path / "model.bin").write_bytes(content + variable("encoder/conv1/weight", np.ones((2, 2), np.int8)))
    with pytest.raises(FitHubertError, match="found 8-bit weights; give a model in fp16"):
        load_whisper(tmp_path)


def test_other_folders_are_refused(folder, tmp_path):
    with pytest.raises(FitHubertError, match="expected config.json of a Whisper model"):
        load_whisper(tmp_path)
    config = json.loads((folder / "config.json").read_text())
    for key, value, said in (
        ("model_type", "hubert", "found type hubert"),
        ("num_mel_bins", 128, "found 128 and 1500"),
    ):
        (tmp_path / "config.json").write_text(json.dumps(config | {key: value}))
        with pytest.raises(FitHubertError, match=said):
            load_whisper(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(FitHubertError, match="expected model.safetensors, found none"):
        load_whisper(tmp_path)
    with pytest.raises(FitHubertError, match="expected a folder, a model.bin or a hub id"):
        load_whisper("no/such-model")
    with pytest.raises(FitHubertError, match="expected the parts of a model.bin, found no file"):
        load_whisper(f"{folder}/a,{folder}/b")


def test_the_entry(binary):
    upstream = whisper_local(str(binary))
    assert isinstance(upstream, WhisperExpert) and whisper_local(str(binary.parent), None, False).model
    for options, said in (
        ({"model_config": "x.yaml"}, "whisper_local: expected no model_config"),
        ({"precision": "bf16"}, "precision"),
        ({"refresh": True}, "expected no refresh"),
    ):
        with pytest.raises(FitHubertError, match=said):
            whisper_local(str(binary), **options)
    with pytest.raises(FitHubertError, match="expected a ckpt"):
        whisper_local(None)

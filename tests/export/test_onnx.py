"""The exported file beside the student it was made from."""

import json
import sys

import numpy as np
import onnx
import pytest
import soundfile
import torch
from torch.nn.functional import cosine_similarity
from torch.nn.utils.rnn import pad_sequence

from fithubert_upstream.errors import FitHubertError
from fithubert_upstream.export import onnx as export_module
from fithubert_upstream.export.onnx import AXES, export, main
from fithubert_upstream.export.session import open_session, run
from fithubert_upstream.export.traceable import TraceableFitHubert
from fithubert_upstream.models.config import FitHubertConfig

from ..helpers.onnx import STUDENTS, make_student, trace_once, upstream_of

pytestmark = pytest.mark.slow  # an ONNX file takes seconds to make

EXPORTED = [*list(STUDENTS)[:2], "reused maps", "relative positions"]
LENGTHS = (1, 2, 399, 400, 719, 720, 721, 1040, 1360, 16000)


@pytest.fixture(scope="module", autouse=True)
def traced():
    """A trace takes seconds and each test changes its copy alone."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(export_module, "trace", lambda model: onnx.load_from_string(trace_once(model)))
        yield


@pytest.fixture(scope="module", params=EXPORTED)
def pair(request, tmp_path_factory):
    """(the student's upstream, its exported file)"""
    folder = tmp_path_factory.mktemp("export")
    export(make_student(request.param), folder / "s.onnx")
    return upstream_of(request.param, folder), folder / "s.onnx"


@pytest.fixture(scope="module")
def mini(tmp_path_factory):
    return upstream_of("fithubert_mini", tmp_path_factory.mktemp("student"))


@pytest.fixture(scope="module")
def mini_files(tmp_path_factory):
    """fithubert_mini in fp32 and in int8."""
    folder = tmp_path_factory.mktemp("mini")
    export(make_student("fithubert_mini"), folder / "fp32.onnx")
    export(make_student("fithubert_mini"), folder / "int8.onnx", int8=True)
    return folder / "fp32.onnx", folder / "int8.onnx"


def assert_same(upstream, features, wavs):
    lengths = torch.tensor([len(wav) for wav in wavs])
    with torch.no_grad():
        expected = upstream(wavs)
    keys = {"last_hidden_state", "hidden_states"} | (expected.keys() & {"projected_states"})
    assert features.keys() == keys | {"frames"}
    for key in keys:
        tensor = expected[key] if key == "last_hidden_state" else torch.stack(expected[key])
        assert features[key].dtype == torch.float32
        torch.testing.assert_close(features[key], tensor, atol=1e-4, rtol=0)
        for i, frames in enumerate(features["frames"]):
            assert not features[key][..., i, frames:, :].any()
    assert torch.equal(features["frames"], upstream.model.frame_lengths(lengths))


def padded(wavs):
    return pad_sequence(wavs, batch_first=True), torch.tensor([len(wav) for wav in wavs])


@pytest.mark.parametrize("kind", STUDENTS)
def test_the_form_that_is_traced(kind, tmp_path):
    upstream = upstream_of(kind, tmp_path)
    traceable = TraceableFitHubert(make_student(kind)).eval()
    keys = [key for key in AXES if key != "projected_states" or len(upstream.model.config.head_layers) > 1]
    for wavs in [[torch.randn(n)] for n in LENGTHS] + [[torch.randn(n) for n in (16000, 1, 9000, 12345, 700)]]:
        with torch.no_grad():
            features = dict(zip(keys, traceable(*padded(wavs)), strict=True))
        assert_same(upstream, features, wavs)


def test_every_length_alone(pair):
    upstream, path = pair
    for n in LENGTHS:
        wavs = [torch.randn(n)]
        assert_same(upstream, run(open_session(path), *padded(wavs)), wavs)


def test_a_padded_batch(pair):
    upstream, path = pair
    wavs = [torch.randn(n) for n in (16000, 1, 9000, 12345, 700)]
    assert_same(upstream, run(open_session(path), *padded(wavs)), wavs)


def test_what_lies_behind_an_utterance_changes_nothing(pair):
    upstream, path = pair
    wavs = [torch.randn(n) for n in (4000, 1, 5000)]
    waveforms = 100 * torch.randn(3, 9999)
    for row, wav in zip(waveforms, wavs, strict=True):
        row[: len(wav)] = wav
    assert_same(upstream, run(open_session(path), waveforms, padded(wavs)[1]), wavs)


def test_the_file_tells_what_it_is(pair):
    upstream, path = pair
    model = onnx.load(path)
    onnx.checker.check_model(model)
    assert [file.name for file in path.parent.glob("*.onnx*")] == [path.name]  # no data beside it
    metadata = {entry.key: entry.value for entry in model.metadata_props}
    assert FitHubertConfig.from_json(metadata.pop("config")) == upstream.model.config
    assert metadata.pop("package_version")
    assert metadata == {
        "format": "fithubert-onnx",
        "version": "1",
        "sample_rate": "16000",
        "frame_rate": "320",
        "precision": "fp32",
    }
    shapes = {
        value.name: [dim.dim_param or dim.dim_value for dim in value.type.tensor_type.shape.dim]
        for value in (*model.graph.input, *model.graph.output)
    }
    config = upstream.model.config
    width = config.head_dim if config.head_layers else config.embed_dim
    assert shapes.pop("waveforms") == ["batch", "samples"]
    assert shapes.pop("lengths") == shapes.pop("frames") == ["batch"]
    assert shapes.pop("last_hidden_state") == ["batch", "frames_20ms", width]
    states = upstream([torch.randn(4000)])["hidden_states"]
    assert shapes.pop("hidden_states") == [len(states), "batch", "frames_20ms", states[0].size(2)]
    assert shapes == (
        {"projected_states": [len(config.head_layers), "batch", "frames_20ms", width]} if config.head_layers else {}
    )
    assert not {node.op_type for node in model.graph.node} & {"DFT", "STFT", "If", "Loop"}


def test_the_student_stays_as_it_was(pair):
    """Tracing leaves nothing of its own in what the layers keep."""
    upstream, _ = pair  # loaded afresh from the file
    traced = next(student for student in map(make_student, EXPORTED) if student.config == upstream.model.config)
    wav = torch.randn(1, 5000)
    with torch.no_grad():
        for one, other in zip(traced.encode(wav)[0], upstream.model.encode(wav)[0], strict=True):
            assert torch.equal(one, other)


def test_half_a_minute(mini, mini_files):
    wavs = [0.1 * torch.randn(30 * 16000)]
    assert_same(mini, run(open_session(mini_files[0]), *padded(wavs)), wavs)


def cosines(path, upstream, wav):
    with torch.no_grad():
        expected = upstream([wav])
    features = run(open_session(path), wav[None], torch.tensor([len(wav)]))
    states = cosine_similarity(features["hidden_states"], torch.stack(expected["hidden_states"]), dim=-1)
    last = cosine_similarity(features["last_hidden_state"], expected["last_hidden_state"], dim=-1)
    return torch.cat([states.flatten(), last.flatten()])


def test_int8_is_small_and_near(mini, mini_files):
    fp32, int8 = mini_files
    assert int8.stat().st_size < 0.4 * fp32.stat().st_size
    assert {entry.key: entry.value for entry in onnx.load(int8).metadata_props}["precision"] == "int8"
    loud = torch.logspace(-4, -0.5, 32000) * torch.randn(32000)  # from nearly nothing to loud
    assert cosines(int8, mini, loud).min() > 0.99
    # And 8 bits it is: far more than rounding away from the student.
    assert cosines(int8, mini, loud).mean() < 0.99999


def test_int8_of_speech(mini, mini_files, real_data):
    files = sorted((real_data / "LibriSpeech-excerpt" / "mini-dev").rglob("*.flac"))[::10]
    assert files
    for file in files:
        wav = torch.from_numpy(soundfile.read(file, dtype="float32")[0][: 8 * 16000])
        drift = cosines(mini_files[1], mini, wav)
        # twelve layers after rounding: one frame in some hundred drifts further than all others
        assert drift.mean() > 0.998 and drift.quantile(0.01) > 0.985, file


def test_int8_holds_no_float_weights(mini_files):
    tensors = {tensor.name: tensor for tensor in onnx.load(mini_files[1]).graph.initializer}
    large = [t for t in tensors.values() if np.prod(t.dims) > 1000 and not t.name.endswith("_scale")]
    floats = [t for t in large if t.data_type == onnx.TensorProto.FLOAT]
    assert floats == []
    assert len([t for t in tensors.values() if t.data_type == onnx.TensorProto.INT8 and len(t.dims) > 1]) > 30


def test_weights_alone_in_8_bits_compute_in_fp32(mini, mini_files, tmp_path):
    proto = export_module.quantize(export_module.trace(make_student("fithubert_mini")), products=False)
    export_module.strip(proto)
    (tmp_path / "weights.onnx").write_bytes(proto.SerializeToString())
    assert not {node.op_type for node in proto.graph.node} & {"MatMulInteger", "DynamicQuantizeLinear"}
    assert (tmp_path / "weights.onnx").stat().st_size < 1.05 * mini_files[1].stat().st_size
    loud = torch.logspace(-4, -0.5, 32000) * torch.randn(32000)
    # Rounded once instead of at each product: nearer to the student.
    nearness = cosines(tmp_path / "weights.onnx", mini, loud)
    assert nearness.mean() > cosines(mini_files[1], mini, loud).mean() and nearness.min() > 0.99


@pytest.mark.parametrize("flags", [[], ["--int8"]])
def test_command(tmp_path, monkeypatch, capsys, flags):
    monkeypatch.setattr(export_module, "load_fithubert", lambda *_: make_student("fithubert_mini"))
    target = tmp_path / "new" / "mini.onnx"
    main(["fithubert_mini", "-o", str(target), *flags])
    size = f"{target.stat().st_size / 1e6:.1f} MB"
    what = "cosine to the fp32 features 0.99" if flags else "largest difference to the student "
    text = capsys.readouterr().out
    assert text.count("\n") == 1
    count = f"{sum(p.numel() for p in make_student('fithubert_mini').parameters()):,} parameters"
    assert all(part in text for part in (str(target), count, size, what)), text


def assert_error(folder, words, *command):
    before = sorted(folder.iterdir())
    with pytest.raises(FitHubertError) as caught:
        main([*command])
    assert all(word in str(caught.value) for word in words), caught.value
    assert "\n" not in str(caught.value)
    assert sorted(folder.iterdir()) == before  # nothing half-written


def test_errors(tmp_path, monkeypatch):
    target = str(tmp_path / "s.onnx")
    assert_error(tmp_path, ["no.safetensors", "found nothing"], "no.safetensors", "-o", target)
    assert_error(tmp_path, ["found a joint model; fithubert export-joint joint_mini -o"], "joint_mini", "-o", target)
    (tmp_path / "other").write_text(json.dumps({}))
    assert_error(tmp_path, ["other", "expected a .safetensors student"], str(tmp_path / "other"), "-o", target)
    assert_error(tmp_path, ["other", "can be written"], "fithubert_mini", "-o", str(tmp_path / "other" / "s.onnx"))

    monkeypatch.setattr(export_module, "load_fithubert", lambda *_: make_student("fithubert_mini"))
    monkeypatch.setattr(export_module, "TOLERANCE", 1e-12)
    assert_error(tmp_path, ["within 1e-12", "nothing was written"], "fithubert_mini", "-o", target)
    for package in ("onnx", "onnxscript", "onnxruntime"):
        with monkeypatch.context() as patch:
            patch.setitem(sys.modules, package, None)
            words = [f"needs {package}; pip install 'fithubert-upstream[onnx]'"]
            assert_error(tmp_path, words, "fithubert_mini", "-o", target)

import pytest
import safetensors.torch
import torch

from fithubert_upstream.benchmarks.inference import difference
from fithubert_upstream.benchmarks.variants import MODELS, build, file_bytes, onnx_file

CPU = torch.device("cpu")


def batch() -> tuple[torch.Tensor, torch.Tensor]:
    waveforms = torch.randn(2, 8000)
    waveforms[1, 5000:] = 0
    return waveforms, torch.tensor([8000, 5000])


def test_features_are_those_of_the_models_themselves(tiny_models, tmp_path):
    waveforms, lengths = batch()
    mask = (torch.arange(8000) < lengths[:, None]).long()
    plain = {name: MODELS[name].module() for name in MODELS}
    with torch.inference_mode():
        expected = {
            "hubert_base": plain["hubert_base"](waveforms, attention_mask=mask).last_hidden_state,
            "fithubert": plain["fithubert"](waveforms, lengths)[0][-1],
            "headless": plain["headless"].encode(waveforms, lengths)[0][-1],
        }
    for name, features in expected.items():
        torch.testing.assert_close(build(name, "fp32", CPU, tmp_path)(waveforms, lengths), features)
        rough = build(name, "bf16", CPU, tmp_path)(waveforms[:1], lengths[:1])
        assert rough.dtype == torch.bfloat16
        if name != "hubert_base":  # how exact a peer is in bf16 depends on the processor, and is not ours to promise
            exact = build(name, "fp32", CPU, tmp_path)(waveforms[:1], lengths[:1])
            assert difference(rough, exact)["lowest_cosine"] > 0.99


def test_random_weights_are_the_same_each_time(tiny_models):
    before = torch.get_rng_state()
    one, two = (MODELS["fithubert"].module().state_dict() for _ in range(2))
    assert all(torch.equal(one[name], two[name]) for name in one)
    assert torch.equal(before, torch.get_rng_state())


@pytest.mark.parametrize("name", ["hubert_base", "fithubert"])
def test_bytes_are_those_of_the_file(tiny_models, tmp_path, name):
    for precision, dtype in (("fp32", torch.float32), ("bf16", torch.bfloat16)):
        weights = {key: value.contiguous() for key, value in MODELS[name].module().to(dtype).state_dict().items()}
        safetensors.torch.save_file(weights, tmp_path / "weights")
        assert file_bytes(MODELS[name].module(), precision) == (tmp_path / "weights").stat().st_size


def test_an_onnx_file_is_made_once_and_run_without_torch(tiny_models, tmp_path, monkeypatch):
    onnx = pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    helper, kind = onnx.helper, onnx.TensorProto
    made = []

    def export(model, path, int8):
        made.append(int8)
        graph = helper.make_graph(
            [
                helper.make_node("Constant", [], ["axis"], value_ints=[2]),
                helper.make_node("Unsqueeze", ["waveforms", "axis"], ["last_hidden_state"]),
                helper.make_node("Identity", ["lengths"], ["frames"]),
            ],
            "double",
            [
                helper.make_tensor_value_info("waveforms", kind.FLOAT, ["B", "T"]),
                helper.make_tensor_value_info("lengths", kind.INT64, ["B"]),
            ],
            [
                helper.make_tensor_value_info("last_hidden_state", kind.FLOAT, ["B", "T", 1]),
                helper.make_tensor_value_info("frames", kind.INT64, ["B"]),
            ],
        )
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
        onnx.save(model, path)

    monkeypatch.setattr("fithubert_upstream.export.onnx.export", export)
    waveforms, lengths = batch()
    for _ in range(2):
        forward = build("fithubert", "onnx-int8", CPU, tmp_path)
        assert torch.equal(forward(waveforms, lengths), waveforms[:, :, None])
    assert made == [True] and onnx_file("fithubert", "onnx-int8", tmp_path).is_file()

import argparse
import json

import pytest
import safetensors.torch
import torch

from fithubert_upstream.benchmarks import inference as benchmark_inference
from fithubert_upstream.benchmarks.inference import WARM_UP, Row, alternate, choose_rows, difference, memory, try_rows
from fithubert_upstream.benchmarks.inference_report import draw, main_input, markdown, summarise
from fithubert_upstream.benchmarks.inputs import Work, lengths_alone, mixed_lengths
from fithubert_upstream.benchmarks.machine import timer
from fithubert_upstream.benchmarks.macs import count_macs
from fithubert_upstream.benchmarks.main import build_parser, main
from fithubert_upstream.benchmarks.variants import (
    MODELS,
    Model,
    build,
    count_parameters,
    file_bytes,
    onnx_file,
    shape_of,
)
from fithubert_upstream.errors import FitHubertError
from fithubert_upstream.models.config import FitHubertConfig
from fithubert_upstream.models.fithubert import FitHubert

from ..helpers.tiny import STUDENT, make_teacher

CPU = torch.device("cpu")


@pytest.fixture
def tiny_models(tmp_path, monkeypatch):
    """A HuBERT and a student that take no time, in the place of all models."""
    path = make_teacher(tmp_path / "hubert")
    from transformers import HubertModel

    config = FitHubertConfig.from_dict(STUDENT | {"head_layers": [2]})
    tiny = {
        "hubert_base": Model("tiny HuBERT", lambda: HubertModel.from_pretrained(path)),
        "fithubert": Model("tiny student", lambda: FitHubert(config), student=True),
        "headless": Model("headless", lambda: FitHubert(FitHubertConfig.from_dict(STUDENT | {"head_layers": []}))),
    }
    for name in list(MODELS):
        monkeypatch.delitem(MODELS, name)
    for name, model in tiny.items():
        monkeypatch.setitem(MODELS, name, model)


def batch() -> tuple[torch.Tensor, torch.Tensor]:
    waveforms = torch.randn(2, 8000)
    waveforms[1, 5000:] = 0
    return waveforms, torch.tensor([8000, 5000])


def test_rounds_alternate_after_the_warm_up_and_slow_rows_stop_early():
    first, second, slow = rows = [Row(name, "fp32") for name in ("first", "second", "slow")]
    order, now = [], [0.0]

    def pass_of(row):
        def forward(waveforms, lengths):
            order.append(row)
            now[0] += 10 * (rows.index(row) + 1) + waveforms.size(1)

        return forward

    def fake_clock(call):
        start = now[0]
        call()
        return now[0] - start

    work = Work("two", [(torch.zeros(1, 1), torch.tensor([1])), (torch.zeros(1, 2), torch.tensor([2]))])
    done = []
    forwards = {row: pass_of(row) for row in rows}
    found = alternate(forwards, work, {first: 4, second: 4, slow: 2}, fake_clock, lambda: done.append(1))
    warm_up, timed = order[: 2 * WARM_UP * 3], order[2 * WARM_UP * 3 :]  # each pass has two batches
    assert warm_up == [row for row in rows for _ in range(2 * WARM_UP)]
    forth, back = [first, second, slow], [slow, second, first]
    assert timed[::2] == timed[1::2] == forth + back + [first, second] + [second, first]
    assert found == {first: [23.0] * 4, second: [43.0] * 4, slow: [63.0] * 2}
    assert len(done) == 3 * WARM_UP + 10


def test_a_pass_is_timed_whole():
    calls = []
    assert timer(CPU)(lambda: calls.append(1)) >= 0 and calls == [1]


def test_the_ways_of_a_batch_hold_the_same_audio():
    one, by_length, alone = mixed_lengths(8, (2, 17), CPU)
    seconds = sorted(length / 16000 for _, lengths in alone.batches for length in lengths.tolist())
    assert len(seconds) == 8 and 2 <= seconds[0] < 6 and 12 < seconds[-1] <= 17
    for work in (one, by_length, alone):
        assert work.seconds == pytest.approx(sum(seconds)) and work.utterances == 8
    assert one.padded_seconds == pytest.approx(8 * seconds[-1])
    assert by_length.padded_seconds == pytest.approx(4 * seconds[3] + 4 * seconds[7])
    assert alone.padded_seconds == pytest.approx(sum(seconds))
    assert [len(work.batches) for work in (one, by_length, alone)] == [1, 2, 8]
    waveforms, lengths = one.batches[0]
    for waveform, length in zip(waveforms, lengths.tolist(), strict=True):
        assert bool((waveform[length:] == 0).all()) and waveform[:length].std() > 0.05
    again, _, _ = mixed_lengths(8, (2, 17), CPU)
    assert torch.equal(again.batches[0][0], waveforms)
    [single] = lengths_alone([0.5], CPU)
    assert single.name == "0.5 s" and single.seconds == single.padded_seconds == 0.5 and single.utterances == 1


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


def test_difference_by_hand():
    plain = torch.tensor([[[1.0, 0.0], [3.0, 4.0]]])
    found = difference(torch.tensor([[[1.0, 0.5], [4.0, 3.0]]]), plain)
    assert found == {"largest": 1.0, "lowest_cosine": pytest.approx(1 / 1.25**0.5)}


def test_what_cannot_run_is_told_and_the_rest_goes_on(tiny_models, tmp_path, monkeypatch):
    real = benchmark_inference.build

    def without_compiler(name, variant, device, folder):
        if variant == "fp32-compiled":
            raise RuntimeError("no C++ compiler\nand much more")
        if variant == "onnx-int8":
            raise FitHubertError("onnxruntime is missing")
        return real(name, variant, device, folder)

    monkeypatch.setattr(benchmark_inference, "build", without_compiler)
    rows = [Row("fithubert", variant) for variant in ("fp32", "fp32-compiled", "bf16", "onnx-int8")]
    forwards, differences, skipped = try_rows(rows, torch.randn(1, 8000), CPU, tmp_path)
    assert [row.variant for row in forwards] == ["fp32", "bf16"]
    assert [row.variant for row in differences] == ["bf16"] and 0 < differences[rows[2]]["largest"] < 0.2
    assert skipped == {
        "fithubert fp32-compiled": "RuntimeError: no C++ compiler",
        "fithubert onnx-int8": "FitHubertError: onnxruntime is missing",
    }


def chosen(device: str, *flags: str) -> list[str]:
    args = build_parser("inference").parse_args(["inference", *flags])
    return [row.name for row in choose_rows(argparse.Namespace(**vars(args) | {"device": device}))]


def test_rows():
    cpu = chosen("cpu")
    assert cpu[:3] == ["hubert_base fp32", "distilhubert fp32", "fithubert fp32"] and "hubert_mini fp32" in cpu
    ways = ["fp32", "fp32-compiled", "bf16", "bf16-compiled", "onnx-fp32", "onnx-int8"]
    assert [row for row in cpu if row.startswith("fithubert ")] == [f"fithubert {way}" for way in ways]
    assert "hubert_base bf16-compiled" in chosen("cuda") and not any("onnx" in row for row in chosen("cuda"))
    assert set(chosen("cpu", "--short")) == {f"{model} fp32" for model in MODELS}
    assert chosen("cpu", "--models", "fithubert", "--variants", "bf16") == ["fithubert bf16"]


def results() -> dict:
    """Made up: two rows, one of them emulated, on two lengths and a batch."""
    work = {
        "1 s": {
            "utterances": 1,
            "audio_seconds": 1.0,
            "padded_seconds": 1.0,
            "times": {"big fp32": [0.1, 0.3, 0.2, 0.2, 0.2], "small bf16": [0.05, 0.06, 0.04]},
        },
        "10 s": {
            "utterances": 1,
            "audio_seconds": 10.0,
            "padded_seconds": 10.0,
            "times": {"big fp32": [1.0, 2.0, 4.0, 3.0, 5.0], "small bf16": [0.5, 0.2, 1.0]},
        },
        "one padded batch": {
            "utterances": 4,
            "audio_seconds": 30.0,
            "padded_seconds": 40.0,
            "times": {"small bf16": [2.0]},
        },
    }
    shared = {"macs": {"1 s": 2 * 10**9, "10 s": 24 * 10**9}, "superb_macs": {"total": 16 * 10**11}}
    off = {"largest": 0.0123, "lowest_cosine": 0.9991}
    return {
        "machine": {"hardware": "A chip", "device": "cpu", "threads": 1, "cores": 2, "torch": "2.13"},
        "warm_up": 2,
        "rounds": 5,
        "seed": 1,
        "compared_on": "noise",
        "reference": "big fp32",
        "rows": {
            "big fp32": shared
            | {"model": "Big", "variant": "fp32", "parameters": 10**8, "bytes": 4 * 10**8}
            | {"emulated": False, "difference": None, "memory": {"10 s": 512.0, "one padded batch": 2048.4}},
            "small bf16": shared
            | {"model": "Small", "variant": "bf16", "parameters": 2 * 10**7, "bytes": 4 * 10**7}
            | {"emulated": True, "difference": off, "memory": None},
        },
        "skipped": {"small fp32-compiled": "RuntimeError: no compiler"},
        "work": work,
        "summary": summarise(work, "big fp32"),
    }


def test_summary_by_hand():
    summary = results()["summary"]
    big, small = summary["10 s"]["big fp32"], summary["10 s"]["small bf16"]
    assert big["seconds"] == {"lowest": 1.0, "lower": 2.0, "median": 3.0, "upper": 4.0, "highest": 5.0}
    assert big["real_time_factor"] == pytest.approx(0.3) and big["audio_per_second"] == pytest.approx(10 / 3)
    assert big["ratio"] == {"median": 1.0, "lowest": 1.0, "highest": 1.0}
    # of rounds 1 to 3, which both have: 0.5, 0.1, 0.25; not the ratio of medians, 0.5 / 3
    assert small["ratio"] == {"median": 0.25, "lowest": 0.1, "highest": 0.5}
    batched = summary["one padded batch"]["small bf16"]
    assert batched["audio_per_second"] == 15.0 and batched["padded_per_second"] == 20.0 and batched["ratio"] is None


def test_the_tables_and_the_picture(tmp_path):
    told = json.loads(json.dumps(results()))  # from the file as from memory
    assert told == results() and main_input(told) == "10 s"
    text = markdown(told)
    lines = [" ".join(line.replace("|", " ").split()) for line in text.splitlines()]
    assert "Small bf16 (emulated) 500 350 to 750 200 1000 0.05 0.250 1.2e-02 0.999100" in lines
    assert "Big fp32 100.00 400.00 (1.000) 2.00 (1.000) 24.00 (1.000) 1600 512 2048" in lines
    assert "Small bf16 (emulated) 20.00 40.00 (0.100) 2.00 (1.000) 24.00 (1.000) 1600 - -" in lines
    assert "Small bf16 (emulated) 50 (0.200) 500 (0.250)" in lines
    assert "Small bf16 (emulated) one padded batch 2 2 2 15 20 -" in lines
    assert "4 utterances of mixed lengths, 30 s" in text and "A chip, cpu, 1 of 2 CPU core(s)" in text
    assert "not measured: small fp32-compiled (RuntimeError: no compiler)" in text
    draw(told, tmp_path / "a.png")
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")


def test_the_job_writes_tables_picture_and_numbers(tiny_models, tmp_path, monkeypatch):
    monkeypatch.setattr(benchmark_inference, "memory", lambda row, *rest: {"10 s": 1.0, "one padded batch": 2.0})
    threads = torch.get_num_threads()
    flags = ["--models", "hubert_base", "fithubert", "--variants", "fp32", "bf16", "--seconds", "0.5", "0.1"]
    monkeypatch.setattr(benchmark_inference, "bf16_is_native", lambda device: False)
    monkeypatch.setattr(benchmark_inference, "MIXED", (0.1, 0.5))
    monkeypatch.setattr(benchmark_inference, "SLOW_SECONDS", 0.2)
    flags += ["--rounds", "4", "--batch", "4", "--device", "cpu", "--threads", "1", "-o", str(tmp_path)]
    told = main(["inference", *flags])
    found = json.loads((tmp_path / "inference.json").read_text())
    assert found == told and torch.get_num_threads() == threads
    assert list(found["rows"]) == ["hubert_base fp32", "fithubert fp32", "fithubert bf16"]
    assert found["reference"] == "hubert_base fp32" and not found["skipped"] and found["machine"]["threads"] == 1
    ways = ["one padded batch", "sorted, batches of 4", "one at a time"]
    assert list(found["work"]) == ["0.1 s", "0.5 s", *ways]
    for name, this in found["work"].items():
        expected = [3, 3] if name in ways else [4, 4] if name == "0.5 s" else [4, 4, 3]  # bf16 is emulated
        assert [len(seconds) for seconds in this["times"].values()] == expected
        assert all(row["ratio"]["median"] > 0 for row in found["summary"][name].values())
    student = found["rows"]["fithubert bf16"]
    module = MODELS["fithubert"].module()
    assert student["parameters"] == count_parameters(module) and student["emulated"]
    assert student["macs"]["10 s"] == count_macs(shape_of(module), 160_000) and student["superb_macs"] is None
    assert student["difference"]["lowest_cosine"] > 0.99 and found["rows"]["fithubert fp32"]["difference"] is None
    assert student["memory"] is None and found["rows"]["fithubert fp32"]["memory"] == {"10 s": 1, "one padded batch": 2}
    text = (tmp_path / "inference.md").read_text()
    assert "memory, 10 s (MiB)" in text and "bf16 (emulated)" in text
    assert (tmp_path / "inference.png").read_bytes().startswith(b"\x89PNG")


def test_the_short_form_is_short(tiny_models, tmp_path):
    found = main(["inference", "--short", "--models", "headless", "fithubert", "--device", "cpu", "-o", str(tmp_path)])
    assert list(found["work"])[:2] == ["1 s", "5 s"] and found["rounds"] == 5
    assert found["reference"] == "headless fp32"  # the first, where HuBERT Base is not among them
    assert list(found["work"]["one padded batch"]["times"]) == ["fithubert fp32"]
    assert all(row["memory"] is None for row in found["rows"].values())


@pytest.mark.slow
def test_memory_of_a_process_of_its_own(tmp_path):
    args = argparse.Namespace(batch=4)
    found = memory(Row("fithubert_mini", "fp32"), args, CPU, tmp_path)
    assert list(found) == ["10 s", "one padded batch"]
    assert 5 < found["10 s"] <= found["one padded batch"] < 2000  # MiB; the weights alone are 4.8
    assert memory(Row("fithubert_mini", "fp32-compiled"), args, CPU, tmp_path) is None


@pytest.mark.parametrize(
    ("flags", "told"),
    [
        (["--batch", "6"], "--batch: expected a multiple of 4, found 6"),
        (["--rounds", "0"], "expected at least 1"),
        (["--threads", "0"], "expected at least 1"),
        (["--seconds", "0"], "--seconds: expected numbers from 0.01"),
        (["--models", "hubert_base", "--variants", "onnx-int8"], "expected one of those of hubert_base on cpu"),
    ],
)
def test_flags_that_cannot_be(tmp_path, flags, told):
    with pytest.raises(FitHubertError, match=told):
        main(["inference", "--device", "cpu", "-o", str(tmp_path / "out"), *flags])
    assert not (tmp_path / "out").exists()


def test_a_gpu_that_is_not_there(tmp_path, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(FitHubertError, match="--device cuda: expected a CUDA GPU, found none"):
        main(["inference", "--device", "cuda", "-o", str(tmp_path)])


def test_a_model_that_is_not_there(capsys):
    with pytest.raises(SystemExit):
        main(["inference", "--models", "wav2small"])
    assert "wav2small" in capsys.readouterr().err

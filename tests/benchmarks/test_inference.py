import argparse
import json

import pytest
import torch

from fithubert_upstream.benchmarks import inference as benchmark_inference
from fithubert_upstream.benchmarks.inference import WARM_UP, Row, alternate, choose_rows, difference, memory, try_rows
from fithubert_upstream.benchmarks.inputs import Work
from fithubert_upstream.benchmarks.macs import count_macs
from fithubert_upstream.benchmarks.main import build_parser, main
from fithubert_upstream.benchmarks.variants import MODELS, count_parameters, shape_of
from fithubert_upstream.errors import FitHubertError

CPU = torch.device("cpu")


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
    named = [name for name, model in MODELS.items() if not model.family]
    assert set(chosen("cpu", "--short")) == {f"{model} fp32" for model in named}
    assert chosen("cpu", "--short", "--models", "armhubert") == ["armhubert fp32"]
    assert chosen("cpu", "--models", "fithubert", "--variants", "bf16") == ["fithubert bf16"]


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

import json

import pytest

from fithubert_upstream.benchmarks.inference_report import draw, main_input, markdown, summarise


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

import pytest
import torch

from fithubert_upstream.errors import FitHubertError
from fithubert_upstream.runs import precision
from fithubert_upstream.runs.precision import bf16_is_native, choose_precision


@pytest.mark.parametrize(
    ("wanted", "device", "native", "chosen", "why"),
    [
        ("auto", "cpu", True, "bf16-mixed", "this processor has units for bfloat16"),
        ("auto", "cpu", False, "32-true", "this processor has no units for bfloat16"),
        ("auto", "cuda", True, "bf16-mixed", "this GPU has units for bfloat16"),
        ("auto", "cuda", False, "32-true", "this GPU has no units for bfloat16"),
        ("16-mixed", "cpu", True, "32-true", "16-mixed needs a CUDA GPU"),
        ("16-mixed", "cuda", False, "16-mixed", ""),
        ("bf16-mixed", "cpu", False, "bf16-mixed", "emulates it, slowly"),
        ("bf16-mixed", "cpu", True, "bf16-mixed", ""),
        ("32-true", "cpu", True, "32-true", ""),
    ],
)
def test_choice(monkeypatch, wanted, device, native, chosen, why):
    monkeypatch.setattr(precision, "bf16_is_native", lambda device: native)
    found, line = choose_precision(wanted, device)
    assert found == chosen and line.endswith(why) and bool(line) == bool(why)


def test_another_word_is_refused():
    with pytest.raises(FitHubertError, match="expected precision auto, 32-true, bf16-mixed, 16-mixed, found fp8"):
        choose_precision("fp8", "cpu")


@pytest.mark.parametrize(
    ("limit", "native"), [("", True), ("ALL", True), ("AVX512_CORE_AMX", True), ("AVX512_CORE", False), ("avx2", False)]
)
def test_units_that_onednn_may_not_use_do_not_count(monkeypatch, limit, native):
    monkeypatch.setattr(precision.platform, "machine", lambda: "x86_64")
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: True)
    monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", limit)
    assert bf16_is_native("cpu") is native

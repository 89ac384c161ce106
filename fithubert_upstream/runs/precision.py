"""Which precision suits a machine."""

import os
import platform

import torch

from ..errors import FitHubertError

TRAINING_PRECISIONS = ("auto", "32-true", "bf16-mixed", "16-mixed")
# What oneDNN may be told to do without, in ONEDNN_MAX_CPU_ISA: with these it has no units for bfloat16.
_ISA_WITHOUT_BF16 = ("SSE41", "AVX", "AVX2", "AVX2_VNNI", "AVX512_CORE", "AVX512_CORE_VNNI")


def bf16_is_native(device: str) -> bool:
    """Whether a "cpu" or "cuda" here has units for products of bfloat16; without them they are emulated, and slow."""
    if device == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    if platform.machine().lower() in ("x86_64", "amd64"):
        limit = os.environ.get("ONEDNN_MAX_CPU_ISA", "").upper()
        units = torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
        return units and limit not in _ISA_WITHOUT_BF16
    return torch.ops.mkldnn._is_mkldnn_bf16_supported()


def choose_precision(wanted: str, device: str) -> tuple[str, str]:
    """The precision that training runs in on a "cpu" or "cuda", and a line that says why; "" where none is needed.

    `auto` is bf16-mixed where the device has units for bfloat16, else 32-true. `16-mixed` needs a GPU and is 32-true
    on a CPU, as in the authors' code.

    Raises
    ------
    FitHubertError
        It is none of `TRAINING_PRECISIONS`.
    """
    if wanted not in TRAINING_PRECISIONS:
        raise FitHubertError(f"expected precision {', '.join(TRAINING_PRECISIONS)}, found {wanted}")
    name = "GPU" if device == "cuda" else "processor"
    if wanted == "auto":
        if bf16_is_native(device):
            return "bf16-mixed", f"precision bf16-mixed (auto): this {name} has units for bfloat16"
        return "32-true", f"precision 32-true (auto): this {name} has no units for bfloat16"
    if wanted == "16-mixed" and device == "cpu":
        return "32-true", "precision 32-true: 16-mixed needs a CUDA GPU"
    if wanted == "bf16-mixed" and not bf16_is_native(device):
        return wanted, f"precision bf16-mixed: this {name} has no units for bfloat16 and emulates it, slowly"
    return wanted, ""

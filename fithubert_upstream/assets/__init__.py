"""The pretrained models inside the package: a small HuBERT, its FitHuBERT, and that one fine-tuned for keywords and
speakers, which is also here as ONNX. README.md here is their card."""

from pathlib import Path

from ..errors import FitHubertError

NAMES = ("fithubert_mini", "hubert_mini")  # the upstreams
JOINT = "joint_mini"  # what `listen` hears with
JOINT_ONNX = Path(__file__).parent / f"{JOINT}.onnx"  # the same in 8 bits, for systems without torch


def find(name: str) -> Path:
    """The `.safetensors` of an embedded model. Raises FitHubertError for a name that no model has."""
    if name not in (*NAMES, JOINT):
        raise FitHubertError(f"expected an embedded model ({', '.join((*NAMES, JOINT))}), found {name!r}")
    return Path(__file__).parent / f"{name}.safetensors"

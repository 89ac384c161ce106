"""The pretrained pair inside the package: a small HuBERT and its FitHuBERT; README.md here is their card."""

from pathlib import Path

from ..errors import FitHubertError

NAMES = ("fithubert_mini", "hubert_mini")


def find(name: str) -> Path:
    """The `.safetensors` of an embedded model. Raises FitHubertError for a name that is none of NAMES."""
    if name not in NAMES:
        raise FitHubertError(f"expected an embedded model ({', '.join(NAMES)}), found {name!r}")
    return Path(__file__).parent / f"{name}.safetensors"

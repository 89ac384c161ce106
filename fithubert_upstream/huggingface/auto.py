"""FitHuBERT's place among transformers' Auto classes. `hook` calls the functions once transformers are imported."""

import importlib
from typing import Any

from ..errors import from_extra

MODELS = {
    "AutoModel": "FitHubertModel",
    "AutoModelForCTC": "FitHubertForCTC",
    "AutoModelForAudioClassification": "FitHubertForSequenceClassification",
}


def register_config() -> None:
    from transformers.models.auto.configuration_auto import AutoConfig

    config = _config()
    AutoConfig.register(config.model_type, config, exist_ok=True)


def register_models() -> None:
    from transformers.models.auto import modeling_auto

    from . import modeling

    for auto, name in MODELS.items():
        getattr(modeling_auto, auto).register(_config(), getattr(modeling, name), exist_ok=True)


def register_feature_extractor() -> None:
    from transformers import Wav2Vec2FeatureExtractor
    from transformers.models.auto.feature_extraction_auto import AutoFeatureExtractor

    AutoFeatureExtractor.register(_config(), Wav2Vec2FeatureExtractor, exist_ok=True)


def _config() -> Any:
    from .configuration import FitHubertModelConfig
    from .single_file import write_code

    FitHubertModelConfig._write_code = staticmethod(write_code)
    return FitHubertModelConfig


def __getattr__(name: str) -> Any:
    """`FitHubertModel` and its kin, once transformers know them."""
    if name not in ("FitHubertModelConfig", *MODELS.values()):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    with from_extra("hf", name):
        importlib.import_module("transformers.models.auto.modeling_auto")  # which registers
    _config()
    home = ".configuration" if name == "FitHubertModelConfig" else ".modeling"
    return getattr(importlib.import_module(home, __package__), name)

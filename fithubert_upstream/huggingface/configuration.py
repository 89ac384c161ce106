"""The config of `FitHubertModel` in transformers: the student's own, and that of the heads on it."""

import dataclasses
import os
from typing import Any

from transformers import PretrainedConfig

from ..errors import expect
from ..models.config import FitHubertConfig
from ..models.lengths import FRAME_RATE

MODEL_TYPE = "fithubert"
CODE_FILE = "modeling_fithubert.py"
# Which class of `CODE_FILE` an Auto class loads.
AUTO_MAP = {
    auto: f"{CODE_FILE.removesuffix('.py')}.{name}"
    for auto, name in {
        "AutoConfig": "FitHubertModelConfig",
        "AutoModel": "FitHubertModel",
        "AutoModelForCTC": "FitHubertForCTC",
        "AutoModelForAudioClassification": "FitHubertForSequenceClassification",
    }.items()
}
# A student's options -> what transformers call them. Others keep their names.
NAMES = {
    "num_layers": "num_hidden_layers",
    "num_heads": "num_attention_heads",
    "ffn_dim": "intermediate_size",
    "pos_conv_kernel": "num_conv_pos_embeddings",
    "pos_conv_groups": "num_conv_pos_embedding_groups",
    "dropout": "hidden_dropout",
    "dropout_input": "feat_proj_dropout",
    "head_dim": "prediction_dim",  # transformers' head_dim is one of attention
}
# What HuBERT has and this model has not; only 0 is taken.
ABSENT = ("mask_time_prob", "mask_feature_prob", "layerdrop")


class FitHubertModelConfig(PretrainedConfig):
    """Config of `FitHubertModel` and its heads.

    It has every field of `FitHubertConfig`, under HuBERT's name where HuBERT has it too (`NAMES`), such as
    `num_hidden_layers`, `num_attention_heads`, `intermediate_size`, `hidden_dropout`.

    Parameters
    ----------
    vocab_size, pad_token_id, ctc_loss_reduction, ctc_zero_infinity
        Of `FitHubertForCTC`, as in `HubertConfig`; the padding token is CTC's blank.
    final_dropout : float
        Before the head of `FitHubertForCTC`.
    use_weighted_layer_sum, classifier_proj_size
        Of `FitHubertForSequenceClassification`, as in `HubertConfig`.
    mask_time_prob, mask_feature_prob, layerdrop : float
        0: this model has no SpecAugment of its own and drops no layers.
    **kwargs
        The student's fields (default: the published FitHuBERT) and of transformers' `PretrainedConfig`.

    Raises
    ------
    FitHubertError
        The fields make no student.
    """

    model_type = MODEL_TYPE
    _write_code = None  # a function of the folder, where the code is more than one file; no field, so no annotation

    def __init__(
        self,
        vocab_size=32,
        pad_token_id=0,
        ctc_loss_reduction="sum",
        ctc_zero_infinity=False,
        final_dropout=0.1,
        use_weighted_layer_sum=False,
        classifier_proj_size=256,
        mask_time_prob=0.0,
        mask_feature_prob=0.0,
        layerdrop=0.0,
        **kwargs,
    ):
        given = {ours: kwargs.pop(name) for ours, name in _fields().items() if name in kwargs}
        for ours, value in FitHubertConfig.from_dict(given, "config.json").to_dict().items():
            setattr(self, _fields()[ours], value)
        self.vocab_size = vocab_size
        self.ctc_loss_reduction = ctc_loss_reduction
        self.ctc_zero_infinity = ctc_zero_infinity
        self.final_dropout = final_dropout
        self.use_weighted_layer_sum = use_weighted_layer_sum
        self.classifier_proj_size = classifier_proj_size
        self.mask_time_prob = mask_time_prob
        self.mask_feature_prob = mask_feature_prob
        self.layerdrop = layerdrop
        super().__init__(pad_token_id=pad_token_id, **kwargs)

    def student(self) -> FitHubertConfig:
        """The student's own config. Raises FitHubertError where the fields make none."""
        for name in ABSENT:
            expect(getattr(self, name) == 0, f"{name} 0: FitHubertModel has none", getattr(self, name))
        return FitHubertConfig.from_dict({ours: getattr(self, name) for ours, name in _fields().items()}, "config.json")

    @classmethod
    def of(cls, student: FitHubertConfig) -> "FitHubertModelConfig":
        """The config of a student."""
        return cls(**{NAMES.get(ours, ours): value for ours, value in student.to_dict().items()})

    @property
    def hidden_size(self) -> int:
        """Width of `last_hidden_state`."""
        config = self.student()
        return config.head_dim if config.head_layers else config.state_dim

    @property
    def inputs_to_logits_ratio(self) -> int:
        """Samples to a frame."""
        return FRAME_RATE

    @classmethod
    def from_dict(cls, config_dict: dict[str, Any], **kwargs):
        """As in transformers, which would take another model's folder with a warning.

        Raises FitHubertError for one.
        """
        found = config_dict.get("model_type", MODEL_TYPE)
        expect(found == MODEL_TYPE, f"config.json with model_type {MODEL_TYPE}", f"{found}; load it with AutoModel")
        return super().from_dict(config_dict, **kwargs)

    def save_pretrained(self, save_directory, push_to_hub: bool = False, **kwargs):
        """As in transformers; beside config.json lies the code, so that the folder loads without this package."""
        if self._write_code is not None:
            self.auto_map = dict(AUTO_MAP)
            os.makedirs(save_directory, exist_ok=True)
            self._write_code(save_directory)
        super().save_pretrained(save_directory, push_to_hub=push_to_hub, **kwargs)


def _fields() -> dict[str, str]:
    """Field of `FitHubertConfig` -> its name here."""
    return {field.name: NAMES.get(field.name, field.name) for field in dataclasses.fields(FitHubertConfig)}

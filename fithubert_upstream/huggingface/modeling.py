"""FitHuBERT for transformers: the model, and the model with a head for CTC or for classification.

Names and arguments are those of transformers' HuBERT.
"""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import PreTrainedModel
from transformers.modeling_outputs import BaseModelOutput, CausalLMOutput, SequenceClassifierOutput

from ..errors import FitHubertError, expect
from ..models.attention import RelativePositionAttention
from ..models.feature_extractor import ConvFeatureExtractor
from ..models.layers import FrameUpsample, PositionalConv, TimeReduction
from ..models.lengths import conv_frames, valid_mask
from .configuration import FitHubertModelConfig
from .student import Student


class FitHubertPreTrainedModel(PreTrainedModel):
    """What the models share: loading, saving, initialisation, frame counts."""

    config_class = FitHubertModelConfig
    base_model_prefix = "fithubert"
    main_input_name = "input_values"
    supports_gradient_checkpointing = False
    _no_split_modules = ["Student"]  # it reads weights of its parts, which must all be on one device
    _supports_sdpa = True

    def _init_weights(self, module: nn.Module) -> None:
        """New weights for what a checkpoint lacks, as those of a new student."""
        if isinstance(module, nn.Conv1d):
            nn.init.kaiming_normal_(module.weight)
        elif isinstance(module, nn.Linear | nn.Embedding):
            nn.init.normal_(module.weight, std=0.02)
        elif isinstance(module, nn.LayerNorm | nn.GroupNorm):
            nn.init.ones_(module.weight)
        elif isinstance(module, PositionalConv):
            nn.init.normal_(module.weight_v, std=math.sqrt(4 / (module.weight_v.size(2) * len(module.weight_v))))
            if not getattr(module.weight_g, "_is_hf_initialized", False):
                with torch.no_grad():
                    module.weight_g.copy_(module._norm())
        elif isinstance(module, TimeReduction | FrameUpsample):
            bound = 1 / math.sqrt(module.weight.size(1) * module.weight.size(2))
            nn.init.uniform_(module.weight, -bound, bound)
        elif isinstance(module, RelativePositionAttention):
            nn.init.ones_(module.gate_scale)
        elif isinstance(module, Student) and module.feature_scale is not None:
            nn.init.ones_(module.feature_scale)
        elif isinstance(getattr(module, "layer_weights", None), nn.Parameter):
            nn.init.zeros_(module.layer_weights)
        if isinstance(getattr(module, "bias", None), nn.Parameter):
            nn.init.zeros_(module.bias)

    def get_input_embeddings(self) -> None:
        """There are none; peft asks when it saves."""
        return None

    def get_output_embeddings(self) -> None:
        """The same: `lm_head` is tied to nothing."""
        return None

    def freeze_feature_encoder(self) -> None:
        """Train nothing of the convolutions on the waveform."""
        for module in self.modules():
            if isinstance(module, ConvFeatureExtractor):
                module.requires_grad_(False)

    def freeze_base_model(self) -> None:
        """Train the head only."""
        self.base_model.requires_grad_(False)

    def _get_feat_extract_output_lengths(self, input_lengths: Tensor | int) -> Tensor | int:
        """Samples -> frames of 20 ms, at least one."""
        frames = conv_frames(input_lengths, self.config.conv_layers)
        return frames.clamp(min=1) if isinstance(frames, Tensor) else max(frames, 1)

    def _get_feature_vector_attention_mask(self, feature_vector_length: int, attention_mask: Tensor) -> Tensor:
        """(B, T) mask of samples -> (B, L) booleans, True where a frame belongs to the utterance."""
        frames = self._get_feat_extract_output_lengths(attention_mask.sum(-1))
        return valid_mask(frames, feature_vector_length, attention_mask.device)


class FitHubertModel(FitHubertPreTrainedModel):
    """FitHuBERT, or a model of its family, as transformers have HuBERT.

    `from_pretrained` takes a folder of `fithubert export-hf` or a name on the Hub.
    """

    def __init__(self, config: FitHubertModelConfig):
        super().__init__(config)
        self.student = Student(config.student())
        self.post_init()

    def forward(
        self,
        input_values: Tensor,
        attention_mask: Tensor | None = None,
        output_attentions: bool | None = None,
        output_hidden_states: bool | None = None,
        return_dict: bool | None = None,
    ) -> BaseModelOutput | tuple[Tensor, ...]:
        """Features of a batch; an utterance's are the same alone and in any batch.

        Parameters
        ----------
        input_values : Tensor
            (B, T) float, 16 kHz, padded on the right.
        attention_mask : Tensor, optional
            (B, T), 1 for an utterance's own samples. Without it nothing is padding.
        output_hidden_states : bool, optional
            Whether to return them too. Default: the config's.
        return_dict : bool, optional
            False: a tuple.

        Returns
        -------
        BaseModelOutput
            `last_hidden_state` (B, L, D) and, if asked for, `hidden_states`, a tuple of (B, L, W); one frame every
            20 ms, zero past each utterance's end. They are what `UpstreamExpert` gives.

        Raises
        ------
        FitHubertError
            The shape or the mask is another, attentions are asked for, LoRA was put on a convolution, or weights are
            offloaded.
        """
        if output_attentions or (output_attentions is None and self.config.output_attentions):
            raise FitHubertError("expected output_attentions False, found True: FitHubertModel keeps no attention maps")
        for conv in self.student.feature_extractor.convs:
            expect(
                type(conv) is nn.Conv1d,
                "plain convolutions in the feature extractor",
                f"{type(conv).__name__}; leave them out of peft's target_modules",
            )
            expect(
                not conv.weight.is_meta,
                "weights on a device",
                "offloaded ones; give a device_map without offloading to the CPU or disk",
            )
        if output_hidden_states is None:
            output_hidden_states = self.config.output_hidden_states
        lengths = lengths_of(input_values, attention_mask)
        last, states = self.student(input_values, lengths, bool(output_hidden_states))
        output = BaseModelOutput(last_hidden_state=last, hidden_states=states)
        return output if _named(self, return_dict) else output.to_tuple()


class FitHubertForCTC(FitHubertPreTrainedModel):
    """FitHuBERT with a linear layer for CTC (Graves et al., 2006) on `last_hidden_state`."""

    def __init__(self, config: FitHubertModelConfig):
        super().__init__(config)
        self.fithubert = FitHubertModel(config)
        self.dropout = nn.Dropout(config.final_dropout)
        self.lm_head = nn.Linear(config.hidden_size, config.vocab_size)
        self.post_init()

    def forward(
        self,
        input_values: Tensor,
        attention_mask: Tensor | None = None,
        output_attentions: bool | None = None,
        output_hidden_states: bool | None = None,
        return_dict: bool | None = None,
        labels: Tensor | None = None,
    ) -> CausalLMOutput | tuple[Tensor, ...]:
        """Logits (B, L, vocab_size), and the loss of `labels`.

        Parameters
        ----------
        labels : Tensor, optional
            (B, S), below `vocab_size`; -100 behind each utterance's end.
        **others
            As `FitHubertModel.forward`.

        Raises
        ------
        FitHubertError
            A label is not below `vocab_size`, or what `FitHubertModel.forward` says.
        """
        config = self.config
        if labels is not None:
            highest = int(labels.max())
            expect(highest < config.vocab_size, f"labels below vocab_size {config.vocab_size}", highest)
        features = self.fithubert(input_values, attention_mask, output_attentions, output_hidden_states, True)
        logits = self.lm_head(self.dropout(features.last_hidden_state))
        loss = None
        if labels is not None:
            frames = self._get_feat_extract_output_lengths(lengths_of(input_values, attention_mask))
            given = labels >= 0
            probabilities = F.log_softmax(logits, dim=-1, dtype=torch.float32).transpose(0, 1)  # (L, B, V)
            with torch.backends.cudnn.flags(enabled=False):
                loss = F.ctc_loss(
                    probabilities,
                    labels.masked_select(given),
                    frames,
                    given.sum(-1).cpu(),
                    blank=config.pad_token_id,
                    reduction=config.ctc_loss_reduction,
                    zero_infinity=config.ctc_zero_infinity,
                )
        output = CausalLMOutput(loss=loss, logits=logits, hidden_states=features.hidden_states)
        return output if _named(self, return_dict) else output.to_tuple()


class FitHubertForSequenceClassification(FitHubertPreTrainedModel):
    """FitHuBERT with a class for each utterance: a linear layer, the mean over frames, a linear layer.

    With `config.use_weighted_layer_sum` the first sees a learned sum of the hidden states, as SUPERB's tasks do;
    otherwise it sees `last_hidden_state`.
    """

    def __init__(self, config: FitHubertModelConfig):
        super().__init__(config)
        self.fithubert = FitHubertModel(config)
        student = config.student()
        if config.use_weighted_layer_sum:
            self.layer_weights = nn.Parameter(torch.zeros(student.num_states))  # equal weights
        width = student.state_dim if config.use_weighted_layer_sum else config.hidden_size
        self.projector = nn.Linear(width, config.classifier_proj_size)
        self.classifier = nn.Linear(config.classifier_proj_size, config.num_labels)
        self.post_init()

    def forward(
        self,
        input_values: Tensor,
        attention_mask: Tensor | None = None,
        output_attentions: bool | None = None,
        output_hidden_states: bool | None = None,
        return_dict: bool | None = None,
        labels: Tensor | None = None,
    ) -> SequenceClassifierOutput | tuple[Tensor, ...]:
        """Logits (B, num_labels), and the cross-entropy with `labels` (B,).

        The other parameters, and what is raised, are those of `FitHubertModel.forward`.
        """
        weighted = self.config.use_weighted_layer_sum
        if output_hidden_states is None:
            output_hidden_states = self.config.output_hidden_states
        features = self.fithubert(
            input_values, attention_mask, output_attentions, output_hidden_states or weighted, True
        )
        x = features.last_hidden_state
        if weighted:
            weights = self.layer_weights.softmax(0)
            x = sum(weight * state for weight, state in zip(weights, features.hidden_states, strict=True))
        x = self.projector(x)  # (B, L, W)
        if attention_mask is None:
            pooled = x.mean(1)
        else:
            valid = self._get_feature_vector_attention_mask(x.size(1), attention_mask)[:, :, None]  # (B, L, 1)
            pooled = (x * valid).sum(1) / valid.sum(1)
        logits = self.classifier(pooled)
        loss = None if labels is None else F.cross_entropy(logits.float(), labels.flatten())
        output = SequenceClassifierOutput(
            loss=loss, logits=logits, hidden_states=features.hidden_states if output_hidden_states else None
        )
        return output if _named(self, return_dict) else output.to_tuple()


@torch.compiler.disable
def lengths_of(input_values: Tensor, attention_mask: Tensor | None) -> Tensor:
    """(B,) samples of each utterance, on the CPU.

    Raises FitHubertError unless these are (B, T) floats and a mask of the same shape, padded on the right.
    """
    expect(
        input_values.dim() == 2 and input_values.size(1) > 0,
        "input_values (B, T) of at least one sample",
        f"shape {tuple(input_values.shape)}",
    )
    expect(input_values.is_floating_point(), "input_values of floats in [-1, 1]", input_values.dtype)
    if attention_mask is None:
        return torch.full((len(input_values),), input_values.size(1))
    expect(
        attention_mask.shape == input_values.shape,
        f"an attention_mask of input_values' shape {tuple(input_values.shape)}",
        tuple(attention_mask.shape),
    )
    lengths = attention_mask.sum(1).long().cpu()
    expect(int(lengths.min()) > 0, "an attention_mask with at least one 1 in each row", "a row without")
    whole = bool((attention_mask.bool() == valid_mask(lengths, input_values.size(1), attention_mask.device)).all())
    expect(whole, "an attention_mask of ones, then zeros (padding_side right)", "zeros before ones")
    return lengths


def _named(model: PreTrainedModel, return_dict: bool | None) -> bool:
    return model.config.return_dict if return_dict is None else return_dict

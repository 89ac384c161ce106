"""The straightforward distillation that `fithubert benchmark train` compares with: the authors' loop, plainly written.

Batches of 3 utterances, padded to the longest with a mask; the teacher is transformers' HubertModel as it is and gives
all its hidden states; the student is made of the modules that the paper names, around transformers' encoder
layers; the loss averages over padded frames too; float32, or float16 autocast with a scaler on CUDA; plain AdamW.
"""

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import torch
from torch import Tensor, nn

from ..checkpoints.hubert import from_state
from ..compat.torchaudio import mend_torchaudio_import
from ..distillation.optimizer import OptimizerConfig, build_optimizer
from ..errors import from_extra
from ..models.config import FitHubertConfig
from ..models.lengths import FIRST_FRAME, FRAME_RATE
from ..models.whisper import SHIFT

# HuBERT Base, which is transformers' default, and hubert_mini's shape.
TEACHERS = {
    "base": {},
    "mini": {
        "conv_dim": (32, 48, 64, 96, 96, 128, 192),
        "hidden_size": 256,
        "num_hidden_layers": 6,
        "num_attention_heads": 4,
        "intermediate_size": 1024,
        "num_conv_pos_embeddings": 64,
    },
}


def plain_teacher(size: str) -> nn.Module:
    """transformers' HubertModel of that size, or its Whisper base, with random weights."""
    if size == "whisper":
        return PlainWhisper()
    mend_torchaudio_import()
    with from_extra("distill", "a model of HuBERT's shape"):
        from transformers import HubertConfig, HubertModel

    return HubertModel(HubertConfig(**TEACHERS[size]))


class PlainWhisper(nn.Module):
    """transformers' Whisper base as it is commonly run, on windows of 30 s, with HubertModel's interface."""

    def __init__(self) -> None:
        super().__init__()
        mend_torchaudio_import()
        with from_extra("distill", "a model of Whisper's shape"):
            from transformers import WhisperConfig, WhisperFeatureExtractor, WhisperModel

        size = {"d_model": 512, "encoder_layers": 6, "encoder_attention_heads": 8, "encoder_ffn_dim": 2048}
        special = dict.fromkeys(("pad_token_id", "bos_token_id", "eos_token_id", "decoder_start_token_id"), 1)
        decoder = {"decoder_layers": 1, "decoder_attention_heads": 8, "vocab_size": 8}
        self.model = WhisperModel(WhisperConfig(**size, **decoder, **special))
        self.extractor = WhisperFeatureExtractor()

    def save_pretrained(self, folder: Path) -> None:
        self.model.save_pretrained(folder)

    def forward(self, waveforms: Tensor, attention_mask: Tensor, output_hidden_states: bool) -> SimpleNamespace:
        """(B, T) -> `hidden_states` of (B, L, 512) with HuBERT's frames, each frame normalised."""
        frames = (waveforms.size(1) - FIRST_FRAME) // FRAME_RATE + 1
        wavs = list((waveforms * attention_mask)[:, SHIFT:].cpu().numpy())
        mels = self.extractor(wavs, sampling_rate=16_000, return_tensors="pt").input_features  # (B, 80, 3000)
        states = self.model.encoder(mels.to(waveforms.device), output_hidden_states=output_hidden_states).hidden_states
        return SimpleNamespace(hidden_states=[nn.functional.layer_norm(x[:, :frames], x.shape[-1:]) for x in states])


class PlainStudent(nn.Module):
    """FitHuBERT from stock modules: transformers' HuBERT with a strided Conv1d before its layers and heads behind."""

    def __init__(self, config: FitHubertConfig):
        super().__init__()
        mend_torchaudio_import()
        with from_extra("distill", "a model of HuBERT's shape"):
            from transformers import HubertConfig, HubertModel

        channels, kernels, strides = zip(*config.conv_layers, strict=True)
        self.config = config
        self.hubert = HubertModel(
            HubertConfig(
                conv_dim=channels,
                conv_kernel=kernels,
                conv_stride=strides,
                num_feat_extract_layers=len(channels),
                hidden_size=config.embed_dim,
                num_hidden_layers=config.num_layers,
                num_attention_heads=config.num_heads,
                intermediate_size=config.ffn_dim,
                num_conv_pos_embeddings=config.pos_conv_kernel,
                num_conv_pos_embedding_groups=config.pos_conv_groups,
                feat_proj_dropout=config.dropout_input,
                hidden_dropout=config.dropout,
                attention_dropout=config.attention_dropout,
                activation_dropout=config.activation_dropout,
                layerdrop=0.0,
                mask_time_prob=0.0,
            )
        )
        dim, rate = config.embed_dim, config.time_reduction
        self.reduction = nn.Conv1d(dim, dim, rate, rate)
        self.upsamplers = nn.ModuleList(nn.ConvTranspose1d(dim, dim, rate, rate) for _ in config.head_layers)
        self.projections = nn.ModuleList(nn.Linear(dim, config.head_dim) for _ in config.head_layers)

    def forward(self, waveforms: Tensor, mask: Tensor) -> list[Tensor]:
        """waveforms (B, T), mask (B, T) with 1 where valid -> heads of (B, 2 (L // 2), head_dim)."""
        hubert, rate = self.hubert, self.config.time_reduction
        x = hubert.feature_extractor(waveforms).transpose(1, 2)  # (B, L, C)
        valid = hubert._get_feature_vector_attention_mask(x.size(1), mask)  # (B, L)
        x = hubert.feature_projection(x) * valid[:, :, None]
        x = hubert.encoder.dropout(hubert.encoder.layer_norm(x + hubert.encoder.pos_conv_embed(x)))  # (B, L, D)
        x = self.reduction(x.transpose(1, 2)).transpose(1, 2)  # (B, M, D)
        key_mask = valid[:, rate - 1 :: rate][:, None, None, : x.size(1)].bool()  # (B, 1, 1, M)
        layers = []
        for layer in hubert.encoder.layers:
            x = layer(x, attention_mask=key_mask)
            layers.append(x)
        heads = zip(self.config.head_layers, self.upsamplers, self.projections, strict=True)
        return [
            projection(upsampler(layers[number - 1].transpose(1, 2)).transpose(1, 2))
            for number, upsampler, projection in heads
        ]

    def weights(self) -> dict[str, Tensor]:
        """The same weights under the names of our `FitHubert`."""
        encoder = from_state(self.hubert.state_dict(), self.hubert.config.to_dict(), "plain student").model
        weights = dict(encoder.state_dict())
        weights |= {f"time_reduction.{name}": tensor for name, tensor in self.reduction.state_dict().items()}
        for kind, modules in (("upsample", self.upsamplers), ("linear", self.projections)):
            for layer, module in zip(self.config.head_layers, modules, strict=True):
                weights |= {f"heads.{layer}.{kind}.{name}": tensor for name, tensor in module.state_dict().items()}
        return weights


class PlainDistillation:
    """Teacher, student and optimizer, and one update of them."""

    def __init__(
        self,
        teacher: nn.Module,
        student: PlainStudent,
        hint_weight: float,
        config: OptimizerConfig,
        device: torch.device,
        teacher_layers: tuple[int, ...] | None = None,
    ):
        self.teacher_layers = teacher_layers or student.config.head_layers
        self.teacher = teacher.to(device).eval().requires_grad_(False)
        self.student = student.to(device).train()
        self.hint_weight = hint_weight
        self.device = device
        self.optimizer = build_optimizer(self.student, config)
        self.on_cuda = device.type == "cuda"
        self.scaler = torch.amp.GradScaler(device.type, enabled=self.on_cuda)

    def loss(self, waveforms: Tensor, lengths: Tensor, done: Callable[[str], None] = lambda part: None) -> Tensor:
        """The hint loss of a padded batch; `done` is told when the teacher and the student are."""
        waveforms = waveforms.to(self.device)
        mask = (torch.arange(waveforms.size(1)) < lengths[:, None]).long().to(self.device)  # (B, T)
        with torch.autocast(self.device.type, torch.float16, enabled=self.on_cuda):
            with torch.no_grad():
                states = self.teacher(waveforms, attention_mask=mask, output_hidden_states=True).hidden_states
            done("teacher")
            outputs = self.student(waveforms, mask)
            losses = [
                nn.functional.mse_loss(output, states[layer][:, : output.size(1)])
                for output, layer in zip(outputs, self.teacher_layers, strict=True)
            ]
            return losses[-1] + self.hint_weight * sum(losses[:-1])

    def update(self, waveforms: Tensor, lengths: Tensor, done: Callable[[str], None] = lambda part: None) -> Tensor:
        """One step on a padded batch; `done` is told when each part of it is."""
        loss = self.loss(waveforms, lengths, done)
        done("student")
        self.scaler.scale(loss).backward()
        done("backward")
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self.optimizer.zero_grad()
        done("optimizer")
        return loss.detach()

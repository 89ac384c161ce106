"""Frozen teachers. Layer l, counted from 1, is the output of the teacher's l-th transformer layer."""

from pathlib import Path

import torch
from torch import Tensor, nn

from .config import TeacherConfig
from .errors import FitHubertError
from .lengths import SAMPLE_RATE

# What the student's own frame count is made to match: HuBERT's convolutions.
TEACHER_FRAMES_IN_A_SECOND = 49


class Teacher(nn.Module):
    """A frozen speech model: (B, T) waveforms without padding -> its N layers, each (B, L, D).

    It stays in eval mode whatever its owner is told: its dropout would be noise in the targets.
    """

    def __init__(self) -> None:
        super().__init__()
        self.name = ""
        self.num_layers = 0
        self.width = 0

    def layers(self, waveforms: Tensor) -> list[Tensor]:
        raise NotImplementedError

    @torch.no_grad()
    def forward(self, waveforms: Tensor, lengths: Tensor | None = None) -> list[Tensor]:
        """N layers, each (B, L, D). Padded utterances go through one by one: HuBERT's first norm takes its
        statistics over the padding too, so a padded batch would give other targets."""
        if lengths is None or bool((lengths == waveforms.size(1)).all()):
            return self.layers(waveforms)
        singles = [self.layers(wav[None, :n]) for wav, n in zip(waveforms, lengths.tolist(), strict=True)]
        return [
            nn.utils.rnn.pad_sequence([layer[0] for layer in layers], batch_first=True)
            for layers in zip(*singles, strict=True)
        ]

    def train(self, mode: bool = True) -> "Teacher":
        return super().train(False)

    def _freeze(self, name: str) -> "Teacher":
        self.requires_grad_(False).eval()
        layers = self(torch.randn(1, SAMPLE_RATE))
        self.name, self.num_layers, self.width = name, len(layers), layers[-1].size(2)
        frames = {layer.size(1) for layer in layers}
        if frames != {TEACHER_FRAMES_IN_A_SECOND} or {layer.size(2) for layer in layers} != {self.width}:
            shapes = sorted({tuple(layer.shape[1:]) for layer in layers})
            raise FitHubertError(
                f"teacher {name}: expected layers of {TEACHER_FRAMES_IN_A_SECOND} frames for one second and one "
                f"width, as HuBERT and wav2vec 2.0 give, found (frames, width) {shapes}"
            )
        return self


class TransformersTeacher(Teacher):
    """HuBERT, wav2vec 2.0 or WavLM from a transformers directory or hub id."""

    TYPES = ("hubert", "wav2vec2", "wavlm")

    def __init__(self, model: str):
        super().__init__()
        from . import torchaudio_compat

        torchaudio_compat.mend_torchaudio_import()  # transformers imports torchaudio where it finds one
        from transformers import AutoConfig, AutoModel

        try:
            config = AutoConfig.from_pretrained(model)
            if config.model_type not in self.TYPES:
                raise FitHubertError(
                    f"teacher {model}: expected a model of type {', '.join(self.TYPES)}, found {config.model_type}"
                )
            self.model = AutoModel.from_pretrained(model)
        except FitHubertError:
            raise
        except (OSError, ValueError) as error:
            raise FitHubertError(
                f"teacher {model}: expected a transformers directory or a hub id, found: {str(error).splitlines()[0]}"
            ) from error
        self._freeze(model)

    def layers(self, waveforms: Tensor) -> list[Tensor]:
        return list(self.model(waveforms, output_hidden_states=True).hidden_states[1:])


class S3prlTeacher(Teacher):
    """Any upstream on `s3prl.hub` whose hidden_states are a transformer's input and layers, as hubert_base."""

    def __init__(self, model: str, ckpt: str | None):
        super().__init__()
        from .hubconf import register

        register()
        from s3prl import hub

        if not hasattr(hub, model):
            raise FitHubertError(f"teacher {model}: expected a name on s3prl.hub such as hubert_base, found no such")
        if ckpt is not None and not Path(ckpt).is_file():
            raise FitHubertError(f"teacher {model}: expected a checkpoint at {ckpt}, found none")
        self.upstream = getattr(hub, model)(**({} if ckpt is None else {"ckpt": ckpt}))
        self._freeze(model)

    def layers(self, waveforms: Tensor) -> list[Tensor]:
        states = self.upstream(list(waveforms)).get("hidden_states", [])
        if len(states) < 2:
            raise FitHubertError(f"teacher: expected hidden_states of several layers, found {len(states)}")
        return list(states[1:])


def load_teacher(config: TeacherConfig) -> Teacher:
    """The teacher a config names, frozen, in eval mode, on the CPU."""
    if config.source == "s3prl":
        return S3prlTeacher(config.model, config.ckpt)
    return TransformersTeacher(config.model)

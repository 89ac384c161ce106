"""What a teacher is; and HuBERT or wav2vec 2.0 as one."""

import torch
from torch import Tensor, nn

from ..audio import SAMPLE_RATE
from ..errors import FitHubertError
from ..models.fithubert import Encoded, FitHubert
from ..models.layers import hide
from ..models.lengths import valid_mask

TEACHER_FRAMES_IN_A_SECOND = 49  # what the student's own frame count is made to match: HuBERT's convolutions


class Teacher(nn.Module):
    """A frozen speech model: (B, T) waveforms -> its N layers, each (B, L, D).

    Always in eval mode, even when the parent module is set to train: dropout would add noise to the targets.
    """

    pooled = False  # whether its layers are one frame each, of a whole utterance

    def __init__(self) -> None:
        super().__init__()
        self.name = ""
        self.num_layers = 0
        self.width = 0

    def layers(self, waveforms: Tensor, depth: int | None) -> list[Tensor]:
        """(B, T) waveforms of which nothing is padding -> the first `depth` layers or more, each (B, L, D)."""
        raise NotImplementedError

    @torch.no_grad()
    def forward(self, waveforms: Tensor, lengths: Tensor | None = None, depth: int | None = None) -> list[Tensor]:
        """The targets of a batch.

        Parameters
        ----------
        waveforms : (B, T) float, 16 kHz, padded on the right.
        lengths : (B,) samples of each utterance; None when nothing is padded.
        depth : layers wanted; None for all. A model that can stops there.

        Returns
        -------
        `depth` layers, each (B, L, D), zero past each utterance's end.
        """
        if lengths is None or bool((lengths == waveforms.size(1)).all()):
            return self.layers(waveforms, depth)[:depth]
        # The first norm takes its statistics over the padding too: a padded batch would give other targets.
        singles = [
            self.layers(wav[None, :n], depth)[:depth] for wav, n in zip(waveforms, lengths.tolist(), strict=True)
        ]
        return [
            nn.utils.rnn.pad_sequence([layer[0] for layer in layers], batch_first=True)
            for layers in zip(*singles, strict=True)
        ]

    def train(self, mode: bool = True) -> "Teacher":
        return super().train(False)

    def _freeze(self, name: str) -> None:
        self.name = name
        self.requires_grad_(False).eval()
        layers = self(torch.zeros(1, SAMPLE_RATE))
        self.num_layers, self.width = len(layers), layers[-1].size(2)
        frames = {layer.size(1) for layer in layers}
        if frames != {TEACHER_FRAMES_IN_A_SECOND} or {layer.size(2) for layer in layers} != {self.width}:
            shapes = sorted({tuple(layer.shape[1:]) for layer in layers})
            raise FitHubertError(
                f"teacher {name}: expected layers of {TEACHER_FRAMES_IN_A_SECOND} frames for one second and one "
                f"width, as HuBERT and wav2vec 2.0 give, found (frames, width) {shapes}"
            )


class HubertTeacher(Teacher):
    """HuBERT Base or wav2vec 2.0 Base as our own model; a batch may be padded."""

    def __init__(self, name: str, model: FitHubert, mask_vector: Tensor | None = None):
        """mask_vector : (D,), what its pretraining put in the place of masked frames; None where its file has none."""
        super().__init__()
        self.model = model
        self.mask_vector: Tensor | None
        self.register_buffer("mask_vector", mask_vector, persistent=False)  # its layers do not depend on it
        self._freeze(name)

    @torch.no_grad()
    def forward(self, waveforms: Tensor, lengths: Tensor | None = None, depth: int | None = None) -> list[Tensor]:
        return _without_padding(self.model.encode(waveforms, lengths, depth))

    @torch.no_grad()
    def with_input(self, waveforms: Tensor, lengths: Tensor | None = None, depth: int | None = None) -> list[Tensor]:
        """What `forward` gives, behind the features that positions are added to, (B, L, D) as well."""
        x, frames, padded = self.model.extract(waveforms, lengths)
        return [x, *_without_padding(self.model.transform(x, frames if padded else None, depth))]

    @torch.no_grad()
    def with_mask(
        self, waveforms: Tensor, lengths: Tensor | None, mask: Tensor, depth: int | None = None
    ) -> tuple[list[Tensor], list[Tensor]]:
        """What `forward` gives, and the same where `mask` (B, L) hides frames behind the mask vector."""
        assert self.mask_vector is not None
        x, frames, padded = self.model.extract(waveforms, lengths)
        valid = frames if padded else None
        hidden = hide(x, mask, self.mask_vector)
        plain, masked = (_without_padding(self.model.transform(part, valid, depth)) for part in (x, hidden))
        return plain, masked


def _without_padding(encoded: Encoded) -> list[Tensor]:
    """The layers, zero past each utterance's end."""
    layers, frames = encoded
    size = layers[-1].size(1)
    if bool((frames == size).all()):
        return layers
    padding = ~valid_mask(frames, size, layers[-1].device)[:, :, None]  # (B, L, 1)
    return [layer.masked_fill_(padding, 0.0) for layer in layers]

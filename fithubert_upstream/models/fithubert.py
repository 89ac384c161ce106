"""FitHuBERT, the student: waveforms and lengths in, `Encoded` layers and lengths out."""

from collections.abc import Sequence
from itertools import islice
from typing import NamedTuple

import torch
from torch import Tensor, nn

from ..errors import FitHubertError
from .attention import RelativePositions, build_attention
from .config import FitHubertConfig
from .feature_extractor import ConvFeatureExtractor
from .kernels import Dropout
from .layers import HintHead, PositionalConv, PredictionHead, TimeReduction, TransformerLayer
from .lengths import conv_frames, shortest_input, valid_mask


class Encoded(NamedTuple):
    """What the encoder gives: its transformer layers, each (B, M, D), and their valid frames (B,).

    M are frames of 40 ms, or of 20 where there is no time reduction.
    """

    layers: list[Tensor]
    lengths: Tensor


class FitHubert(nn.Module):
    """The student of Lee et al. (2022), arXiv 2207.00555. All students use this class and differ in their config.

    This includes the one of Kerpicci et al. (2022), arXiv 2210.16611: two layers, no time reduction, prediction heads;
    and the rest of the family (DistilHuBERT, MaskHuBERT, ARMHuBERT, STaRHuBERT, DPHuBERT, DPWavLM), whose layers
    differ in how they attend (`attention`).

    An utterance's features are the same alone and in any batch. Two departures from the official code
    make it so: statistics of the first norm and attention see valid frames only, and an odd last frame,
    which the stride-2 time reduction drops, is not lost but repeats the frame before it.
    """

    def __init__(self, config: FitHubertConfig | None = None):
        super().__init__()
        config = config or FitHubertConfig()
        self.config = config
        dim = config.embed_dim
        channels = config.conv_layers[-1][0]
        self.feature_extractor = ConvFeatureExtractor(config.conv_layers)
        self.feature_scale = nn.Parameter(torch.ones(channels)) if config.feature_scale else None
        self.feature_norm = nn.LayerNorm(channels) if config.feature_norm else nn.Identity()
        self.feature_projection = nn.Linear(channels, dim) if config.feature_projection else nn.Identity()
        self.pos_conv = PositionalConv(dim, config.pos_conv_kernel, config.pos_conv_groups)
        self.encoder_norm = nn.LayerNorm(dim)
        self.time_reduction = TimeReduction(dim, config.time_reduction) if config.time_reduction > 1 else nn.Identity()
        self.layers = nn.ModuleList(
            TransformerLayer(dim, build_attention(config, layer), ffn_dim, config.dropout, config.activation_dropout)
            for layer, ffn_dim in enumerate(config.layer_ffn_dims, start=1)
        )
        self.relative_positions: RelativePositions | None = None
        if config.position_buckets:
            heads = dim // config.width_of_head  # pruned ones too
            self.relative_positions = RelativePositions(config.position_buckets, config.position_distance, heads)
        self.heads = build_heads(config, config.head_layers, config.head_dim)
        self.dropout_input = Dropout(config.dropout_input)
        self.dropout = Dropout(config.dropout)

    @property
    def shortest(self) -> int:
        """Samples that fill one reduced frame; shorter waveforms are zero-padded to it."""
        return shortest_input(self.config.conv_layers, self.config.time_reduction)

    def frame_lengths(self, lengths: Tensor) -> Tensor:
        """(B,) samples -> (B,) frames of 20 ms: the count of HuBERT's own convolutions, at least one."""
        return conv_frames(lengths.cpu(), self.config.conv_layers).clamp(min=1)

    def encode(self, waveforms: Tensor, lengths: Tensor | None = None, depth: int | None = None) -> Encoded:
        """Run the encoder.

        Parameters
        ----------
        waveforms : (B, T) float, 16 kHz, zero-padded on the right. Samples past an utterance's length are
            ignored whatever they hold.
        lengths : (B,) samples of each utterance, at least 1; None when nothing is padded.
        depth : transformer layers to run; None for all.

        Returns
        -------
        The outputs of these transformer layers, each (B, M, D) at 40 ms, and (B,) their valid frames.
        """
        x, frames, padded = self.extract(waveforms, lengths)
        return self.transform(x, frames if padded else None, depth)

    # `export.traceable` repeats `extract`, `transform` and `fit_frames`: a change here needs one there.
    def extract(self, waveforms: Tensor, lengths: Tensor | None = None) -> tuple[Tensor, Tensor, bool]:
        """Everything before the positional convolution, with what `encode` takes: (B, L, D), (B,) valid frames, and
        whether a frame is padded; such frames are zero."""
        batch, size = waveforms.shape
        device = waveforms.device
        lengths = torch.full((batch,), size) if lengths is None else lengths.cpu()
        if bool((lengths != size).any()):
            waveforms = waveforms.masked_fill(~valid_mask(lengths, size, device), 0.0)
        if size < self.shortest:
            waveforms = nn.functional.pad(waveforms, (0, self.shortest - size))
        lengths = lengths.clamp(min=self.shortest)
        padded = bool((lengths != waveforms.size(1)).any())

        x = self.feature_extractor(waveforms, lengths if padded else None)  # (B, L, C)
        x = self.dropout_input(self.project_features(x))  # (B, L, D)
        frames = conv_frames(lengths, self.config.conv_layers)
        if padded:
            x = x.masked_fill(~valid_mask(frames, x.size(1), device)[:, :, None], 0.0)
        return x, frames, padded

    def project_features(self, x: Tensor) -> Tensor:
        """What lies between the convolutions and the positional one: (B, L, C) -> (B, L, D)."""
        if self.feature_scale is not None:
            x = x * self.feature_scale
        return self.feature_projection(self.feature_norm(x))

    def transform(self, x: Tensor, frames: Tensor | None = None, depth: int | None = None) -> Encoded:
        """Positional convolution, time reduction and `depth` transformer layers on what `extract` gave.

        (B, L, D), and (B,) valid frames where some are padded -> as `encode`.
        """
        x = self.dropout(self.encoder_norm(x + self.pos_conv(x)))
        x = self.time_reduction(x)  # (B, M, D)
        if frames is None:
            reduced, key_mask = torch.full((len(x),), x.size(1)), None
        else:
            reduced = frames // self.config.time_reduction
            key_mask = valid_mask(reduced, x.size(1), x.device)[:, None, None]  # (B, 1, 1, M)
        handed = None if self.relative_positions is None else self.relative_positions(x.size(1))
        layers = []
        for layer in islice(self.layers, depth):
            x, handed = layer(x, key_mask, handed)
            layers.append(x)
        return Encoded(layers, reduced)

    def forward(self, waveforms: Tensor, lengths: Tensor | None = None) -> tuple[list[Tensor], Tensor]:
        """What distillation compares with the teacher.

        Takes what `encode` takes; returns one (B, L, head_dim) for each of `config.head_layers` at 20 ms,
        zero past each utterance's end, and (B,) the valid frames.
        """
        if lengths is None:
            lengths = torch.full((len(waveforms),), waveforms.size(1))
        encoded, frames = self.encode(waveforms, lengths), self.frame_lengths(lengths)
        return self.project(encoded, frames), frames

    def project(self, encoded: Encoded, frames: Tensor, heads: nn.ModuleDict | None = None) -> list[Tensor]:
        """The heads on what `encode` gave, each (B, L, head_dim) at 20 ms, (B,) `frames` of them valid.

        `heads` replace this model's own heads, for example with those for another teacher.
        """
        rate, hint = self.config.time_reduction, self.config.head_kind == "hint"
        return [
            fit_frames(head(encoded.layers[int(layer) - 1 if hint else -1]), rate * encoded.lengths, frames)
            for layer, head in (self.heads if heads is None else heads).items()
        ]

    def repeat(self, encoded: Encoded, frames: Tensor) -> list[Tensor]:
        """The layers with each 40 ms frame repeated: (B, L, D) at 20 ms, (B,) `frames` of them valid."""
        rate = self.config.time_reduction
        return [
            fit_frames(layer.repeat_interleave(rate, dim=1), rate * encoded.lengths, frames) for layer in encoded.layers
        ]

    def hidden_states(
        self, projection: Tensor, encoded: Encoded, projected: list[Tensor], frames: Tensor
    ) -> list[Tensor]:
        """What s3prl weighs and sums, by `config.hidden_states`: each (B, L, W) at 20 ms, (B,) `frames` of them valid.

        Parameters
        ----------
        projection, encoded, projected : what `extract`, `encode` and `project` gave.
        """
        parts = {
            "projection": lambda: [fit_frames(projection, encoded.lengths, frames)],
            "layers": lambda: self.repeat(encoded, frames),
            "heads": lambda: projected,
        }
        return [state for part in self.config.hidden_states for state in parts[part]()]

    def keep_heads(self, layers: tuple[int, ...]) -> "FitHubert":
        """A model that shares this one's weights but has the heads of `layers` only; this one stays as it is.

        `(num_layers,)` leaves what the paper counts.

        Raises
        ------
        FitHubertError
            A layer has no head in this model.
        """
        missing = sorted(set(layers) - set(self.config.head_layers))
        if missing:
            raise FitHubertError(
                f"expected heads among those of layers {', '.join(map(str, self.config.head_layers)) or 'none'}, "
                f"found {', '.join(map(str, missing))}"
            )
        with torch.device("meta"):
            model = FitHubert(self.config.with_heads(tuple(layers)))
        weights = self.state_dict()
        model.load_state_dict({name: weights[name] for name in model.state_dict()}, assign=True)
        return model.train(self.training)


def build_heads(config: FitHubertConfig, layers: Sequence[int], width: int) -> nn.ModuleDict:
    """Heads of a student for these layers and a teacher of some width, at random."""
    head = HintHead if config.head_kind == "hint" else PredictionHead
    return nn.ModuleDict({str(layer): head(config.embed_dim, width, config.time_reduction) for layer in layers})


def fit_frames(x: Tensor, valid: Tensor, frames: Tensor) -> Tensor:
    """Trim or stretch each utterance to its frame count, repeating its last valid frame.

    (B, N, W) of which `valid` (B,) frames count -> (B, max(frames), W), zero past `frames` (B,).
    """
    size = int(frames.max())
    if bool((valid == x.size(1)).all()) and bool((frames == size).all()):  # nothing padded
        if size <= x.size(1):
            return x[:, :size]
        return torch.cat([x, x[:, -1:].expand(-1, size - x.size(1), -1)], dim=1)
    index = torch.minimum(torch.arange(size), valid[:, None] - 1).to(x.device)  # (B, L)
    x = x.gather(1, index[:, :, None].expand(-1, -1, x.size(2)))  # (B, L, W)
    return x.masked_fill(~valid_mask(frames, size, x.device)[:, :, None], 0.0)

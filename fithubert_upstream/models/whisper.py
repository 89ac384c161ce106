"""Whisper's audio encoder (Radford et al., 2022, arXiv 2212.04356): a teacher, and an upstream to compare with.

B batch, T samples, M mel frames (10 ms), L frames (20 ms), D width. Everything behind the mels is laid out (B, L, D).
"""

from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..errors import FitHubertError
from .lengths import FRAME_RATE

MELS, WINDOW, HOP = 80, 400, 160  # 25 ms every 10 ms
# Whisper's frame i is centred at 20 i ms, HuBERT's at 20 i + 12.5 ms: without its first 200 samples they agree.
SHIFT = 200
LONGEST = 1500  # frames of a window of 30 s, for which there are positions


@dataclass(frozen=True)
class WhisperConfig:
    """The shape of an encoder: base has 6 layers of 512 with 8 heads, tiny 4 of 384 with 6."""

    width: int
    num_layers: int
    num_heads: int
    ffn_dim: int


class WhisperEncoder(nn.Module):
    """Log-mels, two convolutions, sinusoidal positions, pre-LN transformer layers, a last LayerNorm.

    The names of its weights are those of transformers' `WhisperEncoder`.
    """

    def __init__(self, config: WhisperConfig):
        super().__init__()
        self.config = config
        self.conv1 = nn.Conv1d(MELS, config.width, 3, padding=1)
        self.conv2 = nn.Conv1d(config.width, config.width, 3, stride=2, padding=1)
        self.embed_positions = nn.Embedding(LONGEST, config.width)
        self.layers = nn.ModuleList(WhisperLayer(config) for _ in range(config.num_layers))
        self.layer_norm = nn.LayerNorm(config.width)

    def forward(self, waveforms: Tensor, depth: int | None = None) -> list[Tensor]:
        """The input of the first transformer layer and the outputs of the first `depth` layers, all if None.

        waveforms : (B, T) float, 16 kHz, up to 30 s. Each is normalised by its loudest mel, padding included.

        Returns
        -------
        `depth` + 1 tensors (B, L, D) with L = T // 320, the last LayerNorm applied to the last layer's. Frame i is
        centred at 20 i ms.

        Raises
        ------
        FitHubertError
            The waveforms last more than 30 s.
        """
        if waveforms.size(1) > LONGEST * FRAME_RATE:
            raise FitHubertError(f"Whisper: expected at most 30 s, found {waveforms.size(1) / 16000:.1f} s")
        mels = log_mels(waveforms).to(self.conv1.weight.dtype)
        x = F.gelu(self.conv2(F.gelu(self.conv1(mels)))).transpose(1, 2)  # (B, D, L) -> (B, L, D)
        x = x + self.embed_positions.weight[: x.size(1)]
        outputs = [x]
        for layer in self.layers[:depth]:
            outputs.append(layer(outputs[-1]))
        if len(outputs) == len(self.layers) + 1:
            outputs[-1] = self.layer_norm(outputs[-1])
        return outputs


class WhisperLayer(nn.Module):
    """x + attention(LN(x)), then x + FFN(LN(x)) with GELU."""

    def __init__(self, config: WhisperConfig):
        super().__init__()
        self.self_attn = WhisperAttention(config.width, config.num_heads)
        self.self_attn_layer_norm = nn.LayerNorm(config.width)
        self.fc1 = nn.Linear(config.width, config.ffn_dim)
        self.fc2 = nn.Linear(config.ffn_dim, config.width)
        self.final_layer_norm = nn.LayerNorm(config.width)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.self_attn(self.self_attn_layer_norm(x))
        return x + self.fc2(F.gelu(self.fc1(self.final_layer_norm(x))))


class WhisperAttention(nn.Module):
    """Multi-head self-attention; keys have no bias."""

    def __init__(self, width: int, num_heads: int):
        super().__init__()
        self.num_heads = num_heads
        self.q_proj = nn.Linear(width, width)
        self.k_proj = nn.Linear(width, width, bias=False)
        self.v_proj = nn.Linear(width, width)
        self.out_proj = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        parts = [project(x).unflatten(2, (self.num_heads, -1)) for project in (self.q_proj, self.k_proj, self.v_proj)]
        y = F.scaled_dot_product_attention(*(part.transpose(1, 2) for part in parts))  # (B, H, L, D / H)
        return self.out_proj(y.transpose(1, 2).flatten(2))


@lru_cache(maxsize=2)
def _mel_filters(device: torch.device) -> Tensor:
    import librosa

    return torch.from_numpy(librosa.filters.mel(sr=16_000, n_fft=WINDOW, n_mels=MELS)).to(device)  # (80, 201)


def log_mels(waveforms: Tensor) -> Tensor:
    """(B, T) -> (B, 80, T // 160): log10 of the mel power, at most 8 below the loudest, scaled to about [-1, 1]."""
    window = torch.hann_window(WINDOW, device=waveforms.device)
    waves = torch.stft(waveforms.float(), WINDOW, HOP, window=window, return_complex=True)  # (B, 201, M + 1)
    power = waves[:, :, : waveforms.size(1) // HOP].abs().square()
    mels = (_mel_filters(waveforms.device) @ power).clamp(min=1e-10).log10()
    return (torch.maximum(mels, mels.amax((1, 2), keepdim=True) - 8) + 4) / 4

"""A speaker encoder: one embedding of a whole utterance, which a student's mean over time can learn."""

from functools import lru_cache

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..audio import SAMPLE_RATE

MELS, WINDOW, HOP = 40, 400, 160  # 25 ms every 10 ms
WIDTH = 256
PARTIAL = 160  # mel frames, 1.6 s: what the encoder was trained on
STEP = 77  # 1.3 partials a second, as Resemblyzer takes them
LOUDNESS = 10 ** (-30 / 20)  # RMS to which quieter recordings are raised


class SpeakerEncoder(nn.Module):
    """Three LSTM layers over 40 mels; the last state, projected, rectified and of length 1, is the voice
    (Wan et al., 2018, generalized end-to-end loss, arXiv 1710.10467; the shape is that of Resemblyzer's file)."""

    def __init__(self) -> None:
        super().__init__()
        self.lstm = nn.LSTM(MELS, WIDTH, 3, batch_first=True)
        self.linear = nn.Linear(WIDTH, WIDTH)

    def forward(self, waveforms: Tensor) -> Tensor:
        """(B, T) waveforms, 16 kHz -> (B, 256) embeddings of length 1: the mean over stretches of 1.6 s.

        What is shorter is filled up with silence. Silence inside is not cut out, as Resemblyzer itself would.
        """
        short = (PARTIAL - 1) * HOP - waveforms.size(1)
        mels = mel_powers(louder(F.pad(waveforms, (0, max(0, short)))))  # (B, M, 40)
        starts = range(0, mels.size(1) - PARTIAL + 1, STEP)
        partials = torch.stack([mels[:, start : start + PARTIAL] for start in starts], 1)  # (B, P, 160, 40)
        _, (hidden, _) = self.lstm(partials.flatten(0, 1))
        voices = F.normalize(self.linear(hidden[-1]).relu(), dim=1)  # (B P, 256)
        return F.normalize(voices.unflatten(0, (len(waveforms), -1)).mean(1), dim=1)  # (B, 256)


def louder(waveforms: Tensor) -> Tensor:
    """(B, T): what is quieter than -30 dB of full scale (RMS) is raised to it."""
    loudness = waveforms.square().mean(1, keepdim=True).sqrt().clamp_min(1e-8)
    return waveforms * (LOUDNESS / loudness).clamp_min(1.0)


def mel_powers(waveforms: Tensor) -> Tensor:
    """(B, T) waveforms -> (B, M, 40) powers in Slaney's mel bands, not their logarithms; frames are centred."""
    window = torch.hann_window(WINDOW, device=waveforms.device)
    spectra = torch.stft(
        waveforms, WINDOW, HOP, window=window, center=True, pad_mode="constant", return_complex=True
    )  # (B, 201, M)
    return (_filters().to(waveforms.device) @ spectra.abs().square()).transpose(1, 2)  # (B, 40, M) -> (B, M, 40)


@lru_cache
def _filters() -> Tensor:
    import librosa

    return torch.from_numpy(librosa.filters.mel(sr=SAMPLE_RATE, n_fft=WINDOW, n_mels=MELS))

"""Whisper's encoder behind s3prl's upstream interface."""

from pathlib import Path

import torch
from s3prl.upstream.interfaces import UpstreamBase
from torch import Tensor
from torch.nn.functional import pad

from ..checkpoints.whisper import load_whisper
from ..models.inference import collate, stack_utterances
from ..models.lengths import FRAME_RATE
from ..models.whisper import LONGEST

WINDOW = LONGEST * FRAME_RATE  # samples: 30 s


class WhisperExpert(UpstreamBase):
    """A Whisper encoder as an s3prl upstream, always on the windows of 30 s that it was trained on.

    Parameters
    ----------
    ckpt : str or path
        What `load_whisper` takes.
    """

    utterance_wise = True  # the feature cache asks for it

    def __init__(self, ckpt: str | Path):
        super().__init__()
        self.model = load_whisper(ckpt)
        self.eval()

    def get_downsample_rates(self, key: str) -> int:
        """Samples of 16 kHz audio to one frame: 320 for every key."""
        return FRAME_RATE

    def forward(self, wavs: list[Tensor]) -> dict[str, Tensor | list[Tensor]]:
        """Features of each waveform; B waveforms, L frames in the longest, zero past each one's end.

        Parameters
        ----------
        wavs : list of Tensor
            1-D, floating point, 16 kHz. What lasts more than 30 s goes through in windows, one after the other.

        Returns
        -------
        hidden_states : list of Tensor
            (B, L, D), the first layer's input and each layer's output, every 20 ms.
        last_hidden_state : Tensor
            (B, L, D), the last of them.

        Raises
        ------
        FitHubertError
            A waveform is not 1-D, empty, not floating point, or holds NaN or infinity.
        """
        waveforms, lengths = collate(wavs)
        states = stack_utterances([self._encode(wav[:n]) for wav, n in zip(waveforms, lengths.tolist(), strict=True)])
        return {"hidden_states": states, "last_hidden_state": states[-1]}

    def _encode(self, waveform: Tensor) -> list[Tensor]:
        """(T,) -> layers (1, L, D), L = T // 320, at least 1."""
        windows = [pad(part, (0, WINDOW - len(part))) for part in waveform.split(WINDOW)]
        layers = zip(*(self.model(window[None]) for window in windows), strict=True)
        frames = max(1, len(waveform) // FRAME_RATE)
        return [torch.cat(layer, dim=1)[:, :frames] for layer in layers]

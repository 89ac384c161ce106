"""FitHuBERT behind s3prl's upstream interface: a list of waveforms in, a dict of features out."""

from pathlib import Path

import torch
from s3prl.upstream.interfaces import UpstreamBase
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from .checkpoint import load_fithubert
from .errors import FitHubertError
from .lengths import FRAME_RATE, SAMPLE_RATE, valid_mask


class UpstreamExpert(UpstreamBase):
    """A FitHuBERT student as an s3prl upstream.

    Parameters
    ----------
    ckpt : a file that `load_fithubert` takes.
    model_config : the official `.yaml` beside an official checkpoint; not needed otherwise.
    """

    def __init__(self, ckpt: str | Path, model_config: str | Path | None = None, **kwargs):
        super().__init__(**kwargs)
        self.model = load_fithubert(ckpt, model_config)

    def get_downsample_rates(self, key: str) -> int:
        """Samples of 16 kHz audio to one frame of this key."""
        return FRAME_RATE * (self.model.config.time_reduction if key == "hidden_states_40ms" else 1)

    def forward(self, wavs: list[Tensor]) -> dict[str, Tensor | list[Tensor]]:
        """Features of each waveform; B waveforms, L frames in the longest, zero past each one's end.

        Parameters
        ----------
        wavs : 1-D float tensors, 16 kHz, of any length from one sample.

        Returns
        -------
        last_hidden_state : (B, L, 768), the last prediction head, which the authors evaluated; the last
            transformer layer where a checkpoint kept no head.
        hidden_states : (B, L, 480) for each transformer layer, at 20 ms (each 40 ms frame repeated).
        projected_states : (B, L, 768) for each head, where the checkpoint kept more than one.
        hidden_states_40ms : (B, L // 2, 480) for each transformer layer, as computed.

        Raises
        ------
        FitHubertError : a waveform is not 1-D, empty, not floating point, or holds NaN or infinity.
        """
        waveforms, lengths = _collate(wavs, next(self.model.parameters()).dtype)
        if len(wavs) == 1 or not self.utterance_wise:
            return self._features(waveforms, lengths)
        alone = [self._features(waveforms[i : i + 1, :n], lengths[i : i + 1]) for i, n in enumerate(lengths.tolist())]
        return {key: stack_utterances([features[key] for features in alone]) for key in alone[0]}

    @property
    def utterance_wise(self) -> bool:
        """Whether each waveform is encoded by itself: on a CPU, where nothing is to be differentiated.

        There a padded batch saves nothing (alone, the paper's student takes 0.6 to 1 of a batch's time),
        and a feature is the same to the last bit whatever it is batched with.
        """
        return next(self.model.parameters()).device.type == "cpu" and not torch.is_grad_enabled()

    def _features(self, waveforms: Tensor, lengths: Tensor) -> dict[str, Tensor | list[Tensor]]:
        hidden, reduced = self.model.encode(waveforms, lengths)
        frames = self.model.frame_lengths(lengths)
        config = self.model.config

        projected = [self.model.project(hidden, reduced, frames, layer) for layer in config.head_layers]
        repeated = [self.model.repeat(layer, reduced, frames) for layer in hidden]
        valid = valid_mask(reduced, hidden[0].size(1), hidden[0].device)[..., None]  # (B, L // 2, 1)
        features = {
            "last_hidden_state": projected[-1] if projected else repeated[-1],
            "hidden_states": repeated,
            "hidden_states_40ms": [layer * valid for layer in hidden],
        }
        if len(projected) > 1:
            features["projected_states"] = projected
        return features


def stack_utterances(features: list[Tensor] | list[list[Tensor]]) -> Tensor | list[Tensor]:
    """Features of single utterances, (1, L_i, D) each, or lists of them -> zero-padded (B, L, D)."""
    if isinstance(features[0], list):
        return [stack_utterances(list(layer)) for layer in zip(*features, strict=True)]
    return pad_sequence([feature[0] for feature in features], batch_first=True)  # (B, L, D)


def _collate(wavs: list[Tensor], dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """List of (T_i,) -> zero-padded (B, T), lengths (B,)."""
    if len(wavs) == 0:
        raise FitHubertError("expected a list of waveforms, found an empty list")
    for i, wav in enumerate(wavs):
        if not isinstance(wav, Tensor) or wav.dim() != 1:
            found = f"shape {tuple(wav.shape)}" if isinstance(wav, Tensor) else type(wav).__name__
            raise FitHubertError(
                f"waveform {i}: expected a 1-D tensor of {SAMPLE_RATE} Hz samples, found {found}; "
                "pass a list with one mono waveform each"
            )
        if not wav.is_floating_point():
            raise FitHubertError(f"waveform {i}: expected float samples in [-1, 1], found {wav.dtype}; divide by 32768")
        if len(wav) == 0:
            raise FitHubertError(f"waveform {i}: expected at least one sample, found none")
    waveforms = pad_sequence([wav.to(dtype) for wav in wavs], batch_first=True)  # (B, T)
    finite = torch.isfinite(waveforms).all(dim=1)
    if not bool(finite.all()):
        raise FitHubertError(f"waveform {int(finite.int().argmin())}: found NaN or infinite samples")
    return waveforms, torch.tensor([len(wav) for wav in wavs])

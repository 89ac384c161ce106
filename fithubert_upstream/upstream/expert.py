"""FitHuBERT behind s3prl's upstream interface: a list of waveforms in, a dict of features out."""

from pathlib import Path

import torch
from s3prl.upstream.interfaces import UpstreamBase
from torch import Tensor

from ..audio import SAMPLE_RATE
from ..checkpoints.load import load_fithubert
from ..errors import FitHubertError, refuse_unknown
from ..models.inference import Feature, collate, compile_layers, from_environment, prepare, stack_utterances
from ..models.lengths import FRAME_RATE, valid_mask
from ..models.long_audio import transform_windows

RUN_OPTIONS = ("precision", "compile", "chunk_seconds")  # how a student is run


class UpstreamExpert(UpstreamBase):
    """A FitHuBERT student as an s3prl upstream, in eval mode until `train()` is called.

    Parameters
    ----------
    ckpt : str or path
        A name, path or URL that `load_fithubert` takes.
    model_config : str or path, optional
        The official `.yaml` beside an official Lightning `.ckpt`; not needed otherwise.
    precision : str, optional
        "fp32" or "bf16", of weights and arithmetic; features are float32 in both.
    compile : bool, optional
        Whether `torch.compile` compiles the layers.
    chunk_seconds : float, optional
        Longer recordings go through the transformer in windows of so many seconds (`long_audio.transform_windows`);
        0: in one piece. If one of these three is None, it is read from the environment
        (`inference.from_environment`).
    """

    def __init__(
        self,
        ckpt: str | Path = "fithubert_mini",
        model_config: str | Path | None = None,
        precision: str | None = None,
        compile: bool | None = None,
        chunk_seconds: float | None = None,
        **unknown,
    ):
        refuse_unknown("UpstreamExpert", unknown, (*RUN_OPTIONS, "model_config"))
        super().__init__()
        self.precision, self.compiled, self.chunk_seconds = from_environment(precision, compile, chunk_seconds)
        self.model = prepare(load_fithubert(ckpt, model_config), self.precision, self.compiled)
        self.eval()

    def __setstate__(self, state: dict) -> None:
        super().__setstate__(state)
        if self.compiled:  # torch leaves compiled code out of copies and pickles
            compile_layers(self.model)

    def extra_repr(self) -> str:
        """The config and options that affect the features; the feature cache uses them in its keys."""
        options = f"precision={self.precision}, compile={self.compiled}, chunk_seconds={self.chunk_seconds:g}"
        return f"{options}, {self.model.config.to_json()}"  # number of heads, strides: no weight tells

    def get_downsample_rates(self, key: str) -> int:
        """Samples of 16 kHz audio to one frame of this key."""
        return FRAME_RATE * (self.model.config.time_reduction if key == "hidden_states_40ms" else 1)

    def forward(self, wavs: list[Tensor]) -> dict[str, Feature]:
        """Features of each waveform; B waveforms, L frames in the longest, zero past each one's end.

        Parameters
        ----------
        wavs : list of Tensor
            1-D, floating point, 16 kHz, of any length from one sample.

        Returns
        -------
        last_hidden_state : Tensor
            (B, L, 768), the last prediction head, which the authors evaluated; the last transformer layer where a
            checkpoint kept no head.
        hidden_states : list of Tensor
            (B, L, 480) for each transformer layer, at 20 ms (each 40 ms frame repeated). Of the family's other models
            what the authors' upstreams give (`config.hidden_states`).
        projected_states : list of Tensor
            (B, L, 768) for each head, where the checkpoint kept more than one.
        hidden_states_40ms : list of Tensor
            (B, L // 2, 480) for each transformer layer, as computed; at 20 ms where there is no time reduction.

        Raises
        ------
        FitHubertError
            A waveform is not 1-D, empty, not floating point, or holds NaN or infinity; or a model in bf16 is to be
            trained.
        """
        if self.precision != "fp32" and self.model.training and torch.is_grad_enabled():
            raise FitHubertError(f"training needs precision fp32; {self.precision} is for inference")
        waveforms, lengths = collate(wavs)
        if len(wavs) == 1 or not (self.utterance_wise or self._long(waveforms)):
            return self._features(waveforms, lengths)
        alone = [self._features(waveforms[i : i + 1, :n], lengths[i : i + 1]) for i, n in enumerate(lengths.tolist())]
        return {key: stack_utterances([features[key] for features in alone]) for key in alone[0]}

    @property
    def utterance_wise(self) -> bool:
        """Whether each waveform is encoded by itself: on a CPU, where nothing is to be differentiated.

        There a padded batch saves nothing (alone, the paper's student takes 0.6 to 1 of a batch's time),
        and a feature is the same to the last bit whatever it is batched with.
        """
        # by a weight's name: a replica of nn.DataParallel has no parameters()
        return self.model.encoder_norm.weight.device.type == "cpu" and not torch.is_grad_enabled()

    def _long(self, waveforms: Tensor) -> bool:
        return 0 < self.chunk_seconds * SAMPLE_RATE < waveforms.size(1)

    def _features(self, waveforms: Tensor, lengths: Tensor) -> dict[str, Feature]:
        projection, valid_frames, padded = self.model.extract(waveforms, lengths)
        if self._long(waveforms):  # then it is one alone
            encoded = transform_windows(self.model, projection, self.chunk_seconds)
        else:
            encoded = self.model.transform(projection, valid_frames if padded else None)
        frames = self.model.frame_lengths(lengths)

        projected = [head.float() for head in self.model.project(encoded, frames)]
        hidden = [layer.float() for layer in encoded.layers]
        states = self.model.hidden_states(projection.float(), encoded._replace(layers=hidden), projected, frames)
        if bool((encoded.lengths != hidden[0].size(1)).any()):
            valid = valid_mask(encoded.lengths, hidden[0].size(1), hidden[0].device)[..., None]  # (B, L // 2, 1)
            hidden = [layer * valid for layer in hidden]
        features: dict[str, Feature] = {
            "last_hidden_state": projected[-1] if projected else states[-1],
            "hidden_states": states,
            "hidden_states_40ms": hidden,
        }
        if len(projected) > 1:
            features["projected_states"] = projected
        return features

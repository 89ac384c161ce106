"""An exported student behind s3prl's upstream interface: the features come from onnxruntime."""

import hashlib
from pathlib import Path

import torch
from s3prl.upstream.interfaces import UpstreamBase
from torch import Tensor

from ..errors import FitHubertError, refuse_unknown
from ..export.session import open_exported, open_session, run
from ..models.config import FitHubertConfig
from ..models.inference import collate, stack_utterances
from ..models.lengths import FRAME_RATE


class OnnxExpert(UpstreamBase):
    """A file of `fithubert export` as an s3prl upstream, on the CPU with as many threads as PyTorch has.

    It gives what `UpstreamExpert` does, but for `hidden_states_40ms`. It cannot be trained.

    Parameters
    ----------
    ckpt : path
        The `.onnx`.

    Raises
    ------
    FitHubertError
        onnxruntime is missing, or the file is missing, damaged or not one of `fithubert export`.
    """

    utterance_wise = True  # each waveform is run by itself; the feature cache asks for it

    def __init__(self, ckpt: str | Path, **unknown):
        refuse_unknown("OnnxExpert", unknown, ())
        super().__init__()
        path = Path(ckpt)
        # The content is what a copy or a pickle is made of: a session cannot be copied.
        self.session, metadata, self.content = open_exported(path)
        self.config = FitHubertConfig.from_json(metadata["config"], str(path))
        self.precision = metadata["precision"]
        self.digest = hashlib.sha256(self.content).hexdigest()
        self.eval()

    def __getstate__(self) -> dict:
        return {name: value for name, value in self.__dict__.items() if name != "session"}

    def __setstate__(self, state: dict) -> None:
        super().__setstate__(state)
        self.session = open_session(self.content)

    def extra_repr(self) -> str:
        """What features depend on; the feature cache asks for it."""
        return f"precision={self.precision}, sha256={self.digest}"

    def get_downsample_rates(self, key: str) -> int:
        """Samples of 16 kHz audio to one frame: 320 for every key."""
        return FRAME_RATE

    def forward(self, wavs: list[Tensor]) -> dict[str, Tensor | list[Tensor]]:
        """Features of each waveform, as `UpstreamExpert` gives them, on the waveforms' device.

        Each waveform is run by itself, so that its features do not depend on what it is batched with, not even in
        int8, whose ranges are those of a batch.

        Raises
        ------
        FitHubertError
            A waveform is not as `UpstreamExpert` wants it, or this is called in training mode with gradients wanted.
        """
        if self.training and torch.is_grad_enabled():
            raise FitHubertError("an ONNX file cannot be trained; fine-tune its .safetensors (-f), or call .eval()")
        waveforms, lengths = collate(wavs)
        device = waveforms.device
        waveforms = waveforms.cpu()
        alone = [
            run(self.session, waveforms[i : i + 1, :n], lengths[i : i + 1]) for i, n in enumerate(lengths.tolist())
        ]
        features = {}
        for key in alone[0]:
            if key == "frames":
                continue
            values = [output[key].to(device) for output in alone]
            features[key] = stack_utterances(
                values if key == "last_hidden_state" else [list(value) for value in values]
            )
        return features

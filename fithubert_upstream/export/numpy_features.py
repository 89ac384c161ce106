"""Features from an exported file, for programs without torch: numpy in, numpy out."""

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import FitHubertError
from .session import FORMAT, JOINT_FORMAT, open_exported, run_arrays

HEADS = ("keyword_logits", "embedding")  # what a joint model gives beside features


class OnnxFeatures:
    """A file of `fithubert export`, or of `fithubert export-joint -o FILE.onnx`, in onnxruntime on the CPU.

    Needs numpy and onnxruntime; torch is not imported.

    Parameters
    ----------
    path : path
        The `.onnx`.
    threads : int
        Threads of onnxruntime for one call.

    Attributes
    ----------
    metadata : dict
        All strings that the file holds beside its weights: `format`, `precision`, `config` in JSON ...
    config : dict
        The student's config, or the joint model's.
    sample_rate : int
        Hz that waveforms have: 16,000.
    hop : int
        Samples from one frame to the next: 320, which is 20 ms.
    digest : str
        SHA-256 of the file in hex.

    Raises
    ------
    FitHubertError
        onnxruntime is missing, or the file is missing, damaged or none of ours.
    """

    formats: tuple[str, ...] = (FORMAT, JOINT_FORMAT)

    def __init__(self, path: str | Path, threads: int = 1):
        self.path = Path(path)
        self.session, self.metadata, content = open_exported(path, self.formats, threads)
        self.config = json.loads(self.metadata["config"])
        self.sample_rate, self.hop = int(self.metadata["sample_rate"]), int(self.metadata["frame_rate"])
        self.digest = hashlib.sha256(content).hexdigest()

    def run(self, waveform: np.ndarray) -> dict[str, np.ndarray]:
        """All outputs for one (T,) waveform, without the axis of the batch. Raises as `check_samples`."""
        samples = check_samples(waveform)
        outputs = run_arrays(self.session, samples[None], np.array([len(samples)]))
        return {name: value[:, 0] if value.ndim == 4 else value[0] for name, value in outputs.items()}

    def __call__(self, waveform: np.ndarray) -> dict[str, np.ndarray]:
        """Features of a waveform, as `UpstreamExpert` gives them.

        Parameters
        ----------
        waveform : (T,) float samples in [-1, 1] at 16 kHz, at least one.

        Returns
        -------
        dict
            `last_hidden_state` (L, D), `hidden_states` (N, L, W) and, where the student has several heads,
            `projected_states` (heads, L, D), all float32, L frames of 20 ms.

        Raises
        ------
        FitHubertError
            The waveform is not 1-D, empty, not floating point, or holds NaN or infinity.
        """
        outputs = self.run(waveform)
        features = {name: value for name, value in outputs.items() if name != "frames" and name not in HEADS}
        features.setdefault("last_hidden_state", outputs["hidden_states"][-1])
        return features


def check_samples(waveform: Any) -> np.ndarray:
    """(T,) finite floating-point samples, T >= 1, as float32. Raises FitHubertError for anything else."""
    if not isinstance(waveform, np.ndarray) or waveform.ndim != 1:
        found = f"shape {waveform.shape}" if isinstance(waveform, np.ndarray) else type(waveform).__name__
        raise FitHubertError(f"waveform: expected a 1-D array of mono samples, found {found}")
    if not np.issubdtype(waveform.dtype, np.floating):
        raise FitHubertError(f"waveform: expected float samples in [-1, 1], found {waveform.dtype}; divide by 32768")
    if len(waveform) == 0:
        raise FitHubertError("waveform: expected at least one sample, found shape (0,)")
    samples = waveform.astype(np.float32, copy=False)
    if not np.isfinite(samples).all():
        raise FitHubertError("waveform: found NaN or infinite samples")
    return samples

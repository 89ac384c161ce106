"""Keywords and speakers with onnxruntime and numpy alone."""

import json
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ..assets import JOINT, JOINT_ONNX
from ..audio.silence import trim_silence
from ..errors import FitHubertError, MissingPackage
from ..export.numpy_features import OnnxFeatures, check_samples
from ..export.session import JOINT_FORMAT


class Scores(NamedTuple):
    """(K,) probabilities of the classes and (E,) an embedding of length 1; None where there is no such head."""

    classes: np.ndarray | None
    embedding: np.ndarray | None


class OnnxJoint(OnnxFeatures):
    """A joint model in a file of `fithubert export-joint -o FILE.onnx`. Torch is not imported.

    Parameters
    ----------
    path : path
        The `.onnx`.
    threads : int
        Threads of onnxruntime for one call.

    Attributes
    ----------
    classes : tuple of str
        What the keyword head tells apart; empty without one.
    threshold : float or None
        The cosine from which on two voices count as one.

    Raises
    ------
    FitHubertError
        onnxruntime is missing, or the file is missing, damaged or none of a joint model.
    """

    formats = (JOINT_FORMAT,)

    def __init__(self, path: str | Path, threads: int = 1):
        super().__init__(path, threads)
        self.classes = tuple(json.loads(self.metadata["labels"]))
        self.threshold = float(self.metadata["threshold"]) if self.metadata["threshold"] else None

    @property
    def tasks(self) -> tuple[str, ...]:
        """Of `ks` and `sv`, those that there is a head for."""
        return ("ks",) * bool(self.classes) + ("sv",) * bool(self.config["embedding_dim"])

    def scores(self, waveform: np.ndarray) -> Scores:
        """What both heads say of (T,) samples at 16 kHz. Raises as `OnnxFeatures`."""
        outputs = self.run(trim_silence(check_samples(waveform), self.config["trim_db"]))
        logits = outputs.get("keyword_logits")
        if logits is None:
            return Scores(None, outputs.get("embedding"))
        odds = np.exp(logits - logits.max())
        return Scores(odds / odds.sum(), outputs.get("embedding"))


class TorchJoint:
    """A joint model of torch with the methods of `OnnxJoint`. Raises what `load_joint` does."""

    def __init__(self, path: str | Path):
        import torch

        from .model import load_joint

        self.torch, self.model = torch, load_joint(path)
        config = self.model.config
        self.classes, self.threshold, self.tasks = config.classes or (), config.threshold, config.tasks

    def scores(self, waveform: np.ndarray) -> Scores:
        """As `OnnxJoint.scores`."""
        with self.torch.inference_mode():
            logits, embedding = self.model.heads(self.model.pool(self.torch.from_numpy(waveform)))
            classes = None if logits is None else logits.softmax(-1).numpy()
            return Scores(classes, None if embedding is None else embedding.numpy())


def load_listener(model: str = JOINT) -> OnnxJoint | TorchJoint:
    """A joint model of a `.onnx`, without torch, or of a `.safetensors`, with it.

    The embedded one comes as both; its `.onnx` (int8) is taken where onnxruntime is installed, as it starts sooner.

    Raises
    ------
    FitHubertError
        The file is missing, damaged or of another kind, or the package that it needs is missing.
    """
    if model == JOINT and not Path(model).exists():
        try:
            return OnnxJoint(JOINT_ONNX)
        except MissingPackage:
            return TorchJoint(model)
    if str(model).lower().endswith(".onnx"):
        return OnnxJoint(model)
    try:
        return TorchJoint(model)
    except ImportError as error:
        if isinstance(error, FitHubertError) or error.name != "torch":
            raise
        raise FitHubertError(
            f"{model}: needs torch, which is not installed; where it is, make an .onnx of it: "
            f"fithubert export-joint {model} -o FILE.onnx"
        ) from error


def same_voice(model: Any, cosine: float) -> str:
    """What a cosine to the enrolled voice means, in words."""
    if model.threshold is None:
        return f"{cosine:.3f} (this model has no threshold)"
    verdict = "yes" if cosine >= model.threshold else "no"
    return f"{verdict} (cosine {cosine:.3f}, yes from {model.threshold:.3f} on)"

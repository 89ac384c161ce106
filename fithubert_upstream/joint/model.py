"""A keyword and a speaker embedding out of one forward pass: what joint fine-tuning gives, as one file.

The two tasks share a student, as in Kerpicci et al. (2022), arXiv 2210.16611, and each has one linear layer on the
mean over time. Needs torch and safetensors; s3prl, in whose runner such models are trained, is not needed.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor, nn

from ..assets import JOINT, find
from ..audio.silence import trim_silence
from ..checkpoints.student import FORMAT as STUDENT_FORMAT
from ..checkpoints.student import check_file, read_safetensors, save_safetensors
from ..checkpoints.weights import fill_weights
from ..errors import FitHubertError
from ..models.config import FitHubertConfig
from ..models.fithubert import FitHubert
from ..models.inference import check_waveform
from ..models.lengths import FRAME_RATE
from ..settings.files import from_dict, to_dict

FORMAT = "fithubert-joint"
VERSION = "1"
FEATURES = ("last_hidden_state", "hidden_states", "projected_states")

Answer = dict[str, str | float | Tensor]


@dataclass(frozen=True)
class JointModelConfig:
    """A student, the feature that the heads see, and the heads; a head whose size is None is absent.

    `feature` is a key of the s3prl upstream. If it is a list, the heads use entry `layer`, or a weighted sum of all
    entries if `layer` is None; `normalize` applies layer norm to each entry before the sum. Two voices with a cosine of
    at least `threshold` count as one speaker. `trim_db` trims silence at both ends (`silence.trim_silence`); 0: none.
    """

    student: FitHubertConfig = field(default_factory=FitHubertConfig)
    feature: str = "hidden_states"
    layer: int | None = None
    normalize: bool = False
    classes: tuple[str, ...] | None = None
    embedding_dim: int | None = None
    threshold: float | None = None
    trim_db: float = 0.0

    def __post_init__(self) -> None:
        if self.feature not in FEATURES:
            raise FitHubertError(f"expected feature {', '.join(FEATURES[:-1])} or {FEATURES[-1]}, found {self.feature}")
        if not self.listed:
            raise FitHubertError("projected_states: expected a student with prediction heads, found one without")
        if self.layer is not None and self.layer not in range(-self.listed, self.listed):
            raise FitHubertError(f"expected layer in 0..{self.listed - 1} of {self.feature}, found {self.layer}")
        if not self.classes and not self.embedding_dim:
            raise FitHubertError("expected classes, embedding_dim or both, found neither")
        if self.classes is not None:
            object.__setattr__(self, "classes", tuple(self.classes))

    @property
    def listed(self) -> int:
        """Tensors that the feature consists of."""
        counts = {"hidden_states": self.student.num_states, "projected_states": len(self.student.head_layers)}
        return counts.get(self.feature, 1)

    @property
    def summed(self) -> int:
        """Tensors that go into a weighted sum; 0 where there is only one to see."""
        return self.listed if self.listed > 1 and self.layer is None else 0

    @property
    def dim(self) -> int:
        """Width of the feature."""
        if self.feature == "hidden_states":
            return self.student.state_dim
        return self.student.head_dim if self.student.head_layers else self.student.embed_dim

    @property
    def tasks(self) -> tuple[str, ...]:
        """Of `ks` and `sv`, those that there is a head for."""
        return ("ks",) * bool(self.classes) + ("sv",) * bool(self.embedding_dim)


class JointModel(nn.Module):
    """Keyword spotting and speaker verification on one student; `load_joint` gives a trained one."""

    def __init__(self, config: JointModelConfig):
        super().__init__()
        self.config = config
        self.student = FitHubert(config.student)
        weights = torch.full((config.summed,), 1 / config.summed) if config.summed else None
        self.register_buffer("layer_weights", weights)  # (N,), their sum is 1
        self.ks_head = nn.Linear(config.dim, len(config.classes)) if config.classes else None
        self.sv_head = nn.Linear(config.dim, config.embedding_dim) if config.embedding_dim else None

    @torch.no_grad()
    def forward(self, waveform: Tensor | Sequence[Tensor]) -> Answer | list[Answer]:
        """Recognise the keyword and embed the speaker.

        Parameters
        ----------
        waveform : Tensor or sequence of Tensor
            (T,) float samples in [-1, 1] at 16 kHz, or several such; several are treated one after another, so that
            an answer is the same alone and among others.

        Returns
        -------
        keyword : str
            The most probable class (with a keyword head only).
        confidence : float
            Its probability, 0 to 1 (with a keyword head only).
        embedding : Tensor
            (E,) of length 1, so that a dot product of two is their cosine (with a speaker head only).

        A list of such dicts for a list.

        Raises
        ------
        FitHubertError
            A waveform is not 1-D, empty, not floating point, or holds NaN or infinity.
        """
        if not isinstance(waveform, Tensor):
            return [self(wav) for wav in waveform]
        logits, embedding = self.heads(self.pool(waveform))
        answer: Answer = {}
        if logits is not None:
            confidence, best = logits.softmax(dim=0).max(dim=0)
            answer |= {"keyword": self.config.classes[int(best)], "confidence": float(confidence)}
        if embedding is not None:
            answer["embedding"] = embedding
        return answer

    def heads(self, pooled: Tensor) -> tuple[Tensor | None, Tensor | None]:
        """(..., D) -> logits (..., K) and embeddings (..., E) of length 1, each None where there is no such head."""
        logits = None if self.ks_head is None else self.ks_head(pooled)
        embedding = None if self.sv_head is None else nn.functional.normalize(self.sv_head(pooled), dim=-1)
        return logits, embedding

    def pool(self, waveform: Tensor) -> Tensor:
        """(T,) samples -> (D,), the feature's mean over time: what the heads see.

        The mean is over the 20 ms frames that s3prl's Featurizer returns for a single utterance. If it returns none
        (audio shorter than half a frame), the first frame is used.
        """
        check_waveform(waveform)
        return self.mean_feature(trim_silence(waveform, self.config.trim_db))

    def mean_feature(self, waveform: Tensor) -> Tensor:
        """`pool` of a waveform from which nothing is trimmed."""
        student, config = self.student, self.config
        samples = len(waveform)
        projection, _, _ = student.extract(waveform.to(student.encoder_norm.weight)[None])
        encoded, frames = student.transform(projection), student.frame_lengths(torch.tensor([samples]))
        layers = student.project(encoded, frames)  # each (1, L, D)
        if config.feature == "hidden_states" or not layers:
            layers = student.hidden_states(projection, encoded, layers, frames)
        if self.layer_weights is None:
            feature = layers[-1 if config.layer is None else config.layer]
        else:
            stacked = torch.stack(layers)  # (N, 1, L, D)
            if config.normalize:
                stacked = nn.functional.layer_norm(stacked, stacked.shape[-1:])
            feature = torch.tensordot(self.layer_weights, stacked, dims=1)
        return feature[0, : max(1, round(samples / FRAME_RATE))].mean(dim=0)  # (D,)


def save_joint(model: JointModel, path: str | Path) -> None:
    """Write a joint model as one safetensors file with its config inside: the whole file or none."""
    config = json.dumps(to_dict(model.config))
    save_safetensors(model, path, {"format": FORMAT, "version": VERSION, "config": config})


def load_joint(path: str | Path = JOINT) -> JointModel:
    """Load what `save_joint` or `fithubert export-joint` wrote, or the embedded `joint_mini`, in eval mode on the CPU.

    Raises
    ------
    FitHubertError
        The file is missing, truncated, of another kind, or does not fit its config.
    """
    path = find(JOINT) if str(path) == JOINT and not Path(path).exists() else Path(path)
    check_file(path)
    metadata, weights = read_safetensors(path, "a joint model of `fithubert export-joint`")
    if metadata.get("format") != FORMAT:
        found = "a student without heads for tasks" if metadata.get("format") == STUDENT_FORMAT else "other weights"
        raise FitHubertError(f"{path}: expected a joint model of `fithubert export-joint`, found {found}")
    if metadata.get("version") != VERSION:
        raise FitHubertError(
            f"{path}: expected a joint model of version {VERSION}, found {metadata.get('version')}; update fithubert"
        )
    try:
        config = json.loads(metadata.get("config", ""))
    except json.JSONDecodeError as error:
        raise FitHubertError(f"{path}: expected a config in JSON in its metadata, found none") from error
    return build_joint(from_dict(JointModelConfig, config, str(path)), weights, path)


def build_joint(config: JointModelConfig, weights: dict[str, Tensor], path: Path) -> JointModel:
    """A joint model with exactly these weights, in eval mode; errors name `path`."""
    with torch.device("meta"):
        model = JointModel(config)
    fill_weights(model, weights, path)
    return model.eval()

"""A joint model as one ONNX file, which `listen` and a browser run without torch."""

import json
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ..errors import FitHubertError
from ..export.onnx import AXES, TOLERANCE, trace_module, write
from ..export.session import JOINT_FORMAT, open_session, run
from ..export.traceable import TraceableFitHubert
from ..models.lengths import valid_mask
from ..settings.files import to_dict
from .model import JointModel

JOINT_AXES = {
    "keyword_logits": ["batch", "classes"],
    "embedding": ["batch", "embedding"],
    "hidden_states": AXES["hidden_states"],
    "last_hidden_state": AXES["last_hidden_state"],
    "frames": AXES["frames"],
}
INT8_COSINE = 0.9  # lowest cosine of an int8 file's embeddings to the model's own


class TraceableJoint(TraceableFitHubert):
    """A joint model without a branch on lengths: the student, the mean over an utterance's frames, the heads."""

    def __init__(self, model: JointModel):
        super().__init__(model.student)
        self.joint = model.config
        self.layer_weights = model.layer_weights
        self.ks_head = None if model.ks_head is None else TraceableLinear(model.ks_head)
        self.sv_head = None if model.sv_head is None else TraceableLinear(model.sv_head)

    @property
    def axes(self) -> dict[str, list[str]]:
        """The outputs there are, in their order."""
        missing = {
            "keyword_logits": self.ks_head is None,
            "embedding": self.sv_head is None,
            "last_hidden_state": not self.joint.student.head_layers,  # the last hidden state
        }
        return {name: axes for name, axes in JOINT_AXES.items() if not missing.get(name, False)}

    def forward(self, waveforms: Tensor, lengths: Tensor) -> tuple[Tensor, ...]:
        """(B, T), (B,) -> what `export_joint_onnx` says, in the order of `axes`."""
        last, states, *projected, frames = super().forward(waveforms, lengths)
        layers = {"hidden_states": states, "last_hidden_state": last[None]}.get(self.joint.feature)
        if layers is None:  # with one head the file has no list of them
            layers = projected[0] if projected else last[None]
        if self.layer_weights is None:
            feature = layers[-1 if self.joint.layer is None else self.joint.layer]
        else:
            if self.joint.normalize:
                layers = nn.functional.layer_norm(layers, layers.shape[-1:])
            feature = (layers * self.layer_weights[:, None, None, None]).sum(0)
        # Frames behind an utterance's end are zero, before a norm: not so behind it.
        feature = feature.masked_fill(~valid_mask(frames, feature.size(1))[:, :, None], 0.0)
        pooled = feature.sum(1) / frames[:, None]  # (B, D)
        outputs = {"hidden_states": states, "last_hidden_state": last, "frames": frames}
        if self.ks_head is not None:
            outputs["keyword_logits"] = self.ks_head(pooled)
        if self.sv_head is not None:
            outputs["embedding"] = nn.functional.normalize(self.sv_head(pooled), dim=1)
        return tuple(outputs[name] for name in self.axes)


class TraceableLinear(nn.Module):
    """A linear layer as a matrix product, which the quantizer knows."""

    def __init__(self, linear: nn.Linear):
        super().__init__()
        self.register_buffer("weight", linear.weight.detach().T.contiguous())  # (D, K)
        self.register_buffer("bias", linear.bias.detach())  # (K,)

    def forward(self, x: Tensor) -> Tensor:
        """(B, D) -> (B, K)"""
        return x @ self.weight + self.bias


def export_joint_onnx(model: JointModel, path: str | Path, int8: bool = False) -> str:
    """Write a joint model as an ONNX file, after running that beside the model.

    The file takes `waveforms` (B, T) float32, 16 kHz, zero-padded on the right, and `lengths` (B,) int64. It gives
    `keyword_logits` (B, K) and `embedding` (B, E) of length 1, where the model has such a head, `hidden_states`
    (N, B, L, W), `last_hidden_state` (B, L, D) where the student has heads, and `frames` (B,) int64. Silence is not
    trimmed inside: where `trim_db` in the config is not 0, cut it off first, as `audio.silence.trim_silence` does. The
    metadata holds `config` and `labels` in JSON and `threshold`, the cosine from which on two voices are one ("" for
    none).

    Parameters
    ----------
    model : JointModel
        In eval mode, fp32, on the CPU.
    path : path
        The `.onnx` to write: the whole file or none.
    int8 : bool
        As in `export.onnx.export`.

    Returns
    -------
    str
        How far its answers on noise are from the model's, in words.

    Raises
    ------
    FitHubertError
        The extra `onnx` is missing, or the file's answers are not the model's.
    """
    config = model.config
    metadata = {
        "format": JOINT_FORMAT,
        "config": json.dumps(to_dict(config)),
        "labels": json.dumps(config.classes or []),
        "threshold": "" if config.threshold is None else repr(config.threshold),
    }
    return write(path, lambda: trace_joint(model), int8, metadata, lambda file: _compare(model, file, int8))


def trace_joint(model: JointModel) -> Any:
    """The joint model as an `onnx.ModelProto` in fp32."""
    module = TraceableJoint(model)
    return trace_module(module, module.axes)


def _compare(model: JointModel, path: Path, int8: bool) -> str:
    """Run the file beside the model on a padded batch of noise."""
    lengths = torch.tensor([400, 24000, 9999])
    waveforms = 0.1 * torch.randn(3, 24000, generator=torch.Generator().manual_seed(0))
    outputs = run(open_session(path), waveforms, lengths)
    with torch.no_grad():
        pooled = torch.stack([model.mean_feature(wav[:n]) for wav, n in zip(waveforms, lengths, strict=True)])
        odds, voice = model.heads(pooled)
    differences, cosines = [], []
    if odds is not None:
        found = outputs["keyword_logits"].softmax(1)
        differences.append(float((found - odds.softmax(1)).abs().max()))
    if voice is not None:
        differences.append(float((outputs["embedding"] - voice).abs().max()))
        cosines.append(float(torch.cosine_similarity(outputs["embedding"], voice, dim=1).min()))
    difference = max(differences)
    if int8:
        if cosines and not min(cosines) >= INT8_COSINE:
            raise FitHubertError(
                f"expected embeddings with a cosine of at least {INT8_COSINE} to the model's, found "
                f"{min(cosines):.2f}; nothing was written"
            )
        lowest = f", lowest cosine of embeddings {min(cosines):.4f}" if cosines else ""
        return f"largest difference of probabilities and embeddings on noise {difference:.3f}{lowest}"
    if not difference <= TOLERANCE:  # nor is NaN
        raise FitHubertError(
            f"expected answers within {TOLERANCE:g} of the model's, found a difference of {difference:.2g}; "
            "nothing was written"
        )
    return f"largest difference to the model {difference:.1e}"

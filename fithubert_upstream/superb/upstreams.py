"""Upstreams as a table lists them: `[LABEL=]NAME[:CKPT][@FEATURE]`, built by s3prl's hub."""

import argparse
import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import torch
from torch import nn

from ..audio import SAMPLE_RATE
from ..downstream.flags import DEFAULTS
from ..downstream.upstream_checks import check_upstream
from ..errors import FitHubertError
from ..models.inference import Feature
from ..upstream.hubconf import register

UPSTREAM = "[LABEL=]NAME[:CKPT][@FEATURE]"


@dataclass(frozen=True)
class Upstream:
    """An upstream as s3prl's -u, -k and -s name it; `feature` None is s3prl's weighted sum of hidden states."""

    label: str
    name: str
    ckpt: str | None = None
    feature: str | None = None

    @property
    def flags(self) -> list[str]:
        flags = ["-u", self.name]
        if self.ckpt is not None:  # absolute: training may go on from another folder
            flags += ["-k", str(Path(self.ckpt).absolute()) if Path(self.ckpt).exists() else self.ckpt]
        return flags if self.feature is None else [*flags, "-s", self.feature]


def parse_upstream(text: str) -> Upstream:
    """Read `[LABEL=]NAME[:CKPT][@FEATURE]`; the label is the name where it is left out.

    Raises
    ------
    FitHubertError
        It is not of that form.
    """
    match = re.fullmatch(r"(?:(?P<label>\w[\w.-]*)=)?(?P<name>\w+)(?::(?P<ckpt>.+?))?(?:@(?P<feature>\w+))?", text)
    if match is None:
        raise FitHubertError(
            f"-u {text}: expected {UPSTREAM}, the label of letters, digits, '.', '_' and '-'; "
            "for example student=fithubert:student.safetensors@last_hidden_state"
        )
    return Upstream(match["label"] or match["name"], match["name"], match["ckpt"], match["feature"])


def check_labels(upstreams: Sequence[Upstream]) -> None:
    """Raise FitHubertError when two upstreams have one label."""
    labels = [upstream.label.casefold() for upstream in upstreams]  # as folders of many systems are told apart
    for upstream in upstreams:
        if labels.count(upstream.label.casefold()) > 1:
            raise FitHubertError(
                f"-u {upstream.label}: expected each label once, found it again; give "
                f"-u OTHER_LABEL={upstream.label}..."
            )


def build(upstream: Upstream) -> nn.Module:
    """Build an upstream from s3prl's hub, in eval mode. Raises FitHubertError if it has no such feature."""
    register()
    from s3prl import hub

    check_upstream(argparse.Namespace(**DEFAULTS | {"upstream": upstream.name, "upstream_ckpt": upstream.ckpt}), hub)
    model = getattr(hub, upstream.name)(**({} if upstream.ckpt is None else {"ckpt": upstream.ckpt})).eval()
    if upstream.feature is not None:  # s3prl would take hidden_states instead
        with torch.no_grad():
            features = model([torch.zeros(SAMPLE_RATE)])
        if upstream.feature not in features:
            found = ", ".join(map(str, features))
            raise FitHubertError(f"-u {upstream.name}: expected a feature named {upstream.feature}, found {found}")
    return model


class Size(NamedTuple):
    """What an upstream holds, and what it gives."""

    parameters: int
    feature_bytes: int  # for each second of speech


@torch.no_grad()
def size_of(upstream: Upstream) -> Size:
    """The size of an upstream. Raises FitHubertError as `build`."""
    model = build(upstream)
    one, two = (model([torch.zeros(seconds * SAMPLE_RATE)]) for seconds in (1, 2))
    feature = upstream.feature or "hidden_states"
    return Size(sum(p.numel() for p in model.parameters()), _bytes(two[feature]) - _bytes(one[feature]))


def _bytes(feature: Feature) -> int:
    layers = feature.values() if isinstance(feature, dict) else [feature] if torch.is_tensor(feature) else feature
    return sum(layer.numel() * layer.element_size() for layer in layers)


def digest_of(ckpt: str | None) -> str | None:
    """SHA-256 of a checkpoint's bytes (of all files of a folder); a URL or a name on a hub stands for itself."""
    if ckpt is None or not Path(ckpt).exists():
        return ckpt
    root = Path(ckpt)
    files = [root] if root.is_file() else sorted(path for path in root.rglob("*") if path.is_file())
    digest = hashlib.sha256()
    for path in files:
        digest.update(b"" if path == root else path.relative_to(root).as_posix().encode())
        with path.open("rb") as file:
            while block := file.read(1 << 20):
                digest.update(block)
    return digest.hexdigest()

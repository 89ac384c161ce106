"""How upstreams are named on a command line: `[LABEL=]NAME[:CKPT][@FEATURE]`. Imports no torch."""

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ..errors import FitHubertError

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

"""Checkpoints of a student: our own file, the pretrain runner's states, and the authors' releases of the family.

Our own format is one safetensors file with the config in its metadata. Nothing here unpickles anything
but tensors and plain containers.
"""

import json
import zipfile
from pathlib import Path

import safetensors
from safetensors.torch import save
from torch import Tensor, nn

from ..errors import FitHubertError
from ..files import atomic_path
from ..models.config import FitHubertConfig
from ..models.fithubert import FitHubert
from ..settings.files import read_yaml
from .distilhubert import DISTILLER_KEY, convert_distilhubert
from .dphubert import convert_dphubert, is_dphubert
from .official import convert_official
from .torch_files import read_torch
from .weights import build_model

FORMAT = "fithubert"
STUDENT_KEY = "FitHubert"  # the student's place in the states that s3prl's pretrain runner saves
CONFIG_KEY = "FitHubert_Config"


def save_fithubert(model: FitHubert, path: str | Path) -> None:
    """Write config and weights into one safetensors file, under a temporary name first."""
    save_safetensors(model, path, {"format": FORMAT, "version": "1", "config": model.config.to_json()})


def save_safetensors(model: nn.Module, path: str | Path, metadata: dict[str, str]) -> None:
    """Write a model's weights and its metadata: the whole file or none, and the same bytes each time."""
    weights = {name: tensor.detach().cpu().contiguous() for name, tensor in model.state_dict().items()}
    content = with_sorted_metadata(save(weights, metadata))
    with atomic_path(path) as temporary:
        temporary.write_bytes(content)


def with_sorted_metadata(content: bytes) -> bytes:
    """A safetensors file with its metadata in alphabetical order; the library writes it in a random one.

    The file is the length of its header in 8 bytes, the header in JSON, filled up with spaces to a multiple of 8, and
    the tensors (https://github.com/huggingface/safetensors#format).
    """
    start = 8 + int.from_bytes(content[:8], "little")
    header = json.loads(content[8:start])
    header = {"__metadata__": dict(sorted(header.pop("__metadata__", {}).items())), **header}
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text + content[start:]


def load_checkpoint(ckpt: str | Path, model_config: str | Path | None = None) -> FitHubert:
    """Load a student from any of these files, in eval mode on the CPU.

    Parameters
    ----------
    ckpt : path
        Our `.safetensors`; a `states-*.ckpt` of `fithubert pretrain`; an official Lightning `.ckpt` of FitHuBERT,
        MaskHuBERT, ARMHuBERT or STaRHuBERT; s3prl's `.ckpt` of DistilHuBERT; a `.pth` of DPHuBERT or DPWavLM.
    model_config : path, optional
        The official `.yaml`, needed for a Lightning `.ckpt` only. For the others, whose config lies inside, it may
        repeat the student's config but not contradict it.

    Raises
    ------
    FitHubertError
        The file is missing, truncated, of another format, or does not fit its config.
    """
    path = Path(ckpt)
    check_file(path)
    if zipfile.is_zipfile(path):
        content = read_torch(path)
        if STUDENT_KEY in content:
            config = FitHubertConfig.from_dict(content[CONFIG_KEY], str(path))
            model = build_model(config, content[STUDENT_KEY], path)
        elif DISTILLER_KEY in content:
            model = convert_distilhubert(path, content)
        elif is_dphubert(content):
            model = convert_dphubert(path, content)
        else:
            return convert_official(path, model_config, content)
    else:
        model = _load_safetensors(path)
    if model_config is not None:
        block = read_yaml(model_config)
        if "distiller" in block:
            raise FitHubertError(
                f"{model_config}: expected no official .yaml beside {path}, whose config lies inside; leave -g out"
            )
        given = FitHubertConfig.from_dict(block.get("student", block), str(model_config))
        if given.to_dict() | {"head_layers": None} != model.config.to_dict() | {"head_layers": None}:
            raise FitHubertError(
                f"{model_config}: contradicts the config inside {path}; leave -g out, the checkpoint is enough"
            )
    return model.eval()


def check_file(path: Path) -> None:
    """Raise FitHubertError unless there is such a file."""
    if not path.is_file():
        raise FitHubertError(f"{path}: expected a checkpoint file, found {'a folder' if path.is_dir() else 'nothing'}")


def read_safetensors(path: Path, expected: str) -> tuple[dict[str, str], dict[str, Tensor]]:
    """Metadata and weights. Raises FitHubertError, which says what was `expected`, for anything else."""
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            weights = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a dict)
            return file.metadata() or {}, weights
    except (safetensors.SafetensorError, OSError) as error:
        raise FitHubertError(
            f"{path}: expected {expected}, found a truncated file or another format ({error})"
        ) from error


def _load_safetensors(path: Path) -> FitHubert:
    metadata, weights = read_safetensors(path, "a .safetensors student, a states-*.ckpt or an official .ckpt or .pth")
    if metadata.get("format") != FORMAT or "config" not in metadata:
        raise FitHubertError(
            f"{path}: not a FitHuBERT student: no student config in the safetensors metadata; "
            f"its first weight is {min(weights, default='missing')!r}"
        )
    return build_model(FitHubertConfig.from_json(metadata["config"], str(path)), weights, path)

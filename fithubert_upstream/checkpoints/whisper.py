"""Whisper's encoder from the files it is published in: transformers folders, and CTranslate2's model.bin."""

import json
import re
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import numpy as np
import torch
from torch import Tensor

from ..errors import FitHubertError
from ..models.whisper import LONGEST, MELS, WhisperConfig, WhisperEncoder
from .student import read_safetensors
from .weights import fill_weights

BINARY_VERSION, SPEC, REVISION = 6, "WhisperSpec", 3
_DTYPES = {0: "<f4", 1: "<i1", 2: "<i2", 3: "<i4", 4: "<f2"}  # CTranslate2's numbers; of weights as published, fp16
_MODULES = {
    "conv1": "conv1",
    "conv2": "conv2",
    "layer_norm": "layer_norm",
    "self_attention/layer_norm": "self_attn_layer_norm",
    "self_attention/linear_1": "self_attn.out_proj",
    "ffn/layer_norm": "final_layer_norm",
    "ffn/linear_0": "fc1",
    "ffn/linear_1": "fc2",
}
_KINDS = {"gamma": "weight", "beta": "bias", "weight": "weight", "bias": "bias"}


def load_whisper(model: str | Path) -> WhisperEncoder:
    """The encoder of a Whisper model, in eval mode, fp32, on the CPU.

    Parameters
    ----------
    model : a folder of transformers (`config.json` and `.safetensors`), a hub id such as `openai/whisper-base`, a
        CTranslate2 `model.bin` (faster-whisper's format), a folder with one or its parts (`model.bin.part1`, ...), or
        those parts with commas between.

    Raises
    ------
    FitHubertError
        It is not there, damaged, or of another model or version.
    """
    paths = [Path(part) for part in str(model).split(",")]
    if len(paths) == 1 and paths[0].is_dir():
        paths = sorted(paths[0].glob("model.bin*")) or paths
    missing = [path for path in paths if not path.exists()]
    if not missing and all(path.is_file() for path in paths):
        return _from_ctranslate2(paths)
    if len(paths) > 1:
        raise FitHubertError(f"Whisper {model}: expected the parts of a model.bin, found no file {missing[0]}")
    return _from_transformers(str(model))


def _build(config: WhisperConfig, weights: dict[str, Tensor], where: str) -> WhisperEncoder:
    with torch.device("meta"):
        encoder = WhisperEncoder(config)
    fill_weights(encoder, weights, Path(where))
    return encoder.eval()


# --- transformers -----------------------------------------------------------------------------------


def _from_transformers(model: str) -> WhisperEncoder:
    folder = Path(model)
    if not folder.is_dir():
        folder = _downloaded(model)
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise FitHubertError(f"{folder}: expected config.json of a Whisper model, found: {error}") from error
    if config.get("model_type") != "whisper":
        raise FitHubertError(f"{folder}: expected a Whisper model, found type {config.get('model_type')}")
    if config.get("num_mel_bins") != MELS or config.get("max_source_positions") != LONGEST:
        raise FitHubertError(
            f"{folder}: expected {MELS} mels and {LONGEST} positions, found {config.get('num_mel_bins')} and "
            f"{config.get('max_source_positions')}"
        )
    files = sorted(folder.glob("model*.safetensors"))
    if not files:
        raise FitHubertError(f"{folder}: expected model.safetensors, found none; save the model with safetensors")
    weights = {}
    for file in files:
        for name, tensor in read_safetensors(file, "Whisper's weights")[1].items():
            if (match := re.fullmatch(r"(?:model\.)?encoder\.(.+)", name)) is not None:
                weights[match[1]] = tensor
    shape = WhisperConfig(
        config["d_model"], config["encoder_layers"], config["encoder_attention_heads"], config["encoder_ffn_dim"]
    )
    return _build(shape, weights, str(folder))


def _downloaded(model: str) -> Path:
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(model, allow_patterns=["config.json", "model*.safetensors"]))
    except Exception as error:  # each failure of the hub has a class of its own
        raise FitHubertError(
            f"Whisper {model}: expected a folder, a model.bin or a hub id, found: {' '.join(str(error).split())[:160]}"
        ) from error


# --- CTranslate2 ------------------------------------------------------------------------------------


class _Parts:
    """Files read one after the other, as if they were one."""

    def __init__(self, paths: list[Path]):
        self.names = ", ".join(map(str, paths))
        self.files: list[BinaryIO] = [open(path, "rb") for path in paths]

    def __enter__(self) -> "_Parts":
        return self

    def __exit__(self, *error: object) -> None:
        for file in self.files:
            file.close()

    def read(self, size: int) -> bytes:
        """Exactly so many bytes. Raises FitHubertError when the files end before."""
        content = b""
        for file in self.files:
            content += file.read(size - len(content))
            if len(content) == size:
                return content
        raise FitHubertError(f"{self.names}: expected a whole CTranslate2 model.bin, found its end; give all its parts")

    def number(self, kind: str) -> int:
        return struct.unpack(f"<{kind}", self.read(struct.calcsize(f"<{kind}")))[0]

    def string(self) -> str:
        return self.read(self.number("H")).rstrip(b"\0").decode("utf-8", "replace")


def _from_ctranslate2(paths: list[Path]) -> WhisperEncoder:
    weights: dict[str, Tensor] = {}
    heads = None
    with _Parts(paths) as file:
        version = file.number("I")
        if version != BINARY_VERSION:
            raise FitHubertError(
                f"{file.names}: expected a CTranslate2 model.bin of version {BINARY_VERSION}, found {version}"
            )
        spec, revision = file.string(), file.number("I")
        if (spec, revision) != (SPEC, REVISION):
            raise FitHubertError(
                f"{file.names}: expected {SPEC} of revision {REVISION}, found {spec!r} of revision {revision}"
            )
        for name, value in _variables(file):
            if name == "encoder/num_heads":
                heads = int(value.reshape(-1)[0])
            elif name.startswith("encoder/"):
                weights |= _renamed(name.removeprefix("encoder/"), value, file.names)
        where = file.names
    if "conv1.weight" not in weights or heads is None:
        missing = "heads" if weights else "weights"
        raise FitHubertError(f"{where}: expected Whisper's encoder, found no {missing} of one")
    layers = 1 + max(int(match[1]) for name in weights if (match := re.match(r"layers\.(\d+)\.", name)))
    width = len(weights["conv1.weight"])
    config = WhisperConfig(width, layers, heads, len(weights["layers.0.fc1.weight"]))
    return _build(config, weights, where)


def _variables(file: _Parts) -> Iterator[tuple[str, np.ndarray]]:
    for _ in range(file.number("I")):
        name = file.string()
        shape = [file.number("I") for _ in range(file.number("B"))]
        dtype, size = file.number("B"), file.number("I")
        content = file.read(size)
        if dtype not in _DTYPES:
            raise FitHubertError(f"{file.names}: {name}: expected a known type of numbers, found number {dtype}")
        yield name, np.frombuffer(content, _DTYPES[dtype]).reshape(shape)


def _renamed(name: str, value: np.ndarray, where: str) -> dict[str, Tensor]:
    """A variable below `encoder/` as weights under transformers' names; {} for what is no weight."""
    prefix = ""
    if (match := re.match(r"layer_(\d+)/", name)) is not None:
        prefix, name = f"layers.{match[1]}.", name[match.end() :]
    module, _, kind = name.rpartition("/")
    if value.dtype == np.int8:
        raise FitHubertError(f"{where}: expected floating point, found 8-bit weights; give a model in fp16 or fp32")
    if value.dtype.kind != "f" or not value.ndim:
        return {}
    tensor = torch.from_numpy(value.astype(np.float32))
    if name == "position_encodings/encodings":
        return {"embed_positions.weight": tensor}
    if module == "self_attention/linear_0":  # queries, keys and values in one; keys have no bias
        parts = tensor.chunk(3)
        return {
            f"{prefix}self_attn.{which}_proj.{kind}": part
            for which, part in zip("qkv", parts, strict=True)
            if (which, kind) != ("k", "bias")
        }
    return {f"{prefix}{_MODULES.get(module, module)}.{_KINDS.get(kind, kind)}": tensor}

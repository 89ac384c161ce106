"""An ONNX file in onnxruntime. Imports torch only for those who have tensors."""

import importlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import FitHubertError, from_extra

if TYPE_CHECKING:
    from torch import Tensor

FORMAT = "fithubert-onnx"
JOINT_FORMAT = "fithubert-joint-onnx"
# Which command writes a file of each format.
WRITERS = {FORMAT: "fithubert export", JOINT_FORMAT: "fithubert export-joint"}


def open_session(file: str | Path | bytes, threads: int | None = None) -> Any:
    """An `onnxruntime.InferenceSession` of a file or its content, on the CPU; without `threads`, with PyTorch's."""
    import onnxruntime

    if threads is None:
        import torch

        threads = torch.get_num_threads()
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    # Threads that wait for work by spinning take the cores from what PyTorch does next, and save onnxruntime nothing.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.log_severity_level = 3  # errors only
    file = file if isinstance(file, bytes) else str(file)
    return onnxruntime.InferenceSession(file, options, providers=["CPUExecutionProvider"])


def open_exported(
    path: str | Path, formats: tuple[str, ...] = (FORMAT,), threads: int | None = None
) -> tuple[Any, dict[str, str], bytes]:
    """The session of a file of ours, its metadata, and its content.

    Raises
    ------
    FitHubertError
        onnxruntime is missing, or the file is missing, damaged or of none of these `formats`.
    """
    path, writers = Path(path), " or ".join(f"`{WRITERS[name]}`" for name in formats)
    with from_extra("onnx", str(path)):
        importlib.import_module("onnxruntime")
    if not path.is_file():
        found = "a folder" if path.is_dir() else "nothing"
        raise FitHubertError(f"{path}: expected an .onnx file of {writers}, found {found}")
    content = path.read_bytes()
    try:
        session = open_session(content, threads)
    except Exception as error:  # onnxruntime has a class of its own for each kind of damage, below no common one
        raise FitHubertError(
            f"{path}: expected an .onnx file of {writers}, found a damaged file or another format "
            f"({' '.join(str(error).split())[:120]})"
        ) from error
    metadata = session.get_modelmeta().custom_metadata_map
    if metadata.get("format") not in formats or "config" not in metadata:
        found = WRITERS.get(metadata.get("format"))
        found = f"one of `{found}`" if found else "no config in its metadata"
        raise FitHubertError(f"{path}: an ONNX file, but not one of {writers} ({found})")
    return session, metadata, content


def run_arrays(session: Any, waveforms: np.ndarray, lengths: np.ndarray) -> dict[str, np.ndarray]:
    """All outputs of an exported file by name, for (B, T) float32 waveforms and (B,) int64 lengths."""
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(names, {"waveforms": waveforms, "lengths": lengths}), strict=True))


def run(session: Any, waveforms: "Tensor", lengths: "Tensor") -> dict[str, "Tensor"]:
    """`run_arrays` from tensors to tensors."""
    import torch

    outputs = run_arrays(session, waveforms.numpy().astype(np.float32, copy=False), lengths.numpy())
    return {name: torch.from_numpy(value) for name, value in outputs.items()}

"""An ONNX file in onnxruntime."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

FORMAT = "fithubert-onnx"


def open_session(file: str | Path | bytes) -> Any:
    """An `onnxruntime.InferenceSession` of a file or its content, on the CPU with as many threads as PyTorch has."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    # Threads that wait for work by spinning take the cores from what PyTorch does next, and save onnxruntime nothing.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.log_severity_level = 3  # errors only
    file = file if isinstance(file, bytes) else str(file)
    return onnxruntime.InferenceSession(file, options, providers=["CPUExecutionProvider"])


def run(session: Any, waveforms: Tensor, lengths: Tensor) -> dict[str, Tensor]:
    """All outputs of an exported file by name, for (B, T) waveforms and (B,) lengths."""
    inputs = {"waveforms": waveforms.numpy().astype(np.float32, copy=False), "lengths": lengths.numpy()}
    names = [output.name for output in session.get_outputs()]
    return {name: torch.from_numpy(value) for name, value in zip(names, session.run(names, inputs), strict=True)}

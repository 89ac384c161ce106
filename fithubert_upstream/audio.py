"""Reading recordings."""

from pathlib import Path

import numpy as np
import soundfile
import torch
from torch import Tensor

from .audio_scan import AUDIO_SUFFIXES
from .errors import FitHubertError
from .lengths import SAMPLE_RATE


def load_waveform(path: str | Path) -> Tensor:
    """(T,) float32 samples in [-1, 1] of a mono 16 kHz file.

    Raises FitHubertError when it cannot be decoded, is not 16 kHz, not mono, empty, or holds NaN.
    """
    try:
        samples, rate = soundfile.read(path, dtype="float32")
    except (soundfile.SoundFileError, OSError) as error:
        raise FitHubertError(f"{path}: expected an audio file, found: {error}") from error
    if rate != SAMPLE_RATE:
        raise FitHubertError(f"{path}: expected {SAMPLE_RATE} Hz, found {rate} Hz; resample the corpus first")
    if samples.ndim != 1:
        raise FitHubertError(f"{path}: expected a mono file, found {samples.shape[1]} channels")
    if len(samples) == 0:
        raise FitHubertError(f"{path}: expected samples, found an empty file")
    if not np.isfinite(samples).all():
        raise FitHubertError(f"{path}: found NaN or infinite samples")
    return torch.from_numpy(samples)


def find_audio(root: str | Path, sets: list[str] | None = None) -> list[Path]:
    """All .flac and .wav files below `root`, or below its sub-folders `sets`, sorted.

    Raises FitHubertError when a folder is missing or holds no audio.
    """
    root = Path(root)
    files = []
    for folder in [root / name for name in sets] if sets else [root]:
        if not folder.is_dir():
            found = ", ".join(sorted(p.name for p in root.iterdir() if p.is_dir())) if root.is_dir() else "no such root"
            raise FitHubertError(
                f"{folder}: expected a folder of audio, found none (in {root}: {found or 'no folders'})"
            )
        inside = sorted(p for p in folder.rglob("*") if p.suffix.lower() in AUDIO_SUFFIXES)
        if not inside:
            raise FitHubertError(f"{folder}: expected .flac or .wav files, found none")
        files += inside
    return files

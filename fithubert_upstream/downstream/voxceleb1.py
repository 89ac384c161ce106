"""Speaker verification's utterances after its effects: how long silence trimming leaves them."""

from pathlib import Path

from fithubert_upstream.audio_scan import scan
from fithubert_upstream.errors import FitHubertError
from fithubert_upstream.sox_effects import apply_effects_file

# s3prl's chain for VoxCeleb1 (downstream/sv_voxceleb1/dataset.py)
EFFECTS = [
    ["channels", "1"],
    ["rate", "16000"],
    ["gain", "-3.0"],
    ["silence", "1", "0.1", "0.1%", "-1", "0.1", "0.1%"],
]


def trimmed_length(path: Path) -> int:
    """Samples at 16 kHz that are left of a file after the effects; may be 0."""
    waveform, _ = apply_effects_file(str(path), EFFECTS)
    return waveform.size(1)


def trimmed_lengths(paths: list[str]) -> list[int]:
    """Lengths of many files in samples, in their order, remembered from one run to the next.

    Raises
    ------
    FitHubertError
        A file cannot be decoded.
    """
    files = [Path(path) for path in paths]
    lengths = scan(files, trimmed_length, "Trimming silence")
    for path in files:
        if isinstance(lengths[path], str):
            raise FitHubertError(lengths[path])
    return [lengths[path] for path in files]

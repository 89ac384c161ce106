"""torchaudio on today's PyTorch: what s3prl 0.4.18 and transformers need and newer releases lack.

`apply()` runs every repair; each one looks first whether the thing is really missing, and may be
called again.
"""

import importlib
import importlib.util
import os
import sys
import types
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import torch

from ..audio.decode import Source, opened, read_audio
from ..audio.sox import apply_effects_file, apply_effects_tensor


def apply() -> None:
    """Make torchaudio import, name its backends, read and write, and have SoX effects; safe to repeat."""
    mend_torchaudio_import()
    add_torchaudio_backends()
    add_torchaudio_io()
    add_sox_effects()


def mend_torchaudio_import() -> None:
    """torchaudio dies at import when its binary extension does not fit the installed torch."""
    if "torchaudio" in sys.modules:
        return
    try:
        importlib.import_module("torchaudio")
        return
    except ModuleNotFoundError:  # not installed at all: nothing to mend
        raise
    except (OSError, ImportError, RuntimeError):
        # OSError: no libc10_cuda.so beside a CPU-only torch; RuntimeError: another CUDA version.
        for name in [name for name in sys.modules if name.split(".")[0] == "torchaudio"]:
            del sys.modules[name]
    # torchaudio knows how to live without the extension, when `_load_lib` answers False. Its own
    # `_extension/__init__.py` takes the function from the `utils` that is registered here.
    package = importlib.util.find_spec("torchaudio")
    name = "torchaudio._extension.utils"
    path = Path(package.submodule_search_locations[0], "_extension", "utils.py")
    spec = importlib.util.spec_from_file_location(name, path)
    utils = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(utils)
    utils._load_lib = lambda lib: False
    sys.modules[name] = utils
    importlib.import_module("torchaudio")


def add_torchaudio_backends() -> None:
    """torchaudio >= 2.9 has no `set_audio_backend` and its kin, which s3prl calls at import."""
    import torchaudio

    if not hasattr(torchaudio, "set_audio_backend"):
        torchaudio.set_audio_backend = lambda backend: None
    if not hasattr(torchaudio, "get_audio_backend"):
        torchaudio.get_audio_backend = lambda: "soundfile"
    if not hasattr(torchaudio, "list_audio_backends"):
        torchaudio.list_audio_backends = lambda: ["soundfile"]


def add_torchaudio_io() -> None:
    """torchaudio >= 2.9 reads and writes through TorchCodec only: use soundfile where it is absent."""
    import torchaudio

    if hasattr(torchaudio, "load_with_torchcodec") and importlib.util.find_spec("torchcodec") is None:
        torchaudio.load = load_audio
        torchaudio.save = save_audio
    if not hasattr(torchaudio, "info"):
        torchaudio.info = audio_info


def load_audio(
    uri,
    frame_offset: int = 0,
    num_frames: int = -1,
    normalize: bool = True,
    channels_first: bool = True,
    format: str | None = None,
    buffer_size: int = 4096,
    backend: str | None = None,
) -> tuple[torch.Tensor, int]:
    """`torchaudio.load` over soundfile.

    Returns ((channels, time), or (time, channels) without channels_first; the rate in Hz). Samples
    are float32 in [-1, 1]; with normalize=False those of 16 and 32 bit PCM keep their integers.
    Raises FitHubertError as `decode.read_audio`.
    """
    source, dtype = _source(uri), "float32"
    if not normalize:
        with opened(source) as file:
            dtype = {"PCM_16": "int16", "PCM_32": "int32"}.get(file.subtype, dtype)
    audio = read_audio(source, dtype, frame_offset, None if num_frames == -1 else num_frames)
    waveform = torch.from_numpy(audio.samples)  # (time, channels)
    return (waveform.t().contiguous() if channels_first else waveform), audio.rate


def save_audio(
    uri,
    src: torch.Tensor,
    sample_rate: int,
    channels_first: bool = True,
    format: str | None = None,
    encoding: str | None = None,
    bits_per_sample: int | None = None,
    buffer_size: int = 4096,
    backend: str | None = None,
    compression: float | None = None,
) -> None:
    """`torchaudio.save` over soundfile; src is (channels, time), (time, channels) or one channel."""
    import soundfile

    samples = src.detach().cpu()
    if samples.ndim == 2 and channels_first:
        samples = samples.t()
    subtype = "FLOAT" if encoding == "PCM_F" else f"PCM_{bits_per_sample}" if bits_per_sample else None
    uri = os.fspath(uri) if isinstance(uri, os.PathLike) else uri
    soundfile.write(uri, samples.numpy(), sample_rate, subtype=subtype, format=format and format.upper())


@dataclass(frozen=True)
class AudioInfo:
    """What `torchaudio.info` returned before torchaudio 2.9."""

    sample_rate: int
    num_frames: int
    num_channels: int
    bits_per_sample: int
    encoding: str


def audio_info(uri, format: str | None = None, buffer_size: int = 4096, backend: str | None = None) -> AudioInfo:
    """`torchaudio.info` over soundfile; bits_per_sample is 0 where the format has no such number."""
    bits = {"PCM_S8": 8, "PCM_U8": 8, "PCM_16": 16, "PCM_24": 24, "PCM_32": 32, "FLOAT": 32, "DOUBLE": 64}
    with opened(_source(uri)) as file:
        encoding = file.format if file.format in ("FLAC", "MP3") else file.subtype
        return AudioInfo(file.samplerate, file.frames, file.channels, bits.get(file.subtype, 0), encoding)


def _source(uri) -> Source:
    return BytesIO(uri.read()) if hasattr(uri, "read") else os.fspath(uri)


def add_sox_effects() -> None:
    """torchaudio >= 2.9 has no `sox_effects`, from which s3prl's datasets import."""
    import torchaudio

    if hasattr(torchaudio, "sox_effects") or importlib.util.find_spec("torchaudio.sox_effects") is not None:
        return
    module = types.ModuleType("torchaudio.sox_effects")
    module.apply_effects_file = apply_effects_file
    module.apply_effects_tensor = apply_effects_tensor
    torchaudio.sox_effects = sys.modules[module.__name__] = module

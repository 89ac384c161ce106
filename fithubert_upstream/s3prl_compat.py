"""s3prl 0.4.18 on today's PyTorch: every repair of s3prl's and torchaudio's internals, and nothing else.

`apply()` runs the repairs that a plain `import s3prl.hub` needs; each one looks first whether the
thing is really missing, and may be called again. The context managers below it are for the
length of one run. This module imports nothing of ours.
"""

import argparse
import contextlib
import functools
import importlib
import importlib.util
import logging
import os
import sys
import types
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import torch

# Stands for "there was nothing", where None may be a real value.
_ABSENT = object()


def apply() -> None:
    """Make `import s3prl.hub` and s3prl's runners work; safe to repeat."""
    mend_torchaudio_import()
    add_torchaudio_backends()
    add_torchaudio_io()
    add_sox_effects()
    add_huggingface_names()
    allow_checkpoint_classes()
    keep_isinstance()
    keep_ctc_workers()
    silence_noise()


# --------------------------------------------------------------------------------------------
# torchaudio


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
    """
    import soundfile

    with soundfile.SoundFile(_soundfile_uri(uri)) as file:
        dtype = "float32" if normalize else {"PCM_16": "int16", "PCM_32": "int32"}.get(file.subtype, "float32")
        file.seek(min(frame_offset, file.frames))
        samples = file.read(num_frames, dtype=dtype, always_2d=True)  # (time, channels)
        rate = file.samplerate
    waveform = torch.from_numpy(samples)
    return (waveform.t().contiguous() if channels_first else waveform), rate


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
    uri = _soundfile_uri(uri)
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
    import soundfile

    info = soundfile.info(_soundfile_uri(uri))
    bits = {"PCM_S8": 8, "PCM_U8": 8, "PCM_16": 16, "PCM_24": 24, "PCM_32": 32, "FLOAT": 32, "DOUBLE": 64}
    encoding = info.format if info.format in ("FLAC", "MP3") else info.subtype
    return AudioInfo(info.samplerate, info.frames, info.channels, bits.get(info.subtype, 0), encoding)


def _soundfile_uri(uri):
    return os.fspath(uri) if isinstance(uri, os.PathLike) else uri


def add_sox_effects() -> None:
    """torchaudio >= 2.9 has no `sox_effects`, from which s3prl's datasets import."""
    import torchaudio

    if hasattr(torchaudio, "sox_effects") or has_module("torchaudio.sox_effects"):
        return
    module = types.ModuleType("torchaudio.sox_effects")
    module.apply_effects_file = _no_effects
    module.apply_effects_tensor = _no_effects
    torchaudio.sox_effects = sys.modules[module.__name__] = module


def _no_effects(source, *args, **kwargs):
    # apply_effects_file(path, effects, ...), apply_effects_tensor(tensor, rate, effects, ...)
    effects = kwargs.get("effects") or next((a for a in args if isinstance(a, (list, tuple))), [])
    chain = ", ".join(" ".join(map(str, effect)) for effect in effects)
    raise NotImplementedError(f"this torchaudio has no SoX effects, the chain '{chain}' is not rebuilt yet")


# --------------------------------------------------------------------------------------------
# huggingface_hub


def add_huggingface_names() -> None:
    """huggingface_hub >= 1.0 has no `HfFolder` and `Repository`, which s3prl's runner imports."""
    import huggingface_hub

    if not hasattr(huggingface_hub, "HfFolder"):
        huggingface_hub.HfFolder = _HfFolder
    if not hasattr(huggingface_hub, "Repository"):
        huggingface_hub.Repository = _Repository


class _HfFolder:
    """The token store of huggingface_hub < 1.0, over its present functions."""

    @staticmethod
    def get_token() -> str | None:
        import huggingface_hub

        return huggingface_hub.get_token()

    @staticmethod
    def save_token(token: str) -> None:
        import huggingface_hub

        huggingface_hub.login(token=token)


class _Repository:
    """The git clone of huggingface_hub < 1.0: gone, and only `--push_to_hf_hub` wants it."""

    def __init__(self, *args, **kwargs) -> None:
        raise RuntimeError(
            "huggingface_hub >= 1.0 has no Repository, so s3prl's --push_to_hf_hub cannot work; "
            "leave the flag out and upload the folder with `hf upload`"
        )


# --------------------------------------------------------------------------------------------
# s3prl


def allow_checkpoint_classes() -> None:
    """torch >= 2.6 refuses the harmless classes in s3prl's own checkpoints: allow just those."""
    from s3prl import optimizers

    # The optimizers that carry their schedule keep it in their state. s3prl's run_pretrain, run
    # from its folder, writes the module's name without the package.
    schedules = sorted(set(optimizers.SCHEDULES.values()), key=str)
    torch.serialization.add_safe_globals(
        [
            argparse.Namespace,
            *schedules,
            *[(kind, f"optimizers.{kind.__name__}") for kind in schedules],
        ]
    )


def keep_isinstance() -> None:
    """s3prl replaces `builtins.isinstance` in the whole process, for the sake of torch < 1.8."""
    from s3prl.utility import helper

    if helper.hack_isinstance is not _leave_isinstance:
        helper.hack_isinstance = _leave_isinstance
    run_downstream = sys.modules.get("s3prl.run_downstream")
    if run_downstream is not None:
        run_downstream.hack_isinstance = _leave_isinstance


def _leave_isinstance() -> None:
    pass


def keep_ctc_workers() -> None:
    """s3prl's CTC tasks pop `num_workers` from the shared config: from the second call on it is 12."""
    from s3prl.downstream.ctc import data

    if not hasattr(data.load_dataset, "__wrapped__"):
        data.load_dataset = _with_own_corpus(data.load_dataset)
    expert = sys.modules.get("s3prl.downstream.ctc.expert")
    if expert is not None:  # it took the function by name
        expert.load_dataset = data.load_dataset


def _with_own_corpus(load_dataset: Callable) -> Callable:
    @functools.wraps(load_dataset)
    def load(split, tokenizer, corpus):
        return load_dataset(split, tokenizer, dict(corpus))

    return load


def silence_noise() -> None:
    """s3prl warns at import of an ESPnet nobody asked for, and at every use of its old torch calls."""
    logging.getLogger("s3prl.upstream.espnet_hubert.expert").setLevel(logging.ERROR)
    for message, category in (
        (r".*torch\.cuda\.amp\.(autocast|GradScaler)\(args\.\.\.\)` is deprecated", FutureWarning),
        (r".*This overload of (add_|addcmul_|addcdiv_) is deprecated", UserWarning),
    ):
        # (?s): torch's message of the overloads begins with a line break
        warnings.filterwarnings("ignore", message=f"(?s){message}", category=category)


# --------------------------------------------------------------------------------------------
# for the length of one run


@contextlib.contextmanager
def replaced(owner: object, name: str, value: object) -> Iterator[None]:
    """Set an attribute for the length of a `with` block."""
    before = getattr(owner, name)
    setattr(owner, name, value)
    try:
        yield
    finally:
        setattr(owner, name, before)


@contextlib.contextmanager
def atomic_torch_save() -> Iterator[None]:
    """s3prl's runners write checkpoints in place: a kill while saving leaves half a file.

    In the block `torch.save(obj, path)` writes `path.tmp` and renames it; file objects are as ever.
    """
    save = torch.save

    def save_and_rename(obj, f, *args, **kwargs):
        if not isinstance(f, (str, os.PathLike)):
            return save(obj, f, *args, **kwargs)
        temporary = f"{os.fspath(f)}.tmp"  # same folder, hence same file system
        try:
            with open(temporary, "wb") as file:
                save(obj, file, *args, **kwargs)
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, f)
        except BaseException:
            Path(temporary).unlink(missing_ok=True)
            raise

    with replaced(torch, "save", save_and_rename):
        yield


@contextlib.contextmanager
def without_cuda() -> Iterator[None]:
    """s3prl's runner enters `torch.cuda.device("cpu")` for `--device cpu` on a machine with a GPU."""
    with replaced(torch.cuda, "is_available", lambda: False):
        yield


@contextlib.contextmanager
def recorded_scalars() -> Iterator[dict[str, float]]:
    """s3prl only prints a run's results: collect what its downstream runner logs.

    Yields a dict that fills during the run: tag of `add_scalar` (such as
    `ctc-libriphone/test-per`) -> last value.
    """
    from s3prl.downstream import runner

    scalars: dict[str, float] = {}
    writers = []

    class Recorder(runner.SummaryWriter):
        def __init__(self, *args, **kwargs):
            super().__init__(*args, **kwargs)
            writers.append(self)

        def add_scalar(self, tag, scalar_value, *args, **kwargs):
            scalars[tag] = float(scalar_value)
            return super().add_scalar(tag, scalar_value, *args, **kwargs)

    try:
        with replaced(runner, "SummaryWriter", Recorder):
            yield scalars
    finally:
        for writer in writers:  # s3prl leaves its log open when a run fails; Python 3.12 complains at exit
            writer.close()


# --------------------------------------------------------------------------------------------
# modules under other names


def has_module(name: str) -> bool:
    """Whether a dotted module can be imported (its parents are, to find out)."""
    if name in sys.modules:
        return True
    try:
        return importlib.util.find_spec(name) is not None
    except ModuleNotFoundError:  # a parent is missing
        return False


def provide_module(name: str, module: types.ModuleType) -> Callable[[], None]:
    """Register a module under a dotted name that s3prl imports but does not ship.

    Parents that do not exist are created as empty packages. Returns a function that undoes it all,
    and puts back what stood under the name before.
    """
    undo = contextlib.ExitStack()
    parent = None
    parts = name.split(".")
    for depth in range(1, len(parts)):
        parent_name = ".".join(parts[:depth])
        if has_module(parent_name):
            parent = importlib.import_module(parent_name)
        else:
            package = types.ModuleType(parent_name, "An empty package, made by provide_module.")
            package.__path__ = []
            _place(undo, parent, parent_name, package)
            parent = package
    _place(undo, parent, name, module)
    return undo.close


def _place(undo: contextlib.ExitStack, parent: types.ModuleType | None, name: str, module: types.ModuleType):
    """Put a module into `sys.modules` and its parent, and note how to take it out."""
    undo.callback(_restore_item, sys.modules, name, sys.modules.get(name, _ABSENT))
    sys.modules[name] = module
    if parent is not None:
        attribute = name.rpartition(".")[2]
        undo.callback(_restore_item, vars(parent), attribute, vars(parent).get(attribute, _ABSENT))
        setattr(parent, attribute, module)


def _restore_item(mapping: dict, key: str, value: object) -> None:
    if value is _ABSENT:
        mapping.pop(key, None)
    else:
        mapping[key] = value


# What s3prl's pretraining imports as if it were run from inside s3prl's folder.
_TOP_LEVEL = ("optimizers", "schedulers", "pretrain", "utility", "upstream")


@contextlib.contextmanager
def top_level_names() -> Iterator[None]:
    """s3prl's pretraining imports `optimizers`, `pretrain`, ... : let those mean s3prl's, in the block.

    Afterwards the names are what they were, modules imported below them included.
    """

    def is_top_level(name: str) -> bool:
        return name.split(".")[0] in _TOP_LEVEL

    before = {name: module for name, module in sys.modules.items() if is_top_level(name)}
    for name in before:
        del sys.modules[name]
    try:
        for name in _TOP_LEVEL:
            sys.modules[name] = importlib.import_module(f"s3prl.{name}")
        yield
    finally:
        for name in [name for name in sys.modules if is_top_level(name)]:
            del sys.modules[name]
        sys.modules.update(before)


def pretrain_runner() -> type:
    """s3prl's `pretrain.runner.Runner`, which a normal import does not reach."""
    with top_level_names():
        return importlib.import_module("s3prl.pretrain.runner").Runner

"""s3prl 0.4.18 on today's PyTorch: every repair of s3prl's internals, and nothing else.

`apply()` runs the repairs that a plain `import s3prl.hub` needs; each one looks first whether the
thing is really missing, and may be called again. The context managers below it are for the
length of one run. torchaudio's own repairs are in `torchaudio_compat`, which `apply()` runs first.
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
from pathlib import Path

import torch
from torch.utils.data import DistributedSampler, Sampler

from . import tensorboard_compat, torchaudio_compat
from .files import atomic_path

# Stands for "there was nothing", where None may be a real value.
_ABSENT = object()


def apply() -> None:
    """Make `import s3prl.hub` and s3prl's runners work; safe to repeat."""
    torchaudio_compat.apply()
    tensorboard_compat.drop_what_cannot_be_written()
    add_huggingface_names()
    allow_checkpoint_classes()
    keep_isinstance()
    keep_ctc_workers()
    add_catalyst_sampler()
    add_sox_transformer()


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


def add_catalyst_sampler() -> None:
    """s3prl's keyword spotting imports one class of catalyst, a dead project."""
    if not _imports("catalyst.data.sampler"):
        module = types.ModuleType("catalyst.data.sampler")
        module.DistributedSamplerWrapper = DistributedSamplerWrapper
        provide_module(module.__name__, module)


class DistributedSamplerWrapper(DistributedSampler):
    """Deals the indices that a sampler draws to the processes of a distributed run.

    The sampler must draw the same in every process (s3prl seeds them alike), and draws anew each epoch.
    """

    def __init__(self, sampler: Sampler, num_replicas: int | None = None, rank: int | None = None):
        super().__init__(sampler, num_replicas=num_replicas, rank=rank, shuffle=False)
        self.sampler = sampler

    def __iter__(self) -> Iterator[int]:
        drawn = list(self.sampler)
        return (drawn[i] for i in super().__iter__())


def add_sox_transformer() -> None:
    """s3prl's speaker verification imports the class of a package `sox`, and never uses it."""
    if not _imports("sox"):
        module = types.ModuleType("sox")
        module.Transformer = type("Transformer", (), {})
        provide_module("sox", module)


def import_hub() -> types.ModuleType:
    """`s3prl.hub`, without the warning at its import of an ESPnet that nobody asked for."""
    logger = logging.getLogger("s3prl.upstream.espnet_hubert.expert")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        return importlib.import_module("s3prl.hub")
    finally:
        logger.setLevel(level)


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
def quiet_old_calls() -> Iterator[None]:
    """Without the warnings that PyTorch has for s3prl's old calls, at every use; others are shown."""
    with warnings.catch_warnings():
        for message, category in (
            (r".*torch\.cuda\.amp\.(autocast|GradScaler)\(args\.\.\.\)` is deprecated", FutureWarning),
            (r".*This overload of (add_|addcmul_|addcdiv_) is deprecated", UserWarning),
        ):
            # (?s): torch's message of the overloads begins with a line break
            warnings.filterwarnings("ignore", message=f"(?s){message}", category=category)
        yield


@contextlib.contextmanager
def atomic_torch_save() -> Iterator[None]:
    """s3prl's runners write checkpoints in place, and remove older ones before the new one is written.

    In the block `torch.save(obj, path)` writes through `files.atomic_path`, and a `states-*.ckpt` that is removed goes
    when the next one is on the disk: a kill, a power cut or a full disk leaves the older ones.
    """
    save, remove = torch.save, os.remove
    outdated: list[str] = []

    def save_whole(obj, f, *args, **kwargs):
        if not isinstance(f, (str, os.PathLike)):
            return save(obj, f, *args, **kwargs)
        with atomic_path(f) as temporary:
            save(obj, temporary, *args, **kwargs)
        if _is_states(f):
            while outdated:
                if not os.path.samefile(path := outdated.pop(), f):
                    remove(path)

    def remove_later(path, **kwargs):
        return outdated.append(path) if _is_states(path) else remove(path, **kwargs)

    with replaced(torch, "save", save_whole), replaced(os, "remove", remove_later):
        yield


def _is_states(path: str | os.PathLike) -> bool:
    return Path(path).match("states-*.ckpt")


@contextlib.contextmanager
def without_cuda() -> Iterator[None]:
    """s3prl's runner enters `torch.cuda.device("cpu")` for `--device cpu` on a machine with a GPU."""
    with replaced(torch.cuda, "is_available", lambda: False):
        yield


@contextlib.contextmanager
def speaker_verification(device: str) -> Iterator[None]:
    """s3prl's `sv_voxceleb1` on any device, in the block: it moves its mask with `.cuda()` whatever the device."""
    with replaced(torch.Tensor, "cuda", lambda tensor, *args, **kwargs: tensor.to(device)):
        yield


@contextlib.contextmanager
def padded_recurrence() -> Iterator[None]:
    """On a CPU, torch's way back through a packed sequence takes a time quadratic in its length.

    For one BiLSTM of 128 on 8 x 15 s of FBANK that is 10 s, against 0.3 s for the same recurrence over padded
    sequences, which the LSTMs of s3prl's `asr` and `ctc` that are built in the block get. The numbers are the
    same but for the order of sums (1e-5).
    """
    from s3prl.downstream.asr import model

    def build(self, *args, **kwargs):
        as_in_s3prl(self, *args, **kwargs)
        self.layer.forward = functools.partial(_recur_over_padded, self.layer)

    as_in_s3prl = model.RNNLayer.__init__
    with (
        replaced(model.RNNLayer, "__init__", build),
        replaced(model, "pack_padded_sequence", lambda x, lengths, **kwargs: (x, lengths)),
        replaced(model, "pad_packed_sequence", lambda padded, **kwargs: padded),
    ):
        yield


def _recur_over_padded(layer: torch.nn.RNNBase, padded: tuple[torch.Tensor, torch.Tensor]) -> tuple:
    """One recurrent layer; ((B, L, D), lengths) in, (((B, L, D'), lengths), None) out, zero past each length."""
    x, lengths = padded
    index = torch.arange(x.size(1))
    valid = index < lengths[:, None].cpu()  # (B, L)
    back = torch.where(valid, lengths[:, None].cpu() - 1 - index, index)[..., None].to(x.device)  # turns each around
    start = x.new_zeros(1, len(x), layer.hidden_size)
    start = (start, start) if layer.mode == "LSTM" else start
    run = getattr(torch, layer.mode.lower())  # torch.lstm, torch.gru, ...
    directions = 2 if layer.bidirectional else 1
    size = len(layer._flat_weights) // directions
    outputs = []
    for direction in range(directions):
        weights = layer._flat_weights[direction * size : (direction + 1) * size]
        turned = x.gather(1, back.expand_as(x)) if direction else x
        output = run(turned, start, weights, layer.bias, 1, 0.0, layer.training, False, True)[0]  # (B, L, hidden)
        outputs.append(output.gather(1, back.expand_as(output)) if direction else output)
    return (torch.cat(outputs, dim=2) * valid[..., None].to(x.device), lengths), None


@contextlib.contextmanager
def wrapped_upstream(name: str, wrap: Callable[[torch.nn.Module], torch.nn.Module]) -> Iterator[None]:
    """Let `s3prl.hub.<name>` build upstreams that went through `wrap`, in the block."""
    from s3prl import hub

    build = getattr(hub, name)
    with replaced(hub, name, lambda *args, **kwargs: wrap(build(*args, **kwargs))):
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


def _imports(name: str) -> bool:
    """Whether a module is there and survives its import, which old packages do not on a new torch."""
    try:
        importlib.import_module(name)
        return True
    except Exception:
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

"""Repairs that hold while a run of s3prl's goes on, each a context manager."""

import contextlib
import functools
import os
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import torch

from ..files import atomic_path


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


_watchers: list[Callable[[str, float, int | None], None]] = []


@contextlib.contextmanager
def watched_scalars(watcher: Callable[[str, float, int | None], None]) -> Iterator[None]:
    """Call `watcher(tag, value, step)` for all that a downstream run logs in the block; it may raise to end the run."""
    _watchers.append(watcher)
    try:
        yield
    finally:
        _watchers.remove(watcher)


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
            added = super().add_scalar(tag, scalar_value, *args, **kwargs)
            step = kwargs.get("global_step", args[0] if args else None)
            for watcher in _watchers:
                watcher(tag, scalars[tag], step)
            return added

    try:
        with replaced(runner, "SummaryWriter", Recorder):
            yield scalars
    finally:
        for writer in writers:  # s3prl leaves its log open when a run fails; Python 3.12 complains at exit
            writer.close()

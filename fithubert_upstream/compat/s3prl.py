"""s3prl 0.4.18 on today's PyTorch: the repairs that a plain `import s3prl.hub` needs.

`apply()` makes them; each first checks whether the thing is really missing, and can be repeated. It begins with
torchaudio's own repairs (`compat.torchaudio`). Repairs for the length of one run are in `compat.runs`.
"""

import argparse
import contextlib
import functools
import importlib
import importlib.util
import logging
import sys
import types
from collections.abc import Callable, Iterator

import torch
from torch.utils.data import DistributedSampler, Sampler

from . import tensorboard as tensorboard_compat
from . import torchaudio as torchaudio_compat
from .modules import _imports, provide_module


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


# The upstreams that import transformers, which takes longer than all the rest of the hub.
_LATE = ("s3prl.upstream.hf_hubert.expert", "s3prl.upstream.hf_wav2vec2.expert")


def import_hub() -> types.ModuleType:
    """`s3prl.hub`, without the warning at its import of an ESPnet that nobody asked for, and without transformers.

    Two upstreams need that: they import it when they are built.
    """
    logger = logging.getLogger("s3prl.upstream.espnet_hubert.expert")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with contextlib.ExitStack() as stack:
            for name in _LATE:
                if name not in sys.modules:
                    stack.callback(provide_module(name, _late_expert(name)))
            return importlib.import_module("s3prl.hub")
    finally:
        logger.setLevel(level)


def _late_expert(name: str) -> types.ModuleType:
    """In place of a module of s3prl's: its `UpstreamExpert` imports the module when it is called."""
    module = types.ModuleType(name)
    module.UpstreamExpert = lambda *args, **kwargs: importlib.import_module(name).UpstreamExpert(*args, **kwargs)
    return module

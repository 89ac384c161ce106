"""s3prl's `run_downstream.py`, with our upstreams, on today's PyTorch: the same flags and the same code.

What is added: `-c` finds the packaged configs, `${VARIABLES}` in configs are filled in, phone recognition and slot
filling have their corpus modules and symbols, speaker verification runs on any device and corpus, `-d joint_ks_sv`,
`--skip-oov`, `--all-states`, `--feature-cache`, `--device` is the CPU where there is no GPU, mistakes are
told before a model is built, and checkpoints are written whole or not at all.
"""

import argparse
import importlib
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack
from functools import partial
from pathlib import Path

import torch

from ..compat import s3prl as s3prl_compat
from ..compat.modules import has_module, provide_module
from ..compat.runs import (
    atomic_torch_save,
    padded_recurrence,
    quiet_old_calls,
    recorded_scalars,
    replaced,
    speaker_verification,
    without_cuda,
)
from ..compat.s3prl_settings import read_settings, unknown_keys
from ..compat.s3prl_workers import repaired_workers
from ..distillation.remembered import make_absolute
from ..errors import FitHubertError
from ..files import remove_temporaries
from ..runs.folders import check_start
from ..runs.launcher import check_alone
from ..runs.outputs import check_feature_cache, check_output_folder
from ..settings.files import expand_variables
from . import checks
from .flags import OURS, check_local_rank, read_flags
from .frames import check_frames
from .overrides import changed_keys, check_given, override
from .past_run import begin, check_files, check_init, find_past, resume
from .repairs.hf_hub import huggingface_upstream
from .repairs.models import checked_models
from .run_corpus import compare_corpus
from .upstream_checks import check_device, check_upstream

# What s3prl looks up by name and its wheel lacks: the corpora of its CTC task, which a clone may have, and our task.
_MODULES = {
    "s3prl.downstream.ctc.corpus.libriphone": "fithubert_upstream.downstream.ctc.libriphone",
    "s3prl.downstream.ctc.corpus.snips": "fithubert_upstream.downstream.ctc.snips",
    "s3prl.downstream.joint_ks_sv.expert": "fithubert_upstream.downstream.joint_ks_sv.expert",
}


def main(argv: list[str]) -> dict[str, float]:
    """Run a downstream task as s3prl's `run_downstream.py` does.

    Parameters
    ----------
    argv
        The flags of s3prl's `run_downstream.py`, and ours (`downstream.flags`).

    Returns
    -------
    dict[str, float]
        The last value of everything that was logged, such as {"ctc-libriphone/test-per": 0.133}; with
        `--all-states` that of the best checkpoint.

    Raises
    ------
    FitHubertError
        A config, checkpoint, corpus, split, audio file or upstream is not there or not usable.
    """
    if not _is_joint_ddp(argv):
        check_alone("a task", argv)
    given = read_flags(argv)
    if getattr(given, "all_states", False):
        from .all_states import evaluate_all_states

        return evaluate_all_states(given, [flag for flag in argv if flag != "--all-states"], main)
    ours = argparse.Namespace(**{name: getattr(given, name, default) for name, default in OURS.items()})
    given.device = getattr(given, "device", None) or ("cuda" if torch.cuda.is_available() else "cpu")
    _check_flags(given, ours)

    s3prl_compat.apply()
    hub = s3prl_compat.import_hub()
    from s3prl import run_downstream

    from ..upstream.feature_cache import cached_upstreams
    from ..upstream.hubconf import register

    register()
    with ExitStack() as stack:
        stack.callback(provide_modules())
        args, config = read_run_arguments(given)
        check_output_folder(args.expdir, "the run's folder")
        if args.mode == "train":
            remove_temporaries(args.expdir)
        config = _ready(args, config, ours, hub)
        for repair in task_repairs(args.downstream, args.device):
            stack.enter_context(repair())
        if ours.feature_cache is not None:
            limit = round(ours.feature_cache_gb * 10**9)
            stack.enter_context(cached_upstreams(args, ours.feature_cache, limit))
        if args.hub == "huggingface":
            stack.enter_context(huggingface_upstream(args))
        backups = [name for name in [args.upstream_model_config] if args.past_exp is None and Path(str(name)).is_file()]
        Path(args.expdir).mkdir(parents=True, exist_ok=True)
        stack.enter_context(replaced(run_downstream, "get_downstream_args", lambda: (args, config, backups)))
        for repair in runner_repairs(args.device):
            stack.enter_context(repair())
        stack.enter_context(checked_models(partial(check_frames, args, config)))
        scalars = stack.enter_context(recorded_scalars())
        run_downstream.main()
    return scalars


def read_run_arguments(given: argparse.Namespace) -> tuple[argparse.Namespace, dict]:
    """s3prl's flags and config: of a run that begins, or of the checkpoint of -e or -a; with -o applied."""
    past = find_past(given)
    if past is None:
        print("[Runner] - Start a new experiment")
        args, config = begin(given)
    else:
        print(f"[Runner] - Resume from {past[0]}")
        args, config = resume(given, *past)
    accepted = () if past is None else unknown_keys(args.downstream, config)  # it was trained with them
    if args.override is not None and args.override.lower() != "none":
        override(args.override, args, config)
    if past is not None:
        check_files(args, past[0])
    checks.check_task(args, config)
    config = expand_variables(config)
    evaluated = config["runner"].get("eval_dataloaders")
    splits = [args.evaluate_split, *(evaluated if isinstance(evaluated, list) else ())]
    config = read_settings(args.downstream, config, accepted, splits)
    check_given(args.downstream, config, changed_keys(args.override), splits)
    return args, config


def _is_joint_ddp(argv: list[str]) -> bool:
    """Whether these are s3prl's own flags of several processes, for the one task that is tested so."""
    return "--local_rank" in argv and "--backend" in argv and "joint_ks_sv" in argv


def _check_flags(given: argparse.Namespace, ours: argparse.Namespace) -> None:
    """What can be told of the flags before s3prl is imported and a file is read."""
    if given.mode == "train":
        place = [getattr(given, name, None) for name in ("past_exp", "expdir", "expname")]
        check_start(*place, getattr(given, "auto_resume", False))
    check_feature_cache(ours.feature_cache)
    checks.check_override(getattr(given, "override", None))
    check_device(given.device)
    check_local_rank(getattr(given, "local_rank", None))


def _ready(args: argparse.Namespace, config: dict, ours: argparse.Namespace, hub) -> dict:
    """s3prl's config, completed and checked."""
    check_upstream(args, hub)
    if args.init_ckpt is not None and args.past_exp is None:
        check_init(args, config)
    if ours.feature_cache is not None and (args.upstream_trainable or args.hub != "torch"):
        found = "-f, with which features change" if args.upstream_trainable else f"--hub {args.hub}"
        raise FitHubertError(
            f"--feature-cache: expected a frozen upstream of s3prl's hub, found {found}; leave one out"
        )
    checks.complete(config)
    make_absolute(config.get("downstream_expert", {}))
    if ours.skip_oov:
        corpus = config.get("downstream_expert", {}).get("corpus")
        if args.downstream != "ctc" or corpus is None or str(corpus.get("name")).lower() != "libriphone":
            raise FitHubertError(
                f"--skip-oov: expected -d ctc with a corpus libriphone, found -d {args.downstream}; leave it out"
            )
        corpus["skip_oov"] = True
    checks.check_corpus(args, config)
    checks.check_words(args, config)
    compare_corpus(args, config)
    return config


def provide_modules() -> Callable[[], None]:
    """Give s3prl the corpora of phone recognition and slot filling, where it has none, and the task joint_ks_sv.

    Returns a function that takes them away again.
    """
    undo = ExitStack()
    for name, ours in _MODULES.items():
        if not has_module(name):
            undo.callback(provide_module(name, importlib.import_module(ours)))
    return undo.close


def runner_repairs(device: str) -> list[Callable[[], AbstractContextManager]]:
    """The repairs that every task needs while it runs on a device, each to be entered."""
    repairs = [atomic_torch_save, quiet_old_calls, repaired_workers]
    # --cache_dir sets it for the whole process
    repairs.append(partial(replaced, torch.hub, "_hub_dir", torch.hub._hub_dir))
    if device == "cpu":
        repairs.append(without_cuda)
    return repairs


def task_repairs(downstream: str, device: str) -> list[Callable[[], AbstractContextManager]]:
    """The repairs that a task needs while it runs on a device, each to be entered."""
    from .repairs import datasets as s3prl_datasets  # imports s3prl

    repairs = []
    if downstream in s3prl_datasets.TASKS:
        repairs.append(partial(s3prl_datasets.own_datasets, downstream))
    if downstream == "sv_voxceleb1":
        repairs.append(partial(speaker_verification, device))
    if downstream == "quesst14_dtw":
        from .repairs.quesst14 import query_by_example

        repairs.append(query_by_example)
    if downstream in ("asr", "ctc") and device == "cpu":
        repairs.append(padded_recurrence)
    return repairs

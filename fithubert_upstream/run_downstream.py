"""s3prl's `run_downstream.py`, with our upstreams, on today's PyTorch: the same flags and the same code.

What is added: `-c` finds the packaged configs, `${VARIABLES}` in configs are filled in, phone
recognition has its corpus module and phone set, speaker verification runs on any device and corpus, `-d joint_ks_sv`,
`--skip-oov`, `--all-states`, `--feature-cache`, `--device` is the CPU where there is no GPU, mistakes are
told before a model is built, and checkpoints are written whole or not at all.
"""

import argparse
import importlib
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack
from functools import partial
from pathlib import Path

import torch

from fithubert_upstream import s3prl_compat
from fithubert_upstream.config import DOWNSTREAM_CONFIGS, available_configs, expand_variables, find_config
from fithubert_upstream.downstream import checks
from fithubert_upstream.errors import FitHubertError

# What s3prl looks up by name and its wheel lacks: the corpus of phone recognition, which a clone has, and our task.
_MODULES = {
    "s3prl.downstream.ctc.corpus.libriphone": "fithubert_upstream.downstream.libriphone",
    "s3prl.downstream.joint_ks_sv.expert": "fithubert_upstream.downstream.joint_ks_sv.expert",
}


def main(argv: list[str]) -> dict[str, float]:
    """Run a downstream task as s3prl's `run_downstream.py` does.

    Parameters
    ----------
    argv
        The flags of s3prl's `run_downstream.py`, and those of `own_parser`.

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
    given = argv
    ours, argv = _own_flags(argv)
    if ours.all_states:
        from fithubert_upstream.all_states import evaluate_all_states

        return evaluate_all_states(ours, [flag for flag in given if flag != "--all-states"])
    if ours.help:
        print(own_parser().format_help())
    if ours.config is not None:
        argv = [*argv, "-c", str(find_config(ours.config, DOWNSTREAM_CONFIGS))]
    elif _needs_config(ours):
        names = ", ".join(available_configs(DOWNSTREAM_CONFIGS))
        raise FitHubertError(f"-c: expected a config, found none; give one of {names}")
    if ours.past_exp is not None:
        checks.check_past_exp(ours.past_exp)
    checks.check_override(ours.override)
    device = ours.device or ("cuda" if torch.cuda.is_available() else "cpu")
    checks.check_device(device)
    argv = [*argv, "--device", device]

    s3prl_compat.apply()
    hub = s3prl_compat.import_hub()
    from s3prl import run_downstream

    import fithubert_upstream
    from fithubert_upstream.feature_cache import cached_upstreams

    fithubert_upstream.register()
    with ExitStack() as stack:
        stack.callback(provide_modules())

        def get_args():
            args, config, backup_files = read_args()
            config = _ready(args, config, ours, hub)
            for repair in task_repairs(args.downstream, device):
                stack.enter_context(repair())
            if ours.feature_cache is not None:
                limit = round(ours.feature_cache_gb * 10**9)
                stack.enter_context(cached_upstreams(args, ours.feature_cache, limit))
            return args, config, backup_files

        read_args = run_downstream.get_downstream_args
        stack.enter_context(s3prl_compat.replaced(run_downstream, "get_downstream_args", get_args))
        stack.enter_context(s3prl_compat.replaced(sys, "argv", ["fithubert downstream", *argv]))
        if device == "cpu":
            stack.enter_context(s3prl_compat.without_cuda())
        stack.enter_context(s3prl_compat.atomic_torch_save())
        stack.enter_context(s3prl_compat.quiet_old_calls())
        stack.enter_context(s3prl_compat.layer_in_range())
        scalars = stack.enter_context(s3prl_compat.recorded_scalars())
        run_downstream.main()
    return scalars


def own_parser() -> argparse.ArgumentParser:
    """The flags that s3prl's script does not have, or that are completed for it."""
    parser = argparse.ArgumentParser(
        prog="fithubert downstream",
        description="Train or evaluate a SUPERB task, or joint_ks_sv: all of run_downstream.py's flags, and these.",
        add_help=False,
        allow_abbrev=False,
        epilog="example: fithubert downstream -m train -u fithubert -k student.safetensors -d speech_commands -c "
        "mini/ks.yaml -n ks",
    )
    parser.add_argument("-c", "--config", help="a file, or one of " + ", ".join(available_configs(DOWNSTREAM_CONFIGS)))
    parser.add_argument("--device", help="cpu, cuda, cuda:1, ...; by default the GPU if there is one")
    parser.add_argument(
        "--skip-oov", action="store_true", help="-d ctc: leave out utterances with words that the lexicon lacks"
    )
    parser.add_argument(
        "--all-states",
        action="store_true",
        help="-m evaluate -e DIR: evaluate each states-*.ckpt there (as s3prl's test_expdir.sh), name the best",
    )
    parser.add_argument(
        "--feature-cache", metavar="DIR", help="keep a frozen upstream's features there instead of computing them again"
    )
    parser.add_argument(
        "--feature-cache-gb", type=float, default=50, metavar="N", help="what that folder may hold (%(default)s GB)"
    )
    return parser


def _own_flags(argv: list[str]) -> tuple[argparse.Namespace, list[str]]:
    """Take out the flags that are ours or that we complete; -e, -a and so on stay for s3prl too."""
    ours, rest = own_parser().parse_known_args(argv)
    seen = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    seen.add_argument("-m", "--mode")
    seen.add_argument("-e", "--past_exp")
    seen.add_argument("-a", "--auto_resume", action="store_true")
    seen.add_argument("-t", "--evaluate_split", default="test")
    seen.add_argument("-d", "--downstream")
    seen.add_argument("-n", "--expname")
    seen.add_argument("-p", "--expdir")
    seen.add_argument("-o", "--override")
    seen.add_argument("-h", "--help", action="store_true")
    seen.parse_known_args(rest, namespace=ours)
    return ours, rest


def _needs_config(ours: argparse.Namespace) -> bool:
    """Whether s3prl would look for its default config, which its wheel does not have."""
    if ours.past_exp or ours.help:
        return False
    expdir = Path(ours.expdir or f"result/downstream/{ours.expname}")
    resumes = ours.auto_resume and any(expdir.glob("states-*.ckpt"))
    return not resumes and not Path("downstream", str(ours.downstream), "config.yaml").is_file()


def _ready(args: argparse.Namespace, config: dict, ours: argparse.Namespace, hub) -> dict:
    """s3prl's config, completed and checked."""
    checks.check_upstream(args, hub)
    if ours.feature_cache is not None and (args.upstream_trainable or args.hub != "torch"):
        found = "-f, with which features change" if args.upstream_trainable else f"--hub {args.hub}"
        raise FitHubertError(
            f"--feature-cache: expected a frozen upstream of s3prl's hub, found {found}; leave one out"
        )
    config = expand_variables(config)
    checks.complete(config)
    if ours.skip_oov:
        corpus = config.get("downstream_expert", {}).get("corpus")
        if corpus is None:
            raise FitHubertError("--skip-oov: expected a config with a corpus, found none; it is for -d ctc")
        corpus["skip_oov"] = True
    checks.check_corpus(args, config)
    checks.check_words(args, config)
    return config


def provide_modules() -> Callable[[], None]:
    """Give s3prl the corpus of phone recognition, where it has none, and the task joint_ks_sv.

    Returns a function that takes them away again.
    """
    undo = ExitStack()
    for name, ours in _MODULES.items():
        if not s3prl_compat.has_module(name):
            undo.callback(s3prl_compat.provide_module(name, importlib.import_module(ours)))
    return undo.close


def task_repairs(downstream: str, device: str) -> list[Callable[[], AbstractContextManager]]:
    """The repairs that a task needs while it runs on a device, each to be entered."""
    from fithubert_upstream import s3prl_datasets  # which needs s3prl repaired

    repairs = []
    if downstream in s3prl_datasets.TASKS:
        repairs.append(partial(s3prl_datasets.own_datasets, downstream))
    if downstream == "sv_voxceleb1":
        repairs.append(partial(s3prl_compat.speaker_verification, device))
    if downstream in ("asr", "ctc") and device == "cpu":
        repairs.append(s3prl_compat.padded_recurrence)
    return repairs

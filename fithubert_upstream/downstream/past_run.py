"""A run of `fithubert downstream` that was begun before, and what its checkpoint remembers.

In s3prl, the flags and config of a checkpoint silently override those of the command. Here a contradicting flag is an
error, and the files of a run are recognised by their content, even after they have moved.
"""

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..checkpoints.torch_files import newest_whole, read_own, states_in
from ..compat import s3prl as s3prl_compat
from ..distillation.remembered import absolute, difference, digest_of
from ..errors import FitHubertError
from ..settings.files import DOWNSTREAM_CONFIGS, available_configs, find_config, read_yaml
from .flags import DEFAULTS, OF_A_RUN, with_defaults
from .tasks import corpus_name

JOB = "fithubert downstream"
FILES = {"upstream_ckpt": "-k", "upstream_model_config": "-g"}
# What the command says, and not the checkpoint.
_OF_THE_COMMAND = ("mode", "evaluate_split", "override", "backend", "local_rank", "past_exp", "device", "auto_resume")
_HARMLESS = ("cache_dir", "disable_cudnn", "upstream_refresh", "verbose")
NEW_RUN = "leave it out, or start another run"


def read_run(flag: str, path: str | Path) -> dict[str, Any]:
    """The checkpoint of a downstream run; its tensors are mapped. Raises FitHubertError for any other file."""
    s3prl_compat.apply()  # allows the classes in it
    try:
        return read_own(path, JOB, ("Args", "Config"))
    except FitHubertError as error:
        raise FitHubertError(f"{flag} {error}") from None


def find_past(given: argparse.Namespace) -> tuple[Path, dict[str, Any]] | None:
    """The checkpoint that -e or -a means, with its content; None where a run begins.

    Of a folder it is the newest. Where that is damaged, a training goes on from the one before it, and says so.

    Raises
    ------
    FitHubertError
        There is no such checkpoint, or it is damaged.
    """
    place, auto = getattr(given, "past_exp", None), getattr(given, "auto_resume", False)
    if place is None and not auto:
        return None
    flag = "-a" if place is None else "-e"
    path = Path(place or run_folder(given))
    if path.is_dir():
        states = states_in(path)
    else:
        states = [path] if path.exists() and place is not None else []
    if not states:
        if auto and given.mode == "train":
            return None
        raise FitHubertError(_nothing(flag, path))
    if given.mode == "train":
        return newest_whole(states, lambda path: read_run(flag, path))
    return states[-1], read_run(flag, states[-1])


def _nothing(flag: str, path: Path) -> str:
    if not path.exists():
        return f"{flag} {path}: no such file or folder"
    found = ", ".join(sorted(file.name for file in path.glob("*.ckpt"))) or "no checkpoint at all"
    return f"{flag} {path}: expected a folder with states-*.ckpt, found {found}; name the checkpoint file"


def run_folder(given: argparse.Namespace) -> str:
    """Where -p or -n puts the results."""
    return getattr(given, "expdir", None) or f"result/downstream/{given.expname}"


# --- a run that begins --------------------------------------------------------------------------------


def begin(given: argparse.Namespace) -> tuple[argparse.Namespace, dict[str, Any]]:
    """Flags and config of a run that begins, and in `args.begun` what it is recognised by later."""
    args = with_defaults(given)
    args.expdir = run_folder(given)
    if args.config is None and Path("downstream", str(args.downstream), "config.yaml").is_file():
        args.config = f"./downstream/{args.downstream}/config.yaml"  # s3prl's default, in a clone of it
    if args.config is None:
        names = ", ".join(available_configs(DOWNSTREAM_CONFIGS))
        raise FitHubertError(f"-c: expected a config, found none; give one of {names}")
    args.config = str(find_config(args.config, DOWNSTREAM_CONFIGS))
    config = read_yaml(args.config)
    for name in (*FILES, "init_ckpt"):
        setattr(args, name, absolute(getattr(args, name)))
    if args.cache_dir is not None:
        args.cache_dir = str(Path(args.cache_dir).absolute())
    args.begun = {
        "config": read_yaml(args.config),
        "init_ckpt": args.init_ckpt,
        "digests": {name: digest_of(getattr(args, name)) for name in FILES},
    }
    return args, config


def check_init(args: argparse.Namespace, config: Mapping[str, Any]) -> None:
    """Raise FitHubertError unless -i names a checkpoint of this task, upstream and feature, from before its end."""
    path = args.init_ckpt
    if not Path(path).is_file():
        raise FitHubertError(f"-i {path}: expected a checkpoint, found no such file; correct the path")
    states = read_run("-i", path)
    check_entries("-i", path, states, args.mode)
    then = states["Args"]
    names = ("downstream", "upstream_feature_selection", "upstream_layer_selection")
    if args.mode != "train":  # where the heads are used as they are
        names += ("upstream_feature_normalize",) + (() if _same_weights(args, then) else ("upstream", *FILES))
    for name in names:
        flag, was, now = {**OF_A_RUN, **FILES}[name], getattr(then, name, DEFAULTS[name]), getattr(args, name)
        if was != now:
            raise FitHubertError(f"-i {path}: expected a checkpoint of {flag} {now}, found one of {flag} {was}")
    was, now = corpus_name(states["Config"]), corpus_name(config)
    if was != now:  # -d ctc is two tasks
        raise FitHubertError(f"-i {path}: expected a checkpoint of corpus.name {now}, found one of {was or 'none'}")
    total_steps = config.get("runner", {}).get("total_steps", 0)
    if args.mode == "train" and states.get("Step", 0) >= total_steps:
        raise FitHubertError(
            f"-i {path}: expected a checkpoint from before config.runner.total_steps={total_steps}, found step "
            f"{states['Step']}, where s3prl continues; raise total_steps"
        )


def _same_weights(args: argparse.Namespace, then: argparse.Namespace) -> bool:
    digests = [getattr(run, "begun", {}).get("digests", {}).get("upstream_ckpt") for run in (args, then)]
    return digests[0] is not None and digests[0] == digests[1]


# --- a run that goes on, or is evaluated --------------------------------------------------------------


def resume(given: argparse.Namespace, path: Path, states: dict[str, Any]) -> tuple[argparse.Namespace, dict[str, Any]]:
    """Flags and config of the run that left this checkpoint, with what the command may change.

    Raises
    ------
    FitHubertError
        The command says otherwise than the run, or the checkpoint is not whole.
    """
    flag = "-e" if getattr(given, "past_exp", None) else "-a"
    check_entries(flag, path, states, given.mode)
    then = states["Args"]
    _check_flags(given, then)
    _check_config(given, then)
    args = with_defaults(given)
    kept = [*_OF_THE_COMMAND, *(name for name in _HARMLESS if hasattr(given, name))]
    for name, value in vars(then).items():
        if name not in kept:
            setattr(args, name, value)
    for name in FILES:
        if hasattr(given, name):
            setattr(args, name, absolute(getattr(given, name)))
    args.past_exp, args.init_ckpt = getattr(given, "past_exp", None) or run_folder(given), str(path)
    is_named = hasattr(given, "expdir") or hasattr(given, "expname")
    args.expdir = run_folder(given) if is_named else str(path.parent)  # the run's own may be a path of another folder
    return args, states["Config"]


def check_entries(flag: str, path: str | Path, states: Mapping[str, Any], mode: str) -> None:
    """Raise FitHubertError when weights are missing that s3prl's runner would then leave as they were drawn."""
    names = ["Featurizer", "Downstream"]
    if getattr(states["Args"], "upstream_trainable", False):
        names.append("Upstream")
    if mode == "train" and flag != "-i":
        names += ["Optimizer", "Step"]
    missing = [name for name in names if name not in states]
    if missing:
        raise FitHubertError(f"{flag} {path}: expected a whole checkpoint, found no {', '.join(missing)} in it")


def _check_flags(given: argparse.Namespace, then: argparse.Namespace) -> None:
    # With -a and -u the command is that of a new run: what it leaves out counts too.
    whole = getattr(given, "auto_resume", False) and hasattr(given, "upstream")
    for name, flag in OF_A_RUN.items():
        if whole or hasattr(given, name):
            now, was = getattr(given, name, DEFAULTS[name]), getattr(then, name, DEFAULTS[name])
            if now != was:
                raise FitHubertError(f"{flag}: expected {was}, as in the original run, found {now}; {NEW_RUN}")
    for name, flag in FILES.items():
        was = getattr(then, name, None)
        if hasattr(given, name) and was is None:
            raise FitHubertError(
                f"{flag}: expected none, as in the original run, found {getattr(given, name)}; {NEW_RUN}"
            )
        if whole and not hasattr(given, name) and was is not None:
            raise FitHubertError(f"{flag}: expected {was}, as in the original run, found none; {NEW_RUN}")
    begun = getattr(then, "begun", None)
    init = absolute(getattr(given, "init_ckpt", None))
    if init is not None and begun is not None and init != begun["init_ckpt"]:
        raise FitHubertError(f"-i: expected {begun['init_ckpt']}, as in the original run, found {init}; {NEW_RUN}")
    alone = [getattr(run, "local_rank", None) is None for run in (given, then)]
    if given.mode == "train" and alone[0] != alone[1]:
        was = "one process" if alone[1] else "a launcher"
        raise FitHubertError(f"--local_rank: expected {was}, as in the original run, found another; {NEW_RUN}")


def _check_config(given: argparse.Namespace, then: argparse.Namespace) -> None:
    if not hasattr(given, "config"):
        return
    begun = getattr(then, "begun", None)
    now = read_yaml(find_config(given.config, DOWNSTREAM_CONFIGS))
    if begun is None:
        print(f"-c {given.config}: not read; the config of the checkpoint holds")
    elif found := difference(begun["config"], now):
        raise FitHubertError(
            f"-c {given.config}: expected the config of the original run, found {found}; leave it out, change "
            "it with -o, or start another run"
        )


def check_files(args: argparse.Namespace, path: Path) -> None:
    """Raise FitHubertError unless the upstream's files are there and are those that the run was begun with."""
    then = read_run("-e", path)["Args"]
    digests = getattr(then, "begun", {}).get("digests", {})
    for name, flag in FILES.items():
        now, was = getattr(args, name), getattr(then, name, None)
        if now is None or was is None or "://" in str(now) or args.hub != "torch":
            if now != was:
                raise FitHubertError(f"{flag}: expected {was}, as in the original run, found {now}; {NEW_RUN}")
            continue
        expected = digests.get(name) or digest_of(was)
        if expected is None and now == was and (digests or by_name(args.upstream)):  # a folder, or a name
            continue
        if not Path(now).exists():
            raise FitHubertError(
                f"{path}: expected its upstream's file {now}, found nothing; say where it is now with {flag}"
            )
        if expected is None and now != was:  # a checkpoint of an earlier version
            print(f"{flag} {now}: assumed to be {was}, which no longer exists and has no recorded checksum")
        fine_tuned = name == "upstream_ckpt" and args.upstream_trainable  # whose weights the checkpoint holds
        if expected is not None and not fine_tuned and digest_of(now) != expected:
            raise FitHubertError(
                f"{flag} {now}: expected the file of the original run ({was}), found another content; its "
                "heads were trained on other features"
            )


def by_name(upstream: str | None) -> bool:
    """Whether an upstream takes a model's name on the Hugging Face Hub, or a Google Drive id, as its checkpoint."""
    return upstream is not None and (upstream.startswith("hf_") or upstream.endswith("_gdriveid"))

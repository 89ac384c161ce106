"""Distillation in s3prl's own pretrain `Runner`, with the flags of s3prl's `run_pretrain.py`."""

import argparse
import random
import shutil
from collections.abc import Iterable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ..checkpoints.student import STUDENT_KEY, save_fithubert
from ..checkpoints.torch_files import newest_whole, read_own, states_in
from ..compat import s3prl as s3prl_compat
from ..compat.modules import pretrain_runner, provide_module
from ..compat.runs import atomic_torch_save, quiet_old_calls
from ..compat.s3prl_settings import read_settings, unknown_keys
from ..distillation.config import DistillationConfig
from ..distillation.remembered import absolute, difference, with_absolute_paths
from ..downstream.overrides import AddOverrides, override
from ..errors import FitHubertError
from ..files import remove_temporaries, write_text
from ..runs.folders import check_free, check_newest
from ..runs.launcher import check_alone
from ..runs.outputs import check_output_folder
from ..runs.parser import Parser
from ..settings.files import expand_variables, find_config, read_yaml
from ..settings.values import dump_yaml

RUNNER_KEYS = (
    "n_epochs",
    "total_steps",
    "gradient_accumulate_steps",
    "gradient_clipping",
    "log_step",
    "save_step",
    "max_keep",
)
UPSTREAMS = ("fithubert",)


def build_parser() -> Parser:
    """The flags of s3prl's run_pretrain.py, under their names."""
    parser = Parser(
        prog="fithubert pretrain",
        description="Distil a student from a frozen teacher with s3prl's pretrain runner.",
        epilog="example: fithubert pretrain -u fithubert -g fithubert.yaml -c fithubert_runner.yaml -n my_student "
        "-o config.pretrain_expert.datarc.train=/data/LibriSpeech/train-clean-100",
    )
    parser.add_argument("-e", "--past_exp", metavar="{CKPT_PATH,CKPT_DIR}", help="resume from a checkpoint")
    parser.add_argument("-o", "--override", action=AddOverrides, help="a.b.c=value,,d.e=value; the highest priority")
    parser.add_argument("-c", "--config", default="fithubert_runner.yaml", help="runner, optimizer and data")
    parser.add_argument("-u", "--upstream", choices=UPSTREAMS, default="fithubert")
    parser.add_argument(
        "-g",
        "--upstream_config",
        default="fithubert.yaml",
        help="student, teacher and loss (a path, or packaged)",
    )
    parser.add_argument("-n", "--expname", help="save in result/pretrain/EXPNAME")
    parser.add_argument("-p", "--expdir", help="save in EXPDIR")
    parser.add_argument("-a", "--auto_resume", action="store_true", help="resume if the folder holds checkpoints")
    parser.add_argument("--seed", default=1337, type=int)
    parser.add_argument("--device", help="default: cuda where there is one, else cpu")
    parser.add_argument("--multi_gpu", action="store_true", help="nn.DataParallel over all GPUs")
    return parser


def main(argv: list[str]) -> Path:
    """Train, and name and return the finished student's `student.safetensors` in the experiment folder.

    Raises FitHubertError for anything wrong in the flags, the configs, the corpus or the checkpoint.
    """
    check_alone("pretraining", argv)
    s3prl_compat.apply()
    args, config = read_arguments(argv)
    expdir = Path(args.expdir)

    random.seed(args.seed)
    np.random.seed(args.seed)
    torch.manual_seed(args.seed)
    torch.backends.cudnn.deterministic = True
    torch.backends.cudnn.benchmark = False

    from . import expert as pretrain_expert

    with ExitStack() as stack:
        stack.callback(provide_module("pretrain.fithubert.pretrain_expert", pretrain_expert))
        stack.enter_context(atomic_torch_save())
        stack.enter_context(quiet_old_calls())
        runner = build_runner(args, config)
        stack.callback(runner.logger.close)
        runner.train()
    name_final_states(expdir)
    student = expdir / "student.safetensors"
    save_fithubert(runner.upstream.task.student, student)
    print(f"student: {student}")
    return student


def read_arguments(argv: list[str]) -> tuple[argparse.Namespace, dict]:
    """Flags and runner config, from the command line or, when resuming, from the checkpoint; checked."""
    args = build_parser().parse_args(argv)
    given = given_flags(argv)
    args.device = args.device or ("cuda" if torch.cuda.is_available() else "cpu")
    if args.expdir is None and args.expname:
        args.expdir = f"result/pretrain/{args.expname}"
    if args.auto_resume and args.expdir is not None and states_in(args.expdir):
        args.past_exp = args.expdir

    if args.past_exp is not None:
        args, config = _resumed(args, given)
    else:
        if not args.expdir:
            raise FitHubertError("expected -n NAME or -p FOLDER for the results, found neither")
        check_output_folder(args.expdir, "-n" if args.expdir == f"result/pretrain/{args.expname}" else "-p")
        check_free(args.expdir, "resume it (-a), choose another name with -n, or remove that folder")
        args.init_ckpt = None
        args.upstream_config = str(find_config(args.upstream_config))
        config = read_yaml(find_config(args.config))
        args.begun_config = read_yaml(find_config(args.config))
    accepted = unknown_keys("pretrain", config) if args.past_exp is not None else ()  # it was trained with them
    if args.override is not None and args.override.lower() != "none":
        override(args.override, args, config)
    if args.init_ckpt is None:
        DistillationConfig.from_yaml(args.upstream_config)  # a mistake is told before anything is written
    config = expand_variables(config)
    config = check_runner_config(config, accepted)
    data = config["pretrain_expert"]["datarc"]
    for split in ("train", "valid"):  # it may go on from another folder
        if isinstance(data.get(split), list):
            data[split] = [absolute(name) if isinstance(name, str) else name for name in data[split]]
    if args.device == "cpu":
        config["runner"]["fp16"] = False  # s3prl's fp16 is CUDA's
    settle_precision(config)
    return args, config


def settle_precision(config: dict) -> None:
    """Where the runner's fp16 is on, it is the precision; else `pretrain_expert.datarc.precision` is, or auto."""
    fp16, data = config["runner"].get("fp16", False), config["pretrain_expert"]["datarc"]
    precision = data.setdefault("precision", "32-true" if fp16 else "auto")
    if fp16 and precision != "32-true":
        raise FitHubertError(
            f"runner config: expected runner.fp16 or pretrain_expert.datarc.precision, found True and {precision}; "
            "leave one out"
        )


def build_runner(args: argparse.Namespace, config: dict):
    """s3prl's Runner in its experiment folder; a new folder goes again if the corpus or teacher is wrong."""
    expdir = Path(args.expdir)
    is_new = not expdir.exists()
    expdir.mkdir(parents=True, exist_ok=True)
    remove_temporaries(expdir)
    try:
        if args.init_ckpt is None:
            write_text(expdir / "config_model.yaml", Path(args.upstream_config).read_text(encoding="utf-8"))
            write_text(expdir / "config_runner.yaml", dump_yaml(config))
        Runner = pretrain_runner()
        runner = Runner.__new__(Runner)  # its constructor opens a log before it finds the mistake
        runner.__init__(args, config)
        return runner
    except FitHubertError:
        runner.logger.close()  # left open, it makes Python 3.12 print a traceback at exit
        if is_new:
            shutil.rmtree(expdir)
        raise


def given_flags(argv: list[str]) -> dict[str, Any]:
    """What the command line says, without defaults."""
    parser, absent = build_parser(), object()
    blank = argparse.Namespace(**dict.fromkeys(vars(parser.parse_args([])), absent))
    return {name: value for name, value in vars(parser.parse_args(argv, blank)).items() if value is not absent}


def _resumed(args: argparse.Namespace, given: dict[str, Any]) -> tuple[argparse.Namespace, dict]:
    """As s3prl, the checkpoint's own flags and config win, but not where the command says otherwise.

    What holds of the command is this machine's device, `--multi_gpu`, the folder of the results, and `-o`.
    """
    path = Path(args.past_exp)
    states = states_in(path) if path.is_dir() else [path]
    if not states:
        raise FitHubertError(f"{path}: expected states-*.ckpt to resume from, found none")
    if path.is_file():
        check_newest(path)
    path, ckpt = newest_whole(states, read_states)
    then, config = argparse.Namespace(**vars(ckpt["Args"])), ckpt["Config"]
    _check_same(given, then, ckpt["Upstream_Config"])
    then.device, then.override = args.device, args.override
    then.multi_gpu = given.get("multi_gpu", then.multi_gpu)
    then.past_exp, then.init_ckpt = args.past_exp, str(path)
    then.expdir = args.expdir or str(path.parent)  # the run's own may be a path of another folder
    return then, config


def read_states(path: Path) -> dict[str, Any]:
    """A checkpoint of `fithubert pretrain`. Raises FitHubertError for any other file."""
    from .expert import STATE_KEY

    keys = ("Args", "Config", "Step", "Optimizer", "Upstream_Config", STUDENT_KEY, STATE_KEY)
    return read_own(path, "fithubert pretrain", keys)


def _check_same(given: dict[str, Any], then: argparse.Namespace, model: dict) -> None:
    """Raise FitHubertError where the command says otherwise than the run that it goes on with."""
    advice = "leave it out, or start another run with -n"
    if given.get("seed", then.seed) != then.seed:
        raise FitHubertError(f"--seed: expected {then.seed}, as in the original run, found {given['seed']}; {advice}")
    files = {}
    if "upstream_config" in given:
        now = with_absolute_paths(DistillationConfig.from_yaml(find_config(given["upstream_config"])))
        files["-g"] = (given["upstream_config"], DistillationConfig.from_dict(model).to_dict(), now.to_dict())
    if "config" in given and hasattr(then, "begun_config"):
        files["-c"] = (given["config"], then.begun_config, read_yaml(find_config(given["config"])))
    for flag, (name, was, now) in files.items():
        if found := difference(was, now):
            raise FitHubertError(
                f"{flag} {name}: expected the file of the original run, found another: {found}; {advice}"
            )


def check_runner_config(config: dict, accepted: Iterable[str] = ()) -> dict:
    """The config with its numbers as numbers.

    Raises FitHubertError for what s3prl's runner would only assert, pass over, or find out after hours.
    """
    for block in ("runner", "optimizer", "pretrain_expert"):
        if not isinstance(config.get(block), dict):
            raise FitHubertError(f"runner config: expected a block {block!r}, found keys {', '.join(config)}")
    if not isinstance(config["pretrain_expert"].get("datarc"), dict):
        raise FitHubertError("runner config: expected a block 'datarc' in pretrain_expert, found none")
    runner = config["runner"]
    if missing := [key for key in RUNNER_KEYS if key not in runner]:
        raise FitHubertError(f"runner config: runner: expected {', '.join(missing)}, found {', '.join(runner)}")
    config = read_settings("pretrain", config, accepted)
    runner = config["runner"]
    if runner["n_epochs"] <= 0:
        for key in ("log_step", "save_step"):
            if not 0 < runner[key] < runner["total_steps"]:
                raise FitHubertError(
                    f"runner config: expected {key} between 1 and total_steps - 1 = {runner['total_steps'] - 1}, "
                    f"found {runner[key]}"
                )
    return config


def name_final_states(expdir: Path) -> None:
    """Rename `states-epoch-N.ckpt` to `states-STEP.ckpt`: by its own name s3prl takes it for the oldest."""
    for path in expdir.glob("states-epoch-*.ckpt"):
        step = read_own(path, "fithubert pretrain", ("Step",))["Step"]
        path.rename(expdir / f"states-{step}.ckpt")

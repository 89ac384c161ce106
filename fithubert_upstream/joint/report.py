"""Keyword spotting and speaker verification, alone and joint, on frozen and fine-tuned upstreams, over several seeds.

Kerpicci et al.'s (2022) comparison with s3prl's runner. Every finished run leaves its result in
OUTPUT/<label>/<mode>/<tasks>/seed-<seed>/result.json and is not run again; one that was interrupted goes on from its
last checkpoint.
"""

import argparse
import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..downstream.joint_ks_sv.clips import read_corpora
from ..downstream.joint_ks_sv.config import JointConfig
from ..downstream.tasks import Task
from ..errors import FitHubertError
from ..files import write_text
from ..settings.files import DOWNSTREAM_CONFIGS, expand_variables, find_config, read_yaml
from ..superb.configs import changed_config
from ..superb.names import Upstream
from ..superb.running.job import Job
from ..superb.running.jobs import ONE_BY_ONE, Jobs, Running, add_flags, read_flags
from ..superb.running.jobs import parse_override as read_override
from .tables import Run, markdown, plot, write_csv

MODES = ("frozen", "fine-tuned")
KINDS = {"ks": ["ks"], "sv": ["sv"], "joint": ["ks", "sv"]}  # kind of run -> its downstream_expert.tasks
_DOWNSTREAM = "joint_ks_sv"
_KS = Task("ks", "Keyword spotting", _DOWNSTREAM, "", "joint_ks_sv/{split}-acc", "acc %", higher_is_better=True)
_SV = Task("sv", "Speaker verification", _DOWNSTREAM, "", "joint_ks_sv/{split}-eer", "EER %")
# No tag and metric of its own: its results are those of the two.
_JOINT = Task("joint", "Keyword spotting and speaker verification", _DOWNSTREAM, "", "", "")
_TASKS = {task.key: task for task in (_KS, _SV, _JOINT)}
OVERRIDE = "[WHICH:]KEY=VALUE"
_HALVED = ("total_steps", "log_step", "eval_step", "save_step")
_PAPERS_CONFIG = "joint_ks_sv.yaml"
_UPDATES = (
    "Joint runs alternate between the tasks. Single-task runs use half of total_steps (and of log_step, eval_step, "
    "save_step), so that each task gets the same number of updates."
)


@dataclass(frozen=True)
class Plan:
    """What is run on every upstream.

    Parameters
    ----------
    config : str
        Of joint runs; single-task runs have half of its steps.
    seeds, modes, tasks : sequences
        Of each there is every combination; modes of `MODES`, tasks of `KINDS`.
    overrides : tuple of (which, key, value)
        Changes to the config: of all runs, before steps are halved, where which is None, else of those of that kind
        or mode.
    """

    config: str = f"mini/{_PAPERS_CONFIG}"
    seeds: Sequence[int] = (1, 2, 3)
    modes: Sequence[str] = MODES
    tasks: Sequence[str] = tuple(KINDS)
    overrides: tuple[tuple[str | None, str, Any], ...] = ()

    @property
    def comparable(self) -> bool:
        """Whether results compare with the paper's: the same corpora and heads. It does not give steps."""
        paper = (folder / _PAPERS_CONFIG for folder in DOWNSTREAM_CONFIGS)
        changed = any(key.startswith("downstream_expert.") for _, key, _ in self.overrides)
        return not changed and find_config(self.config, DOWNSTREAM_CONFIGS).resolve() in {p.resolve() for p in paper}


class JointJob(Job):
    """A run of `joint_ks_sv`: its results are one or two numbers. Of its checkpoints the best is kept."""

    def run_part(self, name: str) -> None:
        super().run_part(name)
        for states in self.folder.glob("states-*.ckpt"):
            states.unlink()

    def measured(self, scores: dict[str, float]) -> dict[str, Any]:
        return {key: _TASKS[key].result(scores) for key in KINDS[self.task.key]}


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="fithubert joint-report",
        description="Train and test one linear layer for keyword spotting (ks) and one for speaker verification (sv), "
        "each alone and both jointly, on frozen and on fine-tuned upstreams, once for each seed; write two tables, of "
        f"single tasks and of joint runs, and a picture beside Kerpicci et al.'s (2022) results. {_UPDATES} Finished "
        "runs are skipped.",
        epilog="example: fithubert joint-report -u teacher=hubert_base -u student=fithubert:student.safetensors",
    )
    parser.add_argument(
        "-c", "--config", default=Plan.config, help="config of joint runs: path or packaged name (default: %(default)s)"
    )
    parser.add_argument("--seeds", nargs="+", type=int, default=list(Plan.seeds), help="default: 1 2 3")
    parser.add_argument("--modes", nargs="+", choices=MODES, default=list(MODES), help="default: both")
    parser.add_argument("--tasks", nargs="+", choices=list(KINDS), default=list(KINDS), help="default: all three")
    parser.add_argument(
        "--override",
        action="append",
        default=[],
        metavar=OVERRIDE,
        help="override the config of all runs, for example runner.total_steps=500 (applied before steps are halved), "
        "or only of ks:, sv:, joint:, frozen: or fine-tuned: runs, for example frozen:optimizer.lr=1e-3 (applied last)",
    )
    add_flags(parser, "result/joint")
    return parser


def main(argv: list[str]) -> list[Run]:
    """Run what is not done yet, print the tables and write them with the picture."""
    given = read_flags(build_parser(), argv)
    if given is None:
        return []
    upstreams, running, args = given
    output = args.pop("output")
    args["overrides"] = tuple(parse_override(text) for text in args.pop("override"))
    for name in ("seeds", "modes", "tasks"):
        args[name] = tuple(dict.fromkeys(args[name]))
    runs = run(upstreams, Plan(**args), output, running)
    print(f"\n{Path(output, 'tables.md').read_text(encoding='utf-8')}\nResults are in {output}.")
    return runs


def parse_override(text: str) -> tuple[str | None, str, Any]:
    """Read `[WHICH:]KEY=VALUE`, WHICH of `KINDS` or `MODES`.

    Raises
    ------
    FitHubertError
        It is not of that form, or changes the tasks themselves.
    """
    which, key, value = read_override(text, OVERRIDE, [*KINDS, *MODES], "sv:runner.total_steps=100")
    if key == "downstream_expert.tasks":
        raise FitHubertError(f"--override {text}: downstream_expert.tasks cannot be overridden; choose with --tasks")
    return which, key, value


def run(upstreams: Sequence[Upstream], plan: Plan, output: str | Path, running: Running = ONE_BY_ONE) -> list[Run]:
    """Make all runs, as far as `output` does not hold their results yet, and write the report.

    Seeds change last, so an interrupted report has complete seeds.

    Parameters
    ----------
    upstreams
        With different labels.
    plan
        What is run on each.
    output
        Folder of everything: <label>/<mode>/<tasks>/seed-<seed>/ with s3prl's experiment and result.json, tables.md,
        runs.csv, joint.png.
    running
        How the runs are made: one after another or several at once, with cached features or without.

    Returns
    -------
    list[Run]
        In the order of running.

    Raises
    ------
    FitHubertError
        A corpus, config, upstream or checkpoint is not there, `output` holds results of other settings, or a run
        failed; what was finished before stays.
    """
    jobs = Jobs(upstreams, output, running)
    for which, key, _ in plan.overrides:
        if which not in (None, *plan.tasks, *plan.modes):
            runs = ", ".join([*plan.tasks, *plan.modes])
            raise FitHubertError(f"--override {which}:{key}: expected one of the runs that are made, {runs}")
    configs = {(kind, mode): config_of(kind, mode, plan) for kind in plan.tasks for mode in plan.modes}
    for seed, upstream, mode, kind in itertools.product(plan.seeds, upstreams, plan.modes, plan.tasks):
        jobs.add(
            f"{kind.upper()} on {upstream.label}, {mode}, seed {seed}",
            upstream,
            _TASKS[kind],
            configs[kind, mode],
            Path(upstream.label, mode, kind, f"seed-{seed}"),
            seed=seed,
            flags=() if mode == "frozen" else ("-f",),
            kind=JointJob,
            mode=mode,
        )
    return jobs.run(check_corpora, lambda parameters: _report(jobs.by_title.values(), parameters, plan, jobs.output))


def check_corpora(jobs: Iterable[Job]) -> None:
    """Raise FitHubertError, before hours are spent, for what would stop one of the runs."""
    for expert in {str(job.config["downstream_expert"]): job.config["downstream_expert"] for job in jobs}.values():
        read_corpora(JointConfig.from_dict(expert, "config.downstream_expert"))


def config_of(kind: str, mode: str, plan: Plan) -> dict[str, Any]:
    """The finished config of a kind of run in a mode.

    Raises
    ------
    FitHubertError
        The config is not there or cannot be changed so.
    """
    config = read_yaml(find_config(plan.config, DOWNSTREAM_CONFIGS))
    of_all = {key: value for only, key, value in plan.overrides if only is None}
    config = changed_config(config, of_all, kind, _DOWNSTREAM)
    own = {"downstream_expert.tasks": KINDS[kind]}
    if kind != "joint":
        steps = {name: config["runner"][name] for name in _HALVED if name in config["runner"]}
        if steps["total_steps"] % 2:
            raise FitHubertError(
                f"{kind}: runner.total_steps must be even (single-task runs use half of it), found "
                f"{steps['total_steps']}; pass another with --override runner.total_steps=..."
            )
        own |= {f"runner.{name}": max(1, count // 2) for name, count in steps.items()}
    config = changed_config(config, own, kind, _DOWNSTREAM)
    last = {key: value for only, key, value in plan.overrides if only in (kind, mode)}
    return expand_variables(changed_config(config, last, kind, _DOWNSTREAM), "", flag="--override ")


def _report(jobs: Iterable[Job], parameters: Mapping[str, int], plan: Plan, output: Path) -> list[Run]:
    """Write tables.md, runs.csv and joint.png of the runs that are finished."""
    runs, steps = [], {}
    for job in jobs:
        label, kind, about = job.upstream.label, job.task.key, job.identity
        steps[kind] = about["runner.total_steps"]
        if (result := job.result()) is not None:
            ks, sv, done, note = (result.get(name) for name in ("ks", "sv", "steps", "note"))
            runs.append(Run(label, parameters[label], about["mode"], kind, about["seed"], ks, sv, done, note))
    overrides = [f"{f'{only}:' if only else ''}{key}={value}" for only, key, value in plan.overrides]
    about = (
        f"Keyword spotting and speaker verification, one linear layer each: "
        f"{' '.join([plan.config, *(['with'] if overrides else []), *overrides])}, seeds "
        f"{', '.join(map(str, plan.seeds))}, updates: {', '.join(f'{kind} {n}' for kind, n in steps.items())}. "
        f"{_UPDATES} The best checkpoint on dev is tested on test."
    )
    write_text(output / "tables.md", markdown(runs, about, plan.comparable) + "\n")
    write_csv(runs, output / "runs.csv")
    plot(runs, output / "joint.png", plan.comparable)
    return runs

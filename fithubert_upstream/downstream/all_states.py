"""Evaluate every saved checkpoint of an experiment: what s3prl's test_expdir.sh does for speaker verification."""

import argparse
from collections.abc import Callable
from pathlib import Path

from ..checkpoints.torch_files import states_in, step_of
from ..errors import FitHubertError
from ..report import BARS, figure, save, write_csv
from .flags import DEFAULTS
from .past_run import read_run
from .tasks import Task, task_of


def evaluate_all_states(
    given: argparse.Namespace, argv: list[str], evaluate: Callable[[list[str]], dict[str, float]]
) -> dict[str, float]:
    """Run `-m evaluate` on each states-*.ckpt of a folder; print and write a table and a picture, name the best.

    The table is `all_states_<split>.csv` in the folder, the picture lies beside it.

    Parameters
    ----------
    given : argparse.Namespace
        What is given of mode, past_exp (the folder) and evaluate_split.
    argv : list of str
        All flags of the command, without `--all-states`.
    evaluate : callable
        Runs `fithubert downstream` with such flags, and gives what it logged.

    Returns
    -------
    dict[str, float]
        What the best checkpoint's evaluation logged.

    Raises
    ------
    FitHubertError
        There are no such checkpoints, one is damaged or of another task than SUPERB's, or it is not an evaluation.
    """
    past_exp = getattr(given, "past_exp", None)
    folder = Path(past_exp or "")
    if given.mode != "evaluate" or past_exp is None or not folder.is_dir():
        raise FitHubertError(
            f"--all-states: expected -m evaluate -e DIR, found -m {given.mode} -e {past_exp}; "
            "name the folder of an experiment"
        )
    states = states_in(folder)
    if not states:
        raise FitHubertError(f"-e {folder}: expected states-*.ckpt in it, found none; train first")

    runs = [read_run("-e", path) for path in states]  # a damaged one is told before the first is evaluated
    task = task_of(runs[0]["Args"].downstream, runs[0]["Config"])
    split = getattr(given, "evaluate_split", DEFAULTS["evaluate_split"])

    results = {path: evaluate([*argv, "-e", str(path)]) for path in states}
    values = {path: _result(task, scalars, split) for path, scalars in results.items()}
    best = (max if task.higher_is_better else min)(values, key=values.get)

    table = folder / f"all_states_{split}.csv"
    metric = f"{split} {task.metric}"
    rows = [{"checkpoint": path.name, metric: f"{value:.4f}"} for path, value in values.items()]
    write_csv(table, ["checkpoint", metric], rows)
    _plot(task, metric, values, best, table.with_suffix(".png"))
    width = max(len(path.name) for path in values)
    print(f"\n{'checkpoint':<{width}}  {metric}")
    for path, value in values.items():
        print(f"{path.name:<{width}}  {value:.2f}{'  best' if path == best else ''}")
    print(f"The table is {table}, its picture {table.with_suffix('.png')}.")
    return results[best]


def _result(task: Task, scalars: dict[str, float], split: str) -> float:
    """The task's result, of whichever fold was evaluated."""
    folds = (task.fold(number) for number in range(1, task.folds + 1))
    return next(fold.result(scalars, split) for fold in folds if fold.tag_of(split) in scalars)


def _plot(task: Task, metric: str, values: dict[Path, float], best: Path, path: Path) -> None:
    picture = figure(6, 3.5)
    axes = picture.subplots()
    steps = {state: step_of(state) for state in values}
    axes.plot(list(steps.values()), list(values.values()), marker="o", color=BARS[0])
    axes.plot(steps[best], values[best], marker="o", color=BARS[1], markersize=10, label=f"best: {values[best]:.2f}")
    axes.set(xlabel="step", ylabel=metric, title=task.title)
    axes.legend()
    save(picture, path)

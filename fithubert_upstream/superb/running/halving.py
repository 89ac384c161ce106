"""Which learning rates fall behind on dev: Optuna's successive halving, asked anew from the curves so far."""

from collections.abc import Iterable, Sequence

from ...downstream.tasks import Task
from ...errors import from_extra

REDUCTION = 2  # of the rates that reach a quarter, a half of the evaluations, one in so many goes on
FIRST = 4  # no rate is stopped before so many parts of the evaluations are one


def check_optuna() -> None:
    """Raise FitHubertError where Optuna is not installed."""
    with from_extra("superb", "a search of learning rates"):
        import optuna  # noqa: F401


def falls_behind(task: Task, own: Sequence[float], others: Iterable[Sequence[float]], evaluations: int) -> bool:
    """Whether a rate is stopped after its latest evaluation on dev.

    Nothing is remembered between calls: the curves on disk are all there is to know, so that a search can be
    interrupted, and its rates trained by several processes.

    Parameters
    ----------
    task
        Says which way is better.
    own
        Results on dev of this rate, by evaluation. The best so far counts, as the checkpoint that is tested is the
        best one.
    others
        Those of the other rates, as far as they have come.
    evaluations
        Of a whole training; after the last there is nothing to stop.
    """
    if len(own) >= evaluations:
        return False
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    study = optuna.create_study(
        direction="maximize" if task.higher_is_better else "minimize",
        pruner=optuna.pruners.SuccessiveHalvingPruner(max(1, evaluations // FIRST), REDUCTION),
    )
    better = max if task.higher_is_better else min
    stop = False
    for values in (*others, own):
        trial = study.ask()
        for number in range(1, len(values) + 1):
            trial.report(better(values[:number]), number)
            stop = trial.should_prune()
    return stop

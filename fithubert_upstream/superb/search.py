"""The learning rate of a task: SUPERB's one free setting, chosen on dev for each upstream."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..downstream.tasks import Task
from ..errors import FitHubertError, from_extra
from ..files import write_json
from .job import Job, Stopped

RATE = "optimizer.lr"
SUPERB_RATES = (1e-1, 1e-2, 1e-3, 1e-4, 1e-5)
HALVING = 2  # of the rates that reach an evaluation 1, 2, 4, ..., one in so many goes on


@dataclass(frozen=True)
class Search(Job):
    """Train a task with every learning rate, choose one on dev, test that one.

    Parameters
    ----------
    rates : tuple of float
        Tried in this order.
    halving : bool
        Stop a rate early when its dev result falls behind those of the rates before it at the same evaluation
        (successive halving).
    """

    rates: tuple[float, ...] = ()
    halving: bool = True

    def run(self) -> None:
        """Train, choose, test and leave result.json; finished rates are not trained again.

        Raises
        ------
        FitHubertError
            No rate has a result on dev, or as `Job.run`.
        """
        self.begin()
        pruner = Pruner(self.task) if self.halving else None
        found: dict[float, dict[str, Any]] = {}
        for rate in self.rates:
            found[rate] = self._train(rate, pruner)
        done = {rate: entry for rate, entry in found.items() if entry["dev"] is not None and not entry["stopped"]}
        if not done:
            raise FitHubertError(
                f"{self.task.key}: expected results on dev to choose a learning rate by, found none in {self.folder}; "
                f"evaluate on {self.task.dev} (runner.eval_dataloaders), or give one --lr"
            )
        best = (max if self.task.higher_is_better else min)(done, key=lambda rate: done[rate]["dev"])
        chosen = self.candidate(best)
        if not chosen.result_file.is_file():
            chosen.finish()
        search = [{"lr": rate, **entry, "chosen": rate == best} for rate, entry in found.items()]
        write_json(self.result_file, {**chosen.result(), "lr": best, "search": search, "settings": self.identity})

    @property
    def _evaluations(self) -> int:
        return self.config["runner"]["total_steps"] // self.config["runner"]["eval_step"]

    def candidate(self, rate: float) -> Job:
        """The job that trains with one learning rate, in a folder of its own."""
        return with_rate(self, rate, self.folder / f"lr-{rate:g}")

    def _train(self, rate: float, pruner: "Pruner | None") -> dict[str, Any]:
        """Best result on dev, by evaluation, and whether the rate was stopped early."""
        job = self.candidate(rate)
        summary = job.folder / "search.json"
        entry = job.read(summary)
        if entry is None:
            print(f"-- learning rate {rate:g}", flush=True)
            trial = None if pruner is None else pruner.trial(self._evaluations)
            stopped = False
            try:
                job.train(trial)
            except Stopped:
                stopped = True
                print(f"-- learning rate {rate:g} stopped early", flush=True)
            curve = job.curve()
            best = (max if self.task.higher_is_better else min)(curve.values(), default=None)
            entry = {"dev": best, "curve": curve, "stopped": stopped}
            write_json(summary, entry)
            if pruner is not None:
                pruner.close(stopped)
        elif pruner is not None:
            pruner.remember(list(entry["curve"].values()), entry["stopped"])
        return entry


@dataclass(frozen=True)
class Follower(Job):
    """A further seed: it trains with the learning rate that another job has chosen."""

    leader: Search = field(kw_only=True)

    def run(self) -> None:
        rate = self.leader.result()["lr"]
        job = with_rate(self, rate, self.folder)
        self.begin()
        job.train()
        job.finish()
        write_json(self.result_file, {**job.result(), "lr": rate, "settings": self.identity})


def with_rate(job: Job, rate: float, folder: Path) -> Job:
    """A plain job with a learning rate, in another folder."""
    config = {**job.config, "optimizer": {**job.config["optimizer"], "lr": rate}}
    identity = {key: value for key, value in job.identity.items() if key not in ("rates", "halving")}
    return Job(
        job.upstream,
        job.task,
        identity | {RATE: rate},
        folder,
        config,
        job.flags,
        job.feature_cache,
        job.corpus,
    )


class Pruner:
    """Optuna's asynchronous successive halving over the evaluations of one task."""

    def __init__(self, task: Task) -> None:
        with from_extra("superb", "a search of learning rates"):
            import optuna

        optuna.logging.set_verbosity(optuna.logging.ERROR)
        self._states, self._directions = optuna.trial.TrialState, optuna.study.StudyDirection
        self._study = optuna.create_study(
            direction="maximize" if task.higher_is_better else "minimize",
            pruner=optuna.pruners.SuccessiveHalvingPruner(min_resource=1, reduction_factor=HALVING),
        )
        self._trial: Any = None

    def trial(self, evaluations: int) -> Callable[[int, float], bool]:
        """Begin a trial of so many evaluations.

        Returns
        -------
        A function of an evaluation's number, from 1, and its result: whether to stop. The best result so far counts,
        as the checkpoint that is tested is the best one; after the last evaluation there is nothing to stop.
        """
        self._trial = trial = self._study.ask()
        better = max if self._study.direction == self._directions.MAXIMIZE else min
        so_far: list[float] = []

        def should_stop(number: int, value: float) -> bool:
            so_far.append(value)
            trial.report(better(so_far), number)
            return trial.should_prune() and number < evaluations

        return should_stop

    def close(self, stopped: bool) -> None:
        values = list(self._study.trials[self._trial.number].intermediate_values.values())
        if stopped or not values:
            self._study.tell(self._trial, state=self._states.PRUNED if stopped else self._states.FAIL)
        else:
            self._study.tell(self._trial, values[-1])

    def remember(self, values: list[float], stopped: bool) -> None:
        """A trial that an earlier call has made."""
        should_stop = self.trial(len(values))
        for number, value in enumerate(values, 1):
            should_stop(number, value)
        self.close(stopped)

"""The learning rate of a task: SUPERB's one free setting, chosen on dev for each upstream."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ...errors import FitHubertError
from ...files import write_json
from .halving import falls_behind
from .job import Job, Stopped

RATE = "optimizer.lr"
SUPERB_RATES = (1e-1, 1e-2, 1e-3, 1e-4, 1e-5)
_CHOOSE = "choose"


@dataclass(frozen=True)
class Search(Job):
    """Train a task with every learning rate, choose one on dev, test that one.

    Parameters
    ----------
    rates : tuple of float
        In this order, where they are tried one after another.
    halving : bool
        Stop a rate early when its dev result falls behind those of the other rates at the same evaluation
        (successive halving).
    """

    rates: tuple[float, ...] = ()
    halving: bool = True

    def parts(self) -> list[str]:
        """Each rate that has not been trained; once all have, the choice."""
        if self.result_file.is_file():
            return []
        missing = [f"{rate:g}" for rate in self.rates if not self._summary(rate).is_file()]
        return missing or [_CHOOSE]

    def run_part(self, name: str) -> None:
        """Train with one rate; or choose, test and leave result.json.

        Raises
        ------
        FitHubertError
            No rate has a result on dev, or as `Job.run`.
        """
        self.begin()
        if name == _CHOOSE:
            self._choose()
        else:
            self._train(next(rate for rate in self.rates if f"{rate:g}" == name))

    def candidate(self, rate: float) -> Job:
        """The job that trains with one learning rate, in a folder of its own."""
        return with_rate(self, rate, self.folder / f"lr-{rate:g}")

    def _summary(self, rate: float) -> Path:
        return self.candidate(rate).folder / "search.json"

    @property
    def _better(self) -> Callable:
        return max if self.task.higher_is_better else min

    def _train(self, rate: float) -> None:
        """Leave search.json: the best result on dev, all of them by step, and whether the rate was stopped early."""
        job = self.candidate(rate)
        others = [self.candidate(other) for other in self.rates if other != rate]
        evaluations = self.config["runner"]["total_steps"] // self.config["runner"]["eval_step"]
        own: list[float] = []

        def should_stop(number: int, value: float) -> bool:
            own[number - 1 :] = [value]  # a resumed training evaluates anew what came after its last state
            return falls_behind(self.task, own, [list(other.curve().values()) for other in others], evaluations)

        print(f"-- learning rate {rate:g}", flush=True)
        started, stopped = time.time(), False
        try:
            job.train(should_stop if self.halving else None)
        except Stopped:
            stopped = True
            print(f"-- learning rate {rate:g} stopped early", flush=True)
        curve = job.curve()
        best = self._better(curve.values(), default=None)
        seconds = round(time.time() - started, 1)
        write_json(self._summary(rate), {"dev": best, "curve": curve, "stopped": stopped, "seconds": seconds})

    def _choose(self) -> None:
        found = {rate: self.read(self._summary(rate)) for rate in self.rates}
        done = {rate: entry for rate, entry in found.items() if entry["dev"] is not None and not entry["stopped"]}
        if not done:
            raise FitHubertError(
                f"{self.task.key}: expected results on dev to choose a learning rate by, found none in {self.folder}; "
                f"evaluate on {self.task.dev} (runner.eval_dataloaders), or give one --lr"
            )
        best = self._better(done, key=lambda rate: done[rate]["dev"])
        chosen = self.candidate(best)
        if not chosen.result_file.is_file():
            chosen.finish()
        search: list[dict[str, Any]] = [{"lr": rate, **entry, "chosen": rate == best} for rate, entry in found.items()]
        result = chosen.result()
        seconds = round(result["seconds"] + sum(entry["seconds"] for entry in search), 1)
        made = {"lr": best, "search": search, "seconds": seconds, "settings": self.identity}
        write_json(self.result_file, result | made)


@dataclass(frozen=True)
class Follower(Job):
    """A further seed: it trains with the learning rate that another job has chosen."""

    leader: Search = field(kw_only=True)

    def parts(self) -> list[str]:
        return super().parts() if self.leader.result_file.is_file() else []

    def run_part(self, name: str) -> None:
        started, rate = time.time(), self.leader.result()["lr"]
        job = with_rate(self, rate, self.folder)
        self.begin()
        job.train()
        job.finish(started, lr=rate, settings=self.identity)


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
        job.cache,
        job.corpus,
    )

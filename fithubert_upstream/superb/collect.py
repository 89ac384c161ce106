"""The runs of a task on an upstream, over folds and seeds, as one number with its spread. Imports no torch."""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol


class HasResult(Protocol):
    """What of a job is needed here."""

    identity: dict[str, Any]

    def result(self) -> dict[str, Any] | None: ...


@dataclass(frozen=True)
class Cell:
    """A cell of the table.

    Attributes
    ----------
    value, spread : float
        Mean over seeds, and their sample standard deviation; a seed's result is the mean over folds.
    more : dict
        Key of each further number of the task -> the same two.
    notes : tuple of str
    layers : list of float, optional
        Learned weights of hidden states, mean over the runs.
    search : list of dict, optional
        The learning rates that were tried, with their results on dev; of the first fold.
    choice : dict, optional
        Of a task that trains nothing: the `layer` that was chosen, and the result of each on `dev`.
    runs : list of dict
        The content of each result.json.
    """

    value: float
    spread: float | None = None
    more: dict[str, tuple[float, float | None]] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    layers: list[float] | None = None
    search: list[dict[str, Any]] | None = None
    choice: dict[str, Any] | None = None
    runs: list[dict[str, Any]] = field(default_factory=list)

    def numbers(self, key: str) -> dict[str, tuple[float, float | None]]:
        """Key of each of the task's numbers, of which `key` is the first -> its value and spread."""
        return {key: (self.value, self.spread), **self.more}

    def results(self) -> Any:
        """For results.json: the run, or a list of several."""
        return self.runs[0] if len(self.runs) == 1 else self.runs


def collect(jobs: Sequence[HasResult]) -> Cell | None:
    """The cell of these runs; None unless every fold of a seed has a result. Seeds without one are left out."""
    seeds: dict[int, list[dict[str, Any] | None]] = {}
    for job in jobs:
        seeds.setdefault(job.identity["seed"], []).append(job.result())
    whole = [runs for runs in seeds.values() if all(run is not None for run in runs)]
    if not whole:
        return None
    runs = [run for runs in whole for run in runs if run is not None]
    value, spread = _over_seeds([[run["value"] for run in one if run is not None] for one in whole])
    keys = [key for key in runs[0].get("more", {}) if all(key in run.get("more", {}) for run in runs)]
    more = {key: _over_seeds([[run["more"][key] for run in one if run is not None] for one in whole]) for key in keys}
    weights = [run["layer_weights"] for run in runs if run.get("layer_weights")]
    return Cell(
        value,
        spread,
        more,
        tuple(dict.fromkeys(run["note"] for run in runs if run["note"])),
        [statistics.fmean(layer) for layer in zip(*weights, strict=True)] if weights else None,
        next((run["search"] for run in runs if run.get("search")), None),
        next(({"layer": run["layer"], "dev": run["dev"]} for run in runs if "layer" in run), None),
        runs,
    )


def _over_seeds(values: Sequence[Sequence[float]]) -> tuple[float, float | None]:
    """Mean and sample standard deviation of seeds, each the mean over its folds; no deviation of one."""
    means = [statistics.fmean(folds) for folds in values]
    return statistics.fmean(means), statistics.stdev(means) if len(means) > 1 else None

"""SUPERB's numbers: what they are called, which way they improve, and the leaderboard's reference points. No torch."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from ..errors import FitHubertError


@dataclass(frozen=True)
class Metric:
    """A number of a task, in percent.

    Attributes
    ----------
    task : str
        The task's key; slot filling has two metrics.
    title, unit : str
        Such as "Phone recognition" and "PER".
    baseline, top : float
        FBANK and the best system of `reference_points` of SUPERB's leaderboard, which `superb_s` maps to 0 and 1000.
    """

    task: str
    title: str
    unit: str
    baseline: float
    top: float

    @property
    def higher_is_better(self) -> bool:
        return self.top > self.baseline

    @property
    def column(self) -> str:
        return f"{self.task.upper()} ({self.unit})"


METRICS = {
    "pr": Metric("pr", "Phone recognition", "PER", 82.01, 3.53),
    "asr": Metric("asr", "Speech recognition", "WER", 23.18, 3.62),
    "ks": Metric("ks", "Keyword spotting", "acc.", 41.3826674, 96.66),
    "sv": Metric("sv", "Speaker verification", "EER", 9.56, 5.11),
    "ic": Metric("ic", "Intent classification", "acc.", 9.649354219, 98.76),
    "sid": Metric("sid", "Speaker identification", "acc.", 20.058174, 90.3),
    "er": Metric("er", "Emotion recognition", "acc.", 48.23672168, 67.62),
    "sf": Metric("sf", "Slot filling, types", "F1", 69.64, 89.81),
    "sf_cer": Metric("sf", "Slot filling, values", "CER", 52.94, 21.76),
    "sd": Metric("sd", "Speaker diarization", "DER", 10.05, 5.62),
    "qbe": Metric("qbe", "Query by example", "MTWV", 0.58, 7.36),
}


def superb_score(values: Mapping[str, float]) -> float:
    """superb_s: the mean over tasks of 1000 * (value - baseline) / (top - baseline), a task's metrics averaged first.

    Parameters
    ----------
    values
        Key of `METRICS` -> result in percent. SUPERB's site first turns error rates into 100 - value; the ratio stays
        the same without that.

    Raises
    ------
    FitHubertError
        No result is given, or one without reference points.
    """
    if not values or not set(values) <= set(METRICS):
        raise FitHubertError(f"superb_s: expected results of {', '.join(METRICS)}, found {', '.join(values) or 'none'}")
    tasks: dict[str, list[float]] = {}
    for key, value in values.items():
        metric = METRICS[key]
        score = 1000 * (value - metric.baseline) / (metric.top - metric.baseline)
        tasks.setdefault(metric.task, []).append(score)
    return sum(sum(scores) / len(scores) for scores in tasks.values()) / len(tasks)


def task_names(columns: Iterable[str]) -> str:
    """Such as "PR, ASR, SF"."""
    return ", ".join(dict.fromkeys(METRICS[key].task.upper() for key in columns))

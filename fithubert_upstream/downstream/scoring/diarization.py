"""Speaker diarization's result: the error rate of the turns that a model's probabilities tell.

s3prl logs errors of frames, of each chunk by its own best assignment of speakers. The published ones are of whole
recordings, by dscore on RTTM files: no collar, overlapped speech counts, and of ten ways to decide from the
probabilities the one with the lowest error rate on the test (s3prl's diarization/score.sh and docs/superb.md).
"""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from scipy.ndimage import median_filter
from tqdm import tqdm

from ...audio import SAMPLE_RATE
from ...corpora.layouts.librimix import Turn, check_splits
from ...corpora.problems import require
from ...errors import FitHubertError, from_extra
from ...files import write_text
from ...report import write_csv

MEDIANS, THRESHOLDS = (1, 11), (0.3, 0.4, 0.5, 0.6, 0.7)
TABLE = "der.csv"


class Score(NamedTuple):
    """A way to decide, and its result.

    Attributes
    ----------
    median : int
        Frames of the median filter over each speaker's decisions.
    threshold : float
        Who is more probable than that speaks.
    der : float
        Diarization error rate; 0 to over 1.
    """

    median: int
    threshold: float
    der: float


def check_conversations(expert: dict, splits: Iterable[str]) -> None:
    """Raise FitHubertError for what is wrong with a run's splits, its `downstream_expert`, or the install.

    Raises
    ------
    MissingPackage
        A package that s3prl's task or its scoring needs is not installed.
    """
    with from_extra("superb", "speaker diarization"):
        import h5py  # noqa: F401
        import pyannote.metrics.diarization  # noqa: F401
    if "test" in splits and not expert["scorerc"]["save_predictions"]:
        raise FitHubertError(
            "config.downstream_expert.scorerc.save_predictions: expected true, since the test is scored by the "
            "predictions, found false"
        )
    folders = {split: expert["loaderrc"][f"{split}_dir"] for split in dict.fromkeys(splits)}
    require(check_splits(folders, expert["datarc"]["num_speakers"]))


def turns_of(probabilities: np.ndarray, frame_shift: int, median: int, threshold: float) -> list[Turn]:
    """Who speaks when, by probabilities.

    Parameters
    ----------
    probabilities : np.ndarray
        (L, S), of S speakers in each frame.
    frame_shift : int
        Samples of 16 kHz from frame to frame.
    median : int
        Frames of the median filter, odd; nobody speaks before the first and after the last. 1: none.
    threshold : float
        Above it a speaker speaks.

    Returns
    -------
    list of Turn
        By speaker ("0", "1", ...), then by time; in whole milliseconds.
    """
    active = (probabilities > threshold).astype(np.int8)
    if median > 1:
        active = median_filter(active, size=(median, 1), mode="constant")
    turns = []
    for speaker, frames in enumerate(active.T):
        edges = np.flatnonzero(np.diff(frames, prepend=0, append=0)) * frame_shift / SAMPLE_RATE
        turns += [Turn(round(a, 3), round(b, 3), str(speaker)) for a, b in edges.reshape(-1, 2).tolist()]
    return turns


def rttm(turns: Mapping[str, Sequence[Turn]]) -> str:
    """The turns of recordings as an RTTM file; speakers get their recording's name, as they are told apart inside."""
    return "".join(
        f"SPEAKER {name} 1 {turn.start:.3f} {turn.end - turn.start:.3f} <NA> <NA> {name}_{turn.speaker} <NA> <NA>\n"
        for name, inside in turns.items()
        for turn in inside
    )


def error_rate(truth: Mapping[str, Sequence[Turn]], found: Mapping[str, Sequence[Turn]]) -> float:
    """Missed, false and confused speech over all speech of some recordings, speakers mapped the best way in each.

    Without a collar; of overlapped speech every speaker counts, and a speaker who overlaps himself counts once.

    Parameters
    ----------
    truth, found : dict
        Recording -> turns. Those of one that `found` lacks are missed.

    Raises
    ------
    MissingPackage
        pyannote.metrics is not installed.
    FitHubertError
        Nobody speaks in `truth`.
    """
    with from_extra("superb", "speaker diarization"):
        from pyannote.core import Annotation, Segment, Timeline
        from pyannote.metrics.diarization import DiarizationErrorRate

    def annotation(turns: Sequence[Turn]) -> Annotation:
        made = Annotation()
        for track, (start, end, speaker) in enumerate(turns):
            made[Segment(start, end), track] = speaker
        return made.support()

    if not any(truth.values()):
        raise FitHubertError("expected turns of speakers to score by, found none")
    metric = DiarizationErrorRate(collar=0.0, skip_overlap=False)
    for name, turns in truth.items():
        others = found.get(name, ())
        whole = Timeline([Segment(0, max(turn.end for turn in (*turns, *others)))])
        metric(annotation(turns), annotation(others), uem=whole)
    return float(abs(metric))


def score(
    probabilities: Mapping[str, np.ndarray], truth: Mapping[str, Sequence[Turn]], frame_shift: int, folder: str | Path
) -> list[Score]:
    """Score recordings in all ways to decide, and write what was scored.

    Parameters
    ----------
    probabilities : dict
        Recording -> (L, S), of S speakers in each frame.
    truth : dict
        Recording -> turns; of at least these recordings.
    frame_shift : int
        Samples of 16 kHz from frame to frame.
    folder : path
        Gets `hyp_<threshold>_<median>.rttm`, named as by s3prl's score.sh, and `der.csv`.

    Returns
    -------
    list of Score
        The lowest error rate first.

    Raises
    ------
    FitHubertError
        `truth` lacks a recording; or as `error_rate`.
    """
    for name in probabilities:
        if name not in truth:
            raise FitHubertError(f"expected the turns of {name} to score by, found none")
    expected = {name: truth[name] for name in probabilities}
    scores = []
    ways = [(median, threshold) for median in MEDIANS for threshold in THRESHOLDS]
    for median, threshold in tqdm(ways, desc="Scoring speakers' turns", unit="setting"):
        found = {name: turns_of(frames, frame_shift, median, threshold) for name, frames in probabilities.items()}
        write_text(Path(folder, f"hyp_{threshold}_{median}.rttm"), rttm(found))
        scores.append(Score(median, threshold, error_rate(expected, found)))
    scores.sort(key=lambda one: one.der)
    rows = [{"median": one.median, "threshold": one.threshold, "DER %": f"{100 * one.der:.4f}"} for one in scores]
    write_csv(Path(folder, TABLE), ["median", "threshold", "DER %"], rows)
    return scores

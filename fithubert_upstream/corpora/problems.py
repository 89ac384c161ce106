"""What a check of a corpus found."""

from dataclasses import dataclass

from ..audio.walk import printable
from ..errors import FitHubertError

HOUR_MS = 3_600_000
SHOWN_PROBLEMS = 50


@dataclass
class Report:
    """What a check found.

    Attributes
    ----------
    corpus : str
        What `fithubert check` takes to find it again, such as "librispeech /data/LibriSpeech".
    counts : dict
        Name to number, such as "dev-clean utterances".
    problems : list of str
        One line each: what was expected, what was found, in which file.
    """

    corpus: str
    counts: dict[str, int | float]
    problems: list[str]

    def __post_init__(self) -> None:
        self.problems = [printable(problem) for problem in self.problems]


def require(report: Report) -> None:
    """Raise FitHubertError with the first problem of a report that has any, and the number of the others."""
    if report.problems:
        more = len(report.problems) - 1
        others = f" (and {more} more: fithubert check {report.corpus} lists them)" if more else ""
        raise FitHubertError(report.problems[0] + others)

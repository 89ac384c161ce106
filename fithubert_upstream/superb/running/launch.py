"""Where the runs of a table are made: here one after another, in several processes, or as jobs of Slurm."""

import argparse
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ...errors import FitHubertError, from_extra
from ...settings.values import parse_value


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Add --jobs, --launcher and --slurm."""
    parser.add_argument(
        "--jobs", type=int, metavar="N", help="train N at once, on a GPU each where there are any (default: 1)"
    )
    parser.add_argument(
        "--launcher",
        choices=["local", "slurm"],
        default="local",
        help="slurm: each (upstream, task, learning rate, seed) is a job of Slurm, at most --jobs at once (default: "
        "%(default)s)",
    )
    parser.add_argument(
        "--slurm",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="an option of sbatch, time in minutes: partition=gpu, time=600, mem=16GB; repeat for several",
    )


@dataclass(frozen=True)
class Launch:
    """How the runs are started.

    Parameters
    ----------
    jobs : int, optional
        At most so many at once; None: one, or for Slurm any number.
    launcher : str
        `local` or `slurm`.
    options : dict
        Of sbatch, as submitit takes them.

    Raises
    ------
    FitHubertError
        A number of jobs below 1, options without Slurm, no Slurm, or no submitit.
    """

    jobs: int | None = None
    launcher: str = "local"
    options: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.jobs is not None and self.jobs < 1:
            raise FitHubertError(f"--jobs: expected 1 or more, found {self.jobs}")
        if self.launcher == "local" and self.options:
            raise FitHubertError(
                "--slurm: expected --launcher slurm beside it, found local; add it or leave --slurm out"
            )
        if self.launcher == "slurm" and not (shutil.which("sbatch") and shutil.which("srun")):
            raise FitHubertError(
                "--launcher slurm: expected sbatch and srun, found none; start it where jobs are submitted from"
            )

        if not self.one_by_one:
            import_submitit()

    @property
    def one_by_one(self) -> bool:
        """Whether the runs are made in this process."""
        return self.launcher == "local" and self.jobs in (None, 1)


def parse_options(words: list[str]) -> dict[str, Any]:
    """Read `KEY=VALUE` of --slurm. Raises FitHubertError where it is not of that form."""
    options = {}
    for word in words:
        key, equals, value = word.partition("=")
        if not (key.isidentifier() and equals and value):
            raise FitHubertError(f"--slurm {word}: expected KEY=VALUE; for example partition=gpu")
        options[key] = parse_value(value, f"--slurm {word}")
        if key == "time" and (isinstance(options[key], bool) or not isinstance(options[key], int)):
            raise FitHubertError(f"--slurm {word}: expected a whole number of minutes; for example time=600")
    return options


def import_submitit() -> Any:
    with from_extra("superb", "several jobs at once"):
        import submitit
    return submitit

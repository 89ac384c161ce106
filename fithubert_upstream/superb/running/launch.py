"""Where the runs of a table are made: here one after another, in several processes, or as jobs of Slurm."""

import argparse
import os
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import torch
from tqdm import tqdm

from ...errors import FitHubertError, from_extra, refuse_unknown
from ...files import write_json
from ...settings.values import parse_value
from .job import Job
from .work import Work

_WEEK = 7 * 24 * 60  # minutes
_RESTARTS = 100  # of a job whose time is over or whose machine is taken away; it resumes


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
            _submitit()

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
    return options


class Handle(Protocol):
    """A job of submitit."""

    def done(self) -> bool: ...


class Starter(Protocol):
    """Starts work somewhere."""

    poll: float  # seconds between looks at what has become of it

    def start(self, work: Work, slot: int) -> Handle: ...

    def left_over(self, work: Work) -> Handle | None:
        """What an earlier call has started and is not over."""


class LocalStarter:
    """Processes of this machine, which share its cores and take its GPUs in turn."""

    poll = 0.2

    def __init__(self, folder: Path, jobs: int) -> None:
        submitit = _submitit()
        self._executor = submitit.LocalExecutor(folder)
        threads = max(1, (os.cpu_count() or 1) // jobs)
        setup = [f"export OMP_NUM_THREADS={os.environ.get('OMP_NUM_THREADS', threads)}"]
        self._executor.update_parameters(timeout_min=_WEEK, setup=setup)
        self._gpus = _visible_gpus()

    def start(self, work: Work, slot: int) -> Handle:
        if self._gpus:
            gpu = self._gpus[slot % len(self._gpus)]
            self._executor.update_parameters(gpus_per_node=1, visible_gpus=(gpu,))
        return self._executor.submit(work)

    def left_over(self, work: Work) -> Handle | None:
        return _Elsewhere(work) if work.is_running() else None


class SlurmStarter:
    """Jobs of Slurm. Which were submitted is noted in `submitted.json`, so that none is submitted twice."""

    poll = 5.0

    def __init__(self, folder: Path, options: Mapping[str, Any]) -> None:
        submitit = _submitit()
        self._job, self._folder = submitit.SlurmJob, folder
        self._executor = submitit.SlurmExecutor(folder, max_num_timeout=_RESTARTS)
        refuse_unknown("--slurm", options, sorted(self._executor._valid_parameters()))
        self._executor.update_parameters(**{"job_name": "superb", "time": 24 * 60, "cpus_per_task": 4} | dict(options))
        self._note = folder / "submitted.json"
        self._submitted = Job.read(self._note) or {}

    def start(self, work: Work, slot: int) -> Handle:
        job = self._executor.submit(work)
        self._submitted[work.title] = job.job_id
        write_json(self._note, self._submitted)
        return job

    def left_over(self, work: Work) -> Handle | None:
        if work.title in self._submitted:
            job = self._job(self._folder, self._submitted[work.title])
            if not job.done(force_check=True):
                return job
        return _Elsewhere(work) if work.is_running() else None


class _Elsewhere:
    """Work of a process that an earlier call started."""

    def __init__(self, work: Work) -> None:
        self._work = work

    def done(self) -> bool:
        return not self._work.is_running()


def starter_for(launch: Launch, folder: Path) -> Starter:
    """What starts the runs; logs go to `folder`."""
    if launch.launcher == "slurm":
        return SlurmStarter(folder, launch.options)
    return LocalStarter(folder, launch.jobs or 1)


def follow(
    jobs: Mapping[str, Job], starter: Starter, at_once: int | None, on_result: Callable[[], object] = lambda: None
) -> None:
    """Start all that can be done, at most so many `at_once`, and wait for the end.

    Parameters
    ----------
    jobs
        Title -> job.
    starter
    at_once
        None: any number.
    on_result
        Called when a job has got its result.

    Raises
    ------
    FitHubertError
        Parts have failed; all others were finished before.
    """
    crew = _Crew(starter, at_once)
    done, said = _finished(jobs), {}
    with tqdm(total=len(jobs), initial=len(done), unit="job", dynamic_ncols=True) as bar:
        while True:
            crew.collect()
            for work in _ready(jobs):
                crew.take(work)
            if (now := _finished(jobs)) != done:
                bar.update(len(now - done))
                done = now
                on_result()
            if (state := {"running": len(crew.running), "failed": len(crew.failed)}) != said:
                bar.set_postfix(said := state)
            if not crew.running:
                break
            time.sleep(starter.poll)
    if crew.failed:
        name, reason = next(iter(crew.failed.items()))
        more = f" ({len(crew.failed)} parts failed)" if len(crew.failed) > 1 else ""
        raise FitHubertError(f"{name}: {reason}{more}")


class _Crew:
    """What is running, by its title, and why what has failed did."""

    def __init__(self, starter: Starter, at_once: int | None) -> None:
        self._starter, self._at_once = starter, at_once
        self.running: dict[str, tuple[Work, Handle, int]] = {}
        self.failed: dict[str, str] = {}
        self._seen: set[str] = set()

    def collect(self) -> None:
        """See what is over."""
        for title, (work, handle, _) in list(self.running.items()):
            if handle.done():
                del self.running[title]
                if not work.is_done():
                    self.failed[title] = work.failure() or "it ended without a result; its log says why"
                    tqdm.write(f"{title}: {self.failed[title]}")

    def take(self, work: Work) -> None:
        """Start it, unless it has been or there are enough."""
        if work.title in self.running or work.title in self.failed:
            return
        handle = None
        if work.title not in self._seen:  # at its first time: of an earlier command it may still be running
            self._seen.add(work.title)
            handle = self._starter.left_over(work)
        if handle is None and self._at_once is not None and len(self.running) >= self._at_once:
            return
        slots = {slot for _, _, slot in self.running.values()}
        slot = next(slot for slot in range(len(slots) + 1) if slot not in slots)
        self.running[work.title] = (work, handle or self._starter.start(work, slot), slot)


def _finished(jobs: Mapping[str, Job]) -> set[str]:
    return {title for title, job in jobs.items() if job.result_file.is_file()}


def _ready(jobs: Mapping[str, Job]) -> Iterator[Work]:
    for title, job in jobs.items():
        for part in job.parts():
            yield Work(title if part == "run" else f"{title}, {part}", job, part)


def _visible_gpus() -> list[int]:
    """The numbers of this machine's GPUs that this process may use."""
    given = os.environ.get("CUDA_VISIBLE_DEVICES")
    if not given or not torch.cuda.device_count():
        return list(range(torch.cuda.device_count()))
    names = given.split(",")
    if not all(name.strip().isdecimal() for name in names):
        raise FitHubertError(f"--jobs: expected numbers in CUDA_VISIBLE_DEVICES, found {given}; give such as 0,1")
    return [int(name) for name in names]


def _submitit() -> Any:
    with from_extra("superb", "several jobs at once"):
        import submitit
    return submitit

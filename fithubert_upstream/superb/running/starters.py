"""What starts a part of a table's runs somewhere else, by submitit: a process of this machine, or a job of Slurm."""

import hashlib
import json
import os
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

import torch

from ...errors import FitHubertError, refuse_unknown
from ...files import write_json
from ...runs.workers import available_cores
from .job import Job
from .launch import Launch, import_submitit
from .work import Work

_WEEK = 7 * 24 * 60  # minutes
_RESTARTS = 100  # of a job whose time is over or whose machine is taken away; it resumes


class Handle(Protocol):
    """Something that was started, such as a job of submitit."""

    def done(self) -> bool: ...


class Starter(Protocol):
    """Starts work somewhere.

    Attributes
    ----------
    poll : float
        Seconds between looks at what has become of it.
    patience : float
        Seconds after an end in which a result may still appear: a network's file system shows it late.
    """

    poll: float
    patience: float

    def start(self, work: Work, slot: int) -> Handle:
        """Start it. Raises FitHubertError where no more can be started now."""

    def left_over(self, work: Work) -> Handle | None:
        """What an earlier command has started and is not over."""


class Elsewhere:
    """Work of a process that an earlier command started."""

    def __init__(self, work: Work) -> None:
        self._work = work

    def done(self) -> bool:
        return not self._work.is_running()


class LocalStarter:
    """Processes of this machine, which share its cores and take its GPUs in turn."""

    poll, patience = 0.2, 1.0

    def __init__(self, folder: Path, jobs: int) -> None:
        self._executor = import_submitit().LocalExecutor(folder)
        self._executor.update_parameters(timeout_min=_WEEK)
        self._threads = max(1, available_cores() // jobs)
        self._gpus = _visible_gpus()

    def start(self, work: Work, slot: int) -> Handle:
        if self._gpus:
            gpu = self._gpus[slot % len(self._gpus)]
            self._executor.update_parameters(gpus_per_node=1, visible_gpus=(gpu,))
        with _environment({"OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", str(self._threads))}):
            return self._executor.submit(work)

    def left_over(self, work: Work) -> Handle | None:
        return Elsewhere(work) if work.is_running() else None


class SlurmStarter:
    """Jobs of Slurm. Which were submitted is noted in `submitted.json`, so that none is submitted twice."""

    poll, patience = 5.0, 60.0

    def __init__(self, folder: Path, options: Mapping[str, Any]) -> None:
        submitit = import_submitit()
        self._job, self._folder = submitit.SlurmJob, folder
        self._executor = submitit.SlurmExecutor(folder, max_num_timeout=_RESTARTS)
        refuse_unknown("--slurm", options, sorted(self._executor._valid_parameters()))
        self._executor.update_parameters(**{"job_name": "superb", "time": 24 * 60, "cpus_per_task": 4} | dict(options))
        self._note = folder / "submitted.json"
        self._submitted = Job.read(self._note) or {}

    def start(self, work: Work, slot: int) -> Handle:
        from submitit.core.utils import FailedJobError, FailedSubmissionError

        try:
            job = self._executor.submit(work)
        except (FailedJobError, FailedSubmissionError, OSError) as error:
            reason = " ".join(str(error).split())[-300:]
            raise FitHubertError(
                f"sbatch: expected a job to be queued, found: {reason}; fewer --jobs may help"
            ) from error
        self._submitted[_name(work)] = job.job_id
        write_json(self._note, self._submitted)
        return _SlurmHandle(job)

    def left_over(self, work: Work) -> Handle | None:
        if (number := self._submitted.get(_name(work))) is not None:
            handle = _SlurmHandle(self._job(self._folder, number))
            if not handle.done():
                return handle
        return Elsewhere(work) if work.is_running() else None


class _SlurmHandle:
    """A job of Slurm, which is over too when accounting does not know it (any more) and the queue neither."""

    def __init__(self, job: Any) -> None:
        self.job = job
        self._asked = 0.0

    def done(self) -> bool:
        if self.job.done():
            return True
        if time.monotonic() - self._asked < 30:
            return False
        self._asked = time.monotonic()
        if self.job.done(force_check=True):
            return True
        return self.job.state in ("UNKNOWN", "PREEMPTED") and not self._is_queued()

    def _is_queued(self) -> bool:
        words = ["squeue", "--noheader", "--jobs", str(self.job.job_id), "--format", "%T"]
        try:
            return bool(subprocess.run(words, capture_output=True, text=True, timeout=60, check=True).stdout.strip())
        except subprocess.CalledProcessError:  # it has never heard of it
            return False
        except (OSError, subprocess.SubprocessError):  # no squeue, or no answer
            return True

    @property
    def state(self) -> str:
        return self.job.state

    @property
    def paths(self) -> Any:
        return self.job.paths


def starter_for(launch: Launch, folder: Path) -> Starter:
    """What starts the runs; logs go to `folder`."""
    if launch.launcher == "slurm":
        return SlurmStarter(folder, launch.options)
    return LocalStarter(folder, launch.jobs or 1)


def _name(work: Work) -> str:
    """The title, with a digest of what the result depends on: work of other settings is other work."""
    identity = json.dumps(work.job.identity, sort_keys=True)
    return f"{work.title} {hashlib.blake2b(identity.encode(), digest_size=8).hexdigest()}"


@contextmanager
def _environment(values: Mapping[str, str]) -> Iterator[None]:
    """With these variables for processes that are started in the block."""
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def _visible_gpus() -> list[int]:
    """The numbers of this machine's GPUs that this process may use."""
    given = os.environ.get("CUDA_VISIBLE_DEVICES")
    if not given or not torch.cuda.device_count():
        return list(range(torch.cuda.device_count()))
    names = given.split(",")
    if not all(name.strip().isdecimal() for name in names):
        raise FitHubertError(f"--jobs: expected numbers in CUDA_VISIBLE_DEVICES, found {given}; give such as 0,1")
    return [int(name) for name in names]

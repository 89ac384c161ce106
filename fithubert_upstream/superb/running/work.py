"""One part of a job in a process of its own: it can be started anywhere, again and twice, and is done once."""

import contextlib
import traceback
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock, Timeout

from ...downstream.tasks import Task
from ...errors import FitHubertError
from ...files import write_text
from .job import Job

_WAIT = 10.0  # s; whoever only asks whether a part is being worked on holds its lock for a moment


@contextlib.contextmanager
def advice_for(task: Task) -> Iterator[None]:
    """In a table, a task's config is changed with --override, where s3prl's runner has -o."""
    try:
        yield
    except FitHubertError as error:
        raise FitHubertError(str(error).replace("-o config.", f"--override {task.key}:")) from error


@dataclass(frozen=True)
class Work:
    """A part of a job, as a function without arguments.

    Parameters
    ----------
    title : str
        What the part is called in messages.
    job : Job
    part : str
        One of `job.parts()`.
    """

    title: str
    job: Job
    part: str

    def __call__(self) -> None:
        """Do the part, unless it is done or another process is at it; an error is left in `failure_file`."""
        try:
            with contextlib.suppress(Timeout):
                self.do(_WAIT)
        except FitHubertError as error:
            self._fail(str(error))
        except Exception as error:  # of s3prl or torch: the log has the whole of it
            traceback.print_exc()
            self._fail(f"{type(error).__name__}: {error}")

    def do(self, wait: float = -1) -> None:
        """Do the part, unless it is done.

        Parameters
        ----------
        wait
            Seconds to wait for another process that is at it; by default without end.

        Raises
        ------
        FitHubertError
            As `Job.run_part`.
        filelock.Timeout
            The other process is still at it.
        """
        with self._lock(wait), advice_for(self.job.task):
            if not self.is_done():
                self.job.run_part(self.part)

    def checkpoint(self):
        """What submitit starts again when a machine is taken away or its time is over: the same part, which resumes."""
        from submitit.helpers import DelayedSubmission

        return DelayedSubmission(self)

    def is_done(self) -> bool:
        return self.part not in self.job.parts()

    def is_running(self) -> bool:
        """Whether any process on this file system works on it."""
        try:
            with self._lock(0):
                return False
        except Timeout:
            return True

    @property
    def failure_file(self) -> Path:
        return self.job.folder / f".{self.part}.error"

    def failure(self) -> str | None:
        """Why the last attempt failed, in a line; None if it did not."""
        return self.failure_file.read_text(encoding="utf-8").strip() if self.failure_file.is_file() else None

    def forget_failure(self) -> None:
        self.failure_file.unlink(missing_ok=True)

    def _fail(self, reason: str) -> None:
        write_text(self.failure_file, " ".join(reason.split()) + "\n")

    @contextlib.contextmanager
    def _lock(self, wait: float) -> Iterator[None]:
        self.job.folder.mkdir(parents=True, exist_ok=True)
        with FileLock(self.job.folder / f".{self.part}.lock", timeout=wait):
            yield

"""All parts of a table's runs, started as soon as they can be and followed to their end."""

import contextlib
import os
import time
from collections.abc import Callable, Iterator, Mapping

from tqdm import tqdm

from ...errors import FitHubertError
from .job import Job
from .starters import Elsewhere, Handle, Starter
from .work import Work

_PAUSE = 60.0  # s, before a queue that was full is asked again


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
        Parts have failed; all others were finished before. Or a result is one of other settings.
    """
    crew = Crew(starter, at_once)
    done, said = _finished(jobs), {}
    with tqdm(total=len(jobs), initial=len(done), unit="job", dynamic_ncols=True) as bar:
        while True:
            crew.collect()
            for work in _ready(jobs):
                crew.take(work)
            if (now := _finished(jobs)) != done:
                for title in now - done:  # a job of an earlier command may have had others
                    jobs[title].check()
                bar.update(len(now - done))
                done = now
                on_result()
            failed = crew.failed()
            if (state := {"running": len(crew.running), "failed": len(failed)}) != said:
                bar.set_postfix(said := state)
            if not crew.running:
                break
            time.sleep(starter.poll)
    if failed:
        name, reason = next(iter(failed.items()))
        more = f" ({len(failed)} parts failed)" if len(failed) > 1 else ""
        raise FitHubertError(f"{name}: {reason}{more}")


class Crew:
    """What is running, by its title, and what has failed."""

    def __init__(self, starter: Starter, at_once: int | None) -> None:
        self._starter, self._at_once = starter, at_once
        self.running: dict[str, tuple[Work, Handle, int]] = {}
        self._failed: dict[str, tuple[Work, str]] = {}
        self._seen: set[str] = set()
        self._over: dict[str, float] = {}  # when what has left no result yet was over
        self._full_until = 0.0

    def failed(self) -> dict[str, str]:
        """Why parts failed that nobody has done since."""
        return {title: reason for title, (work, reason) in self._failed.items() if not work.is_done()}

    def collect(self) -> None:
        """See what is over."""
        for title, (work, handle, slot) in list(self.running.items()):
            if not handle.done():
                continue
            if work.is_done():
                del self.running[title]
            elif work.is_running():  # by a process of an earlier command, to which this one left it
                self.running[title] = (work, Elsewhere(work), slot)
            elif isinstance(handle, Elsewhere) and work.failure() is None:  # that one was killed: it is started anew
                del self.running[title]
            elif work.failure() is not None or self._is_late(title, work):
                del self.running[title]
                reason = work.failure() or _end_of(handle)
                self._failed[title] = (work, reason)
                tqdm.write(f"{title}: {reason}")

    def take(self, work: Work) -> None:
        """Start it, unless it has been or there are enough."""
        title = work.title
        if title in self.running or title in self._failed:
            return
        handle = None
        if title not in self._seen:  # at its first time: of an earlier command it may still be running
            self._seen.add(title)
            handle = self._starter.left_over(work)
        if handle is None:
            full = self._at_once is not None and len(self.running) >= self._at_once
            if full or time.monotonic() < self._full_until:
                return
        slots = {slot for _, _, slot in self.running.values()}
        slot = next(slot for slot in range(len(slots) + 1) if slot not in slots)
        if handle is None:
            work.forget_failure()
            work.job.note()
            try:
                handle = self._starter.start(work, slot)
            except FitHubertError as error:
                if not self.running:
                    raise
                tqdm.write(f"{title}: {error}; it is tried again")
                self._full_until = time.monotonic() + _PAUSE
                return
        self.running[title] = (work, handle, slot)

    def _is_late(self, title: str, work: Work) -> bool:
        """Whether a result should be there by now."""
        with contextlib.suppress(OSError):
            os.listdir(work.job.folder)  # lets a network's file system look again
        since = self._over.setdefault(title, time.monotonic())
        return time.monotonic() - since >= self._starter.patience


def _end_of(handle: Handle) -> str:
    state, paths = (getattr(handle, name, None) for name in ("state", "paths"))
    how = f" ({state})" if state else ""
    return f"it ended without a result{how}" + (f"; see {paths.stderr}" if paths else "")


def _finished(jobs: Mapping[str, Job]) -> set[str]:
    return {title for title, job in jobs.items() if job.result_file.is_file()}


def _ready(jobs: Mapping[str, Job]) -> Iterator[Work]:
    for title, job in jobs.items():
        for part in job.parts():
            yield Work(title if part == "run" else f"{title}, {part}", job, part)

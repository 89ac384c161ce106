"""The runs of a table, made one after another into one folder: what `superb` and `joint-report` share."""

import argparse
import contextlib
import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from filelock import FileLock, Timeout

from ...corpora.state import corpus_state
from ...downstream.tasks import Task
from ...errors import FitHubertError
from ...runs.outputs import check_output_folder
from ...settings.values import parse_value
from ..names import UPSTREAM, Upstream, check_labels, digest_of, parse_upstream
from ..upstreams import Size, size_of
from ..verify import report, verify
from . import launch
from .crew import follow
from .features import GB, FeatureCache, corpus_seconds, too_large
from .job import Job, identity_of
from .launch import Launch
from .starters import starter_for
from .work import Work, advice_for

Report = TypeVar("Report")
LOGS = ".jobs"  # no label begins with a dot


def add_flags(parser: argparse.ArgumentParser, output: str) -> None:
    """Add -u, --verify, -o, whose default is `output`, and the flags of `Running`."""
    parser.add_argument(
        "-u",
        "--upstream",
        action="append",
        default=[],
        metavar=UPSTREAM,
        help="an upstream on s3prl's hub, with its checkpoint and the feature to use (default: the weighted sum of its "
        "hidden states); repeat to compare several",
    )
    parser.add_argument(
        "--feature-cache",
        metavar="DIR",
        help="keep the features of frozen upstreams in DIR; same results (default: in the output folder, until the "
        "table is finished)",
    )
    parser.add_argument(
        "--feature-cache-gb",
        type=float,
        default=FeatureCache.gigabytes,
        metavar="N",
        help="do not cache features that take more than N GB; 0: none (default: %(default)g)",
    )
    launch.add_flags(parser)
    parser.add_argument(
        "--verify",
        metavar="DIR",
        help="train nothing: evaluate the checkpoints in DIR again and say whether the numbers are the same",
    )
    parser.add_argument("-o", "--output", default=output, help="output folder (default: %(default)s)")


@dataclass(frozen=True)
class Running:
    """How the runs of a table are made; it changes no number."""

    cache: FeatureCache = FeatureCache()
    launch: Launch = Launch()


ONE_BY_ONE = Running()


def read_flags(
    parser: argparse.ArgumentParser, argv: list[str]
) -> tuple[list[Upstream], Running, dict[str, Any]] | None:
    """The upstreams, how they are run, and the other flags; None if --verify was given and is done.

    Raises
    ------
    FitHubertError
        There is no upstream, or a number is not the same.
    """
    args = vars(parser.parse_args(argv))
    folder = args.pop("verify")
    if folder is not None:
        verdicts = verify(folder)
        print(f"\n{report(verdicts)}")
        if other := [verdict for verdict in verdicts if not verdict.same]:
            raise FitHubertError(f"--verify {folder}: {len(other)} of {len(verdicts)} numbers are not the same")
        return None
    upstreams = [parse_upstream(text) for text in args.pop("upstream")]
    if not upstreams:
        raise FitHubertError(f"-u: expected at least one upstream, found none; give for example {parser.prog} -u fbank")
    cache = FeatureCache(args.pop("feature_cache"), args.pop("feature_cache_gb"))
    options = launch.parse_options(args.pop("slurm"))
    return upstreams, Running(cache, Launch(args.pop("jobs"), args.pop("launcher"), options)), args


def parse_override(text: str, form: str, names: Sequence[str], example: str) -> tuple[str | None, str, Any]:
    """Read `NAME:KEY=VALUE`, where NAME is one of `names`; the value is read as Python or YAML.

    Parameters
    ----------
    text, example
        What was given, and what could be.
    form
        How help and errors write it. If it begins with "[", NAME may be left out and comes back as None.

    Raises
    ------
    FitHubertError
        `text` does not have that form.
    """
    optional = "?" if form.startswith("[") else ""
    match = re.fullmatch(rf"(?:({'|'.join(names)}):){optional}(\w[\w.-]*)=(.+)", text)
    if match is None:
        name = form.strip("[").partition(":")[0]
        raise FitHubertError(
            f"--override {text}: expected {form} with {name} one of {', '.join(names)}; for example {example}"
        )
    name, key, value = match.groups()
    return name, key, parse_value(value, f"--override {text}")


class Jobs:
    """The runs of a table.

    Parameters
    ----------
    upstreams
        Each with a label of its own.
    output
        The folder of the table and, below it, of every run.
    running
        How the runs are made.

    Raises
    ------
    FitHubertError
        A label occurs twice, or the folder cannot be written.
    """

    def __init__(self, upstreams: Sequence[Upstream], output: str | Path, running: Running) -> None:
        check_output_folder(output)
        check_labels(upstreams)
        self.upstreams = upstreams
        self.output = Path(output).absolute()
        self.running = running
        self.by_title: dict[str, Job] = {}
        self._digests = {upstream.label: digest_of(upstream.ckpt) for upstream in upstreams}
        self._corpora: dict[str, dict[str, Any]] = {}

    def add(
        self,
        title: str,
        upstream: Upstream,
        task: Task,
        config: Mapping[str, Any],
        folder: str | Path,
        *,
        seed: int,
        flags: Sequence[str] = (),
        kind: type[Job] = Job,
        extra: Mapping[str, Any] | None = None,
        **about: Any,
    ) -> Job:
        """Add one run in `folder` (below the output folder); `about` is what its result depends on beside the config.

        `extra` is what `kind` takes beside what every job does.
        """
        corpus = partial(corpus_state, task.downstream, config)
        read = json.dumps([task.downstream, config["downstream_expert"]], default=str)
        if read not in self._corpora:
            self._corpora[read] = corpus()
        digest = self._digests[upstream.label]
        self.by_title[title] = kind(
            upstream,
            task,
            identity_of(upstream, digest, config, seed=seed, **about, **self._corpora[read]),
            self.output / folder,
            config,
            tuple(flags),
            corpus=corpus,
            **(extra or {}),
        )
        return self.by_title[title]

    def run(self, check_corpora: Callable[[list[Job]], None], report: Callable[[dict[str, int]], Report]) -> Report:
        """Make the runs that have no result yet.

        Parameters
        ----------
        check_corpora
            Called before any run, with the jobs of each task that are still to be run.
        report
            Called with the parameters of each upstream, label -> count, after each run and at the end.

        Returns
        -------
        What `report` returned last.

        Raises
        ------
        FitHubertError
            An upstream or a corpus is not usable, a folder holds a run of other settings, or a run failed; what was
            finished before stays.
        """
        for job in self.by_title.values():
            job.check()
        missing = [job for job in self.by_title.values() if not job.result_file.is_file()]
        for key, task in {job.task.key: job.task for job in missing}.items():
            with advice_for(task):
                check_corpora([job for job in missing if job.task.key == key])
        sizes = {upstream.label: size_of(upstream) for upstream in self.upstreams}
        parameters = {label: size.parameters for label, size in sizes.items()}
        with self._alone():
            self._cache_features(sizes)
            if self.running.launch.one_by_one:
                self._run_here(lambda: report(parameters))
            else:
                self._run_elsewhere(lambda: report(parameters))
            self.running.cache.clear(self.output)
        return report(parameters)

    def _run_here(self, report: Callable[[], object]) -> None:
        for number, (title, job) in enumerate(self.by_title.items(), 1):
            progress = f"\n== {title} ({number} of {len(self.by_title)})"
            if job.result_file.is_file():
                print(f"{progress}: already done", flush=True)
                continue
            print(progress, flush=True)
            try:
                while parts := job.parts():
                    work = Work(title, job, parts[0])
                    if work.is_running():
                        print("another process is at it; waiting for it", flush=True)
                    work.do()
            except FitHubertError as error:
                raise FitHubertError(f"{title}: {error}; results so far are kept in {self.output}") from error
            report()

    def _run_elsewhere(self, report: Callable[[], object]) -> None:
        starter = starter_for(self.running.launch, self.output / LOGS)
        at_once = self.running.launch.jobs
        try:
            follow(self.by_title, starter, at_once, report)
        except FitHubertError as error:
            raise FitHubertError(f"{error}; results so far are kept in {self.output}") from error

    @contextlib.contextmanager
    def _alone(self) -> Iterator[None]:
        """Raises FitHubertError while another process makes a table in the folder."""
        self.output.mkdir(parents=True, exist_ok=True)
        try:
            with FileLock(self.output / ".lock", timeout=0):
                yield
        except Timeout:
            raise FitHubertError(
                f"-o {self.output}: expected a folder that no other command is working in, found one that is; wait for "
                "it, or choose another folder"
            ) from None

    def _cache_features(self, uses: Mapping[str, Size]) -> None:
        """Give the jobs that are still to be run the flags of the cache, where features fit into it."""
        cache, limit = self.running.cache, self.running.cache.limit(self.output)
        jobs = {title: job for title, job in self.by_title.items() if not job.result_file.is_file()}
        jobs = {title: job for title, job in jobs.items() if "-f" not in job.flags}  # trained, features change
        if not cache.gigabytes or not jobs:
            return
        seconds: dict[str, float] = {}
        sizes: dict[str, float] = {}
        flags = ("--feature-cache", str(cache.place(self.output)), "--feature-cache-gb", f"{limit:g}")
        for title, job in jobs.items():
            data = json.dumps([job.task.downstream, job.config["downstream_expert"]], default=str)
            if data not in seconds:
                seconds[data] = corpus_seconds(job.task.downstream, job.config)
            name = f"{job.task.key.upper()} on {job.upstream.label}"
            if name not in sizes:
                sizes[name] = seconds[data] * uses[job.upstream.label].feature_bytes / GB
            if sizes[name] <= limit:
                self.by_title[title] = replace(job, cache=flags)
        if (words := too_large(sizes.items(), limit)) is not None:
            print(words)

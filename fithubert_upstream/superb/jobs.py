"""The runs of a table, made one after another into one folder: what `superb` and `joint-report` share."""

import argparse
import contextlib
import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from ..corpora.state import corpus_state
from ..downstream.tasks import Task
from ..errors import FitHubertError
from ..runs.outputs import check_feature_cache, check_output_folder
from ..settings.values import parse_value
from .job import Job, identity_of
from .upstreams import UPSTREAM, Upstream, check_labels, count_parameters, digest_of, parse_upstream
from .verify import report, verify

Report = TypeVar("Report")


def add_flags(parser: argparse.ArgumentParser, output: str) -> None:
    """Add -u, --feature-cache, --verify and -o, whose default is `output`."""
    parser.add_argument(
        "-u",
        "--upstream",
        action="append",
        default=[],
        metavar=UPSTREAM,
        help="an upstream on s3prl's hub, with its checkpoint and the feature to use (default: the weighted sum of its "
        "hidden states); repeat to compare several",
    )
    parser.add_argument("--feature-cache", metavar="DIR", help="cache features in DIR: faster, same results")
    parser.add_argument(
        "--verify",
        metavar="DIR",
        help="train nothing: evaluate the checkpoints in DIR again and say whether the numbers are the same",
    )
    parser.add_argument("-o", "--output", default=output, help="output folder (default: %(default)s)")


def read_flags(parser: argparse.ArgumentParser, argv: list[str]) -> tuple[list[Upstream], dict[str, Any]] | None:
    """The upstreams and the other flags; None if --verify was given and is done.

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
    return upstreams, args


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


@contextlib.contextmanager
def advice_for(task: Task) -> Iterator[None]:
    """In a table, a task's config is changed with --override, where s3prl's runner has -o."""
    try:
        yield
    except FitHubertError as error:
        raise FitHubertError(str(error).replace("-o config.", f"--override {task.key}:")) from error


class Jobs:
    """The runs of a table.

    Parameters
    ----------
    upstreams
        Each with a label of its own.
    output
        The folder of the table and, below it, of every run.
    feature_cache
        Folder where features of frozen upstreams are kept; it changes no number.

    Raises
    ------
    FitHubertError
        A label occurs twice, or a folder cannot be written.
    """

    def __init__(self, upstreams: Sequence[Upstream], output: str | Path, feature_cache: str | None = None) -> None:
        check_output_folder(output)
        check_feature_cache(feature_cache)
        check_labels(upstreams)
        self.upstreams = upstreams
        self.output = Path(output).absolute()
        self.feature_cache = feature_cache
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

        `extra` is what `kind` takes beside what every job does. Fine-tuning (`-f` among the flags) does not use the
        feature cache.
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
            None if "-f" in flags else self.feature_cache,
            corpus,
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
        parameters = {upstream.label: count_parameters(upstream) for upstream in self.upstreams}
        for number, (title, job) in enumerate(self.by_title.items(), 1):
            progress = f"\n== {title} ({number} of {len(self.by_title)})"
            if job.result_file.is_file():
                print(f"{progress}: already done", flush=True)
                continue
            print(progress, flush=True)
            try:
                with advice_for(job.task):
                    job.run()
            except FitHubertError as error:
                raise FitHubertError(f"{title}: {error}; results so far are kept in {self.output}") from error
            report(parameters)
        return report(parameters)

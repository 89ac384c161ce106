"""One task on one upstream: what its result depends on, and how it is trained, tested and remembered."""

import json
import shlex
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from ...checkpoints.torch_files import states_in
from ...compat.runs import watched_scalars
from ...corpora.state import DIGEST, FILES, PLACES, changed
from ...downstream import run as run_downstream
from ...downstream.tasks import Task
from ...errors import FitHubertError
from ...files import write_json, write_text
from ...models.inference import inference_settings
from ...runs.folders import check_free
from ...runs.provenance import commit, device_name
from ...runs.versions import versions
from ...settings.files import flatten
from ...settings.values import dump_yaml
from ..layers import layer_weights
from ..names import Upstream, digest_of


def identity_of(upstream: Upstream, digest: str | None, config: dict, **flags: Any) -> dict[str, Any]:
    """Everything a result depends on, as a flat dict of JSON values; `flags`: seed, `corpus_state` and so on.

    It includes the environment variables that set how a student is run.
    """
    config = flatten(config)
    made = ["bucket_file", *(["meta_data"] if "downstream_expert.datarc.test_fold" in config else [])]
    for name in made:  # follows from the corpus; moves with the output
        config.pop(f"downstream_expert.datarc.{name}", None)
    config.pop("downstream_expert.max_workers", None)  # processes of query by example, which change no score
    identity = {
        "upstream": upstream.name,
        "ckpt": digest,
        "feature": upstream.feature,
        **inference_settings(),
        **flags,
        **config,
    }
    return json.loads(json.dumps(identity))


class Stopped(Exception):
    """A training that was stopped before its end, since it would not be chosen."""


@dataclass(frozen=True)
class Job:
    """One task on one upstream in its folder.

    Parameters
    ----------
    upstream, task
        What is trained on what.
    identity : dict
        All that the result depends on, of `identity_of`; its `seed` is trained with.
    folder : Path
        s3prl's experiment, and result.json.
    config : dict
        The finished config, which becomes config.yaml in the folder.
    flags : tuple of str
        More flags of training, such as -f.
    cache : tuple of str
        Flags of the feature cache, which changes no number.
    corpus : callable
        Returns the current `corpus_state`; `identity` has the one at the start.
    """

    upstream: Upstream
    task: Task
    identity: dict[str, Any]
    folder: Path
    config: dict[str, Any]
    flags: tuple[str, ...] = ()
    cache: tuple[str, ...] = ()
    corpus: Callable[[], dict[str, Any]] = dict

    @property
    def result_file(self) -> Path:
        return self.folder / "result.json"

    def result(self) -> dict[str, Any] | None:
        return self.read(self.result_file)

    @staticmethod
    def read(path: Path) -> Any:
        """The content of a JSON file; None where there is none."""
        return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else None

    def check(self) -> None:
        """Raise FitHubertError when the folder holds a finished or begun run of other settings, or another corpus.

        A result of a version that noted no corpus is taken, with a line that says so; one of a corpus that lies
        elsewhere now is one of the same.
        """
        begun = self.folder / "settings.json"
        result = self.result()
        if result is not None:
            there = result["settings"]
        elif begun.is_file():
            there = json.loads(begun.read_text())
        else:
            return check_free(self.folder, "remove it or choose another folder with -o")
        keys = [key for key in {**there, **self.identity} if there.get(key) != self.identity.get(key)]
        known = [DIGEST in settings for settings in (there, self.identity)]
        if not all(known):
            keys = [key for key in keys if key not in (FILES, DIGEST)]
            if any(known):
                what = "an older version recorded no corpus" if known[1] else "the corpus is missing"
                print(f"{self.folder}: {what}; cannot check that its result belongs to the current corpus")
        elif there[DIGEST] == self.identity[DIGEST] and result is not None:  # wherever it lies now
            keys = [key for key in keys if key.rpartition(".")[2] not in PLACES]
        elif set(keys) <= {FILES, DIGEST} and keys:
            raise FitHubertError(
                f"{self.folder}: {changed(there, self.identity)}; remove that folder to train and score again, or "
                "choose another with -o"
            )
        if keys:
            found = ", ".join(f"{key} {there.get(key)} and not {self.identity.get(key)}" for key in keys[:3])
            raise FitHubertError(
                f"{self.folder}: already holds a run with other settings: {found}{', ...' if len(keys) > 3 else ''}; "
                "remove it or choose another folder with -o"
            )

    def _check_corpus(self) -> None:
        now = self.corpus()
        if DIGEST in self.identity and now and (what := changed(self.identity, now)):
            raise FitHubertError(f"{what}, while the command was running; remove {self.folder} and run it again")

    def parts(self) -> list[str]:
        """Names of what can be done now, in any order or at once; none of a job that has a result, or waits for one."""
        return [] if self.result_file.is_file() else ["run"]

    def run_part(self, name: str) -> None:
        """Do one of `parts`: train (or resume), test, and leave result.json.

        Raises
        ------
        FitHubertError
            The corpus changes, or a checkpoint cannot be trained or tested.
        """
        started = time.time()
        self.begin()
        self.train()
        self.finish(started)

    def begin(self) -> None:
        """`note`. Raises FitHubertError if the corpus has changed since `identity`."""
        self._check_corpus()
        self.note()

    def note(self) -> None:
        """Leave what the result depends on in the folder, for `check`."""
        write_json(self.folder / "settings.json", self.identity)

    def train(self, should_stop: Callable[[int, float], bool] | None = None) -> None:
        """Train, or resume.

        Parameters
        ----------
        should_stop
            Asked after each evaluation on dev, with its number from 1 and its result.

        Raises
        ------
        Stopped
            `should_stop` said so.
        """
        config = []  # that of the last state, where there is one
        curve = self.curve()
        if not any(self.folder.glob("states-*.ckpt")):  # interrupted before the first: training starts over
            for best in (*self.folder.glob("*-best.ckpt"), self.folder / self.task.best):
                best.unlink(missing_ok=True)
            curve = {}
            write_text(self.folder / "config.yaml", dump_yaml(self.config))
            config = ["-c", str(self.folder / "config.yaml")]
        if should_stop is not None:
            for number, value in enumerate(curve.values(), 1):  # of before an interruption
                should_stop(number, value)
        tag = self.task.tag_of(self.task.dev)

        def watch(logged: str, value: float, step: int | None) -> None:
            if logged == tag and step is not None:
                for later in [old for old in curve if int(old) >= step]:  # of a run that was interrupted
                    del curve[later]
                curve[str(step)] = self.task.scale * value
                write_json(self.folder / "dev.json", curve)
                if should_stop is not None and should_stop(len(curve), curve[str(step)]):
                    raise Stopped

        with watched_scalars(watch):
            run_downstream.main([*self._training(config), *self.cache])

    def curve(self) -> dict[str, float]:
        """Step -> result on dev, of training so far."""
        return self.read(self.folder / "dev.json") or {}

    def _training(self, config: list[str]) -> list[str]:
        """The flags of training."""
        train = ["-m", "train", *self.upstream.flags, "-d", self.task.downstream, *config]
        return [*train, "-p", str(self.folder), "--seed", str(self.identity["seed"]), "-a", *self.flags]

    def finish(self, started: float | None = None, **more: Any) -> None:
        """Test the best checkpoint and leave result.json, with `more` in it; `started` is when the work began."""
        started = time.time() if started is None else started
        checkpoint, note = self._checkpoint()
        test = ["-m", "evaluate", "-t", self.task.split, *checkpoint]
        scores = run_downstream.main([*test, *self.cache])
        train = self._training(["-c", str(self.folder / "config.yaml")])
        tested = Path(checkpoint[1])
        weights = layer_weights(tested) if tested.is_file() else None
        self.record(scores, [train, test], started, tested, layer_weights=weights, note=note, **more)

    def record(
        self,
        scores: dict[str, float],
        commands: list[list[str]],
        started: float,
        tested: Path | None = None,
        **more: Any,
    ) -> None:
        """Leave result.json of these scores on the test; `more` goes into it too."""
        self._check_corpus()
        result = {
            **self.measured(scores),
            "logged": {tag: value for tag, value in scores.items() if f"/{self.task.split}-" in tag},
            "checkpoint": digest_of(str(tested)) if tested is not None and tested.is_file() else None,
            "dev": self.curve(),
            "layer_weights": None,
            "steps": self.identity.get("runner.total_steps", 0),
            "seed": self.identity["seed"],
            "note": "",
            "command": [f"fithubert downstream {shlex.join(flags)}" for flags in commands],
            "versions": versions(),
            "commit": commit(),
            "device": device_name(),
            "threads": torch.get_num_threads(),
            "seconds": round(time.time() - started, 1),  # of the last start, if it was interrupted
            "settings": self.identity,
            **more,
        }
        write_json(self.result_file, result)

    def measured(self, scores: dict[str, float]) -> dict[str, Any]:
        """What result.json keeps of the test's scores."""
        found = {"value": self.task.result(scores), "metric": self.task.metric}
        more = self.task.further(scores)
        return {**found, "more": more} if more else found

    def _checkpoint(self) -> tuple[list[str], str]:
        """Flags that name what is tested, and what to say of it."""
        best = self.folder / self.task.best
        if best.is_file():
            return ["-e", str(best)], ""
        states = states_in(self.folder)
        if not states:
            raise FitHubertError(f"expected {self.task.best} or states-*.ckpt in {self.folder}, found neither")
        if self.task.downstream == "sv_voxceleb1":  # SUPERB's protocol: no dev trials, the best state on test
            return ["-e", str(self.folder), "--all-states"], ""
        # s3prl keeps no best one while the error rate on dev is 100 % or more, or the accuracy 0
        note = f"{self.task.key.upper()} has no best checkpoint on dev: the last one was tested"
        return ["-e", str(states[-1])], note

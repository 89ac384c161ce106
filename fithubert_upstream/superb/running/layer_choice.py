"""The layer of a task that trains nothing: every one is evaluated on dev, the best is tested."""

import time

import torch

from ...audio import SAMPLE_RATE
from ...downstream import run as run_downstream
from ...downstream.flags import DEFAULTS
from ...files import write_json, write_text
from ...settings.values import dump_yaml
from ..names import Upstream
from ..upstreams import build
from .job import Job

SEED = DEFAULTS["seed"]  # nothing is drawn


class LayerChoice(Job):
    """Evaluate every layer of an upstream on dev, and the best of them on test; of equal ones, the first."""

    def run_part(self, name: str) -> None:
        """Evaluate, choose, test and leave result.json; a finished layer is not evaluated again.

        Raises
        ------
        FitHubertError
            As `Job.run_part`.
        """
        started = time.time()
        self.begin()
        write_text(self.folder / "config.yaml", dump_yaml(self.config))
        count, curve = count_layers(self.upstream), self.curve()
        for layer in range(count):
            if str(layer) not in curve:
                print(f"-- layer {layer} ({layer + 1} of {count})", flush=True)
                scores = run_downstream.main([*self._evaluation(self.task.dev, layer, count), *self.cache])
                curve[str(layer)] = self.task.result(scores, self.task.dev)
                write_json(self.folder / "dev.json", curve)
        best = int((max if self.task.higher_is_better else min)(curve, key=lambda layer: curve[layer]))
        print(f"-- layer {best} on {self.task.split}", flush=True)
        test = self._evaluation(self.task.split, best, count)
        scores = run_downstream.main([*test, *self.cache])
        self.record(scores, [self._evaluation(self.task.dev, best, count), test], started, layer=best)

    def _evaluation(self, split: str, layer: int, count: int) -> list[str]:
        """The flags that evaluate one layer."""
        place = self.folder / (f"layer-{layer}" if split == self.task.dev else split)
        flags = ["-m", "evaluate", "-t", split, *self.upstream.flags, "-d", self.task.downstream]
        flags += ["-c", str(self.folder / "config.yaml"), "-p", str(place), "--seed", str(self.identity["seed"])]
        return [*flags, *(["-l", str(layer)] if count > 1 else []), *self.flags]


def count_layers(upstream: Upstream) -> int:
    """The layers of an upstream's feature; 1 for one without. Raises FitHubertError as `upstreams.build`."""
    with torch.no_grad():
        feature = build(upstream)([torch.zeros(SAMPLE_RATE)])[upstream.feature or "hidden_states"]
    return len(feature) if isinstance(feature, list | tuple | dict) else 1

"""The layer of a task that trains nothing: every one is evaluated on dev, the best is tested."""

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from ..audio import SAMPLE_RATE
from ..downstream import run as run_downstream
from ..downstream.flags import DEFAULTS
from ..files import write_json, write_text
from ..report import BARS, INK, QUIET, aligned_table, figure, save
from ..settings.values import dump_yaml
from .job import Job
from .metrics import METRICS
from .upstreams import Upstream, build

SEED = DEFAULTS["seed"]  # nothing is drawn
Choices = Mapping[str, Mapping[str, Any]]  # upstream -> {"layer": chosen, "dev": {layer: result}}


class LayerChoice(Job):
    """Evaluate every layer of an upstream on dev, and the best of them on test; of equal ones, the first."""

    def run(self) -> None:
        """Evaluate, choose, test and leave result.json; a finished layer is not evaluated again.

        Raises
        ------
        FitHubertError
            As `Job.run`.
        """
        started = time.time()
        self.begin()
        write_text(self.folder / "config.yaml", dump_yaml(self.config))
        count, curve = count_layers(self.upstream), self.curve()
        for layer in range(count):
            if str(layer) not in curve:
                print(f"-- layer {layer} ({layer + 1} of {count})", flush=True)
                scores = run_downstream.main(self._evaluation(self.task.dev, layer, count))
                curve[str(layer)] = self.task.result(scores, self.task.dev)
                write_json(self.folder / "dev.json", curve)
        best = int((max if self.task.higher_is_better else min)(curve, key=lambda layer: curve[layer]))
        print(f"-- layer {best} on {self.task.split}", flush=True)
        test = self._evaluation(self.task.split, best, count)
        scores = run_downstream.main(test)
        self.record(scores, [self._evaluation(self.task.dev, best, count), test], started, layer=best)

    def _evaluation(self, split: str, layer: int, count: int) -> list[str]:
        """The flags that evaluate one layer."""
        place = self.folder / (f"layer-{layer}" if split == self.task.dev else split)
        flags = ["-m", "evaluate", "-t", split, *self.upstream.flags, "-d", self.task.downstream]
        flags += ["-c", str(self.folder / "config.yaml"), "-p", str(place), "--seed", str(self.identity["seed"])]
        return [*flags, *(["-l", str(layer)] if count > 1 else []), *self._cache, *self.flags]


def count_layers(upstream: Upstream) -> int:
    """The layers of an upstream's feature; 1 for one without. Raises FitHubertError as `upstreams.build`."""
    with torch.no_grad():
        feature = build(upstream)([torch.zeros(SAMPLE_RATE)])[upstream.feature or "hidden_states"]
    return len(feature) if isinstance(feature, list | tuple | dict) else 1


def choice_table(choices: Choices, key: str) -> str:
    """A line for each upstream: the result on dev of each layer; the chosen one is in bold."""
    depth = max(len(choice["dev"]) for choice in choices.values())
    body = []
    for label, choice in choices.items():
        cells = [f"{choice['dev'][str(k)]:.2f}" if str(k) in choice["dev"] else "-" for k in range(depth)]
        cells[choice["layer"]] = f"**{cells[choice['layer']]}**"
        body.append([label, METRICS[key].column, *cells])
    head = ["upstream", "on dev", *(f"layer {k}" for k in range(depth))]
    title = f"The layer of {METRICS[key].title.lower()}, chosen on dev (in bold; a feature without layers is layer 0):"
    return "\n".join([title, "", *aligned_table(head, body, {0, 1})])


def draw_choice(choices: Choices, key: str, path: str | Path) -> None:
    """The result on dev over the layers, a line for each upstream, as PNG."""
    picture = figure(6, 3.4)
    axes = picture.subplots()
    for colour, (label, choice) in zip(BARS * len(choices), choices.items(), strict=False):
        layers = sorted(map(int, choice["dev"]))
        values = [choice["dev"][str(layer)] for layer in layers]
        axes.plot(layers, values, "o-", color=colour, markerfacecolor="white", ms=5, lw=1.2, label=label)
        axes.plot(choice["layer"], choice["dev"][str(choice["layer"])], "o", color=colour, ms=6)
    axes.set_title(f"{METRICS[key].title}, {METRICS[key].unit} % on dev; filled: chosen", fontsize=10.5, color=INK)
    axes.set_xlabel("layer", fontsize=9, color=QUIET)
    axes.xaxis.get_major_locator().set_params(integer=True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, fontsize=8.5)
    save(picture, path)

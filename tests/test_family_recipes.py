"""examples/family: recipes of one size, so that their table is fair."""

import json
import runpy

import pytest

from fithubert_upstream import load_fithubert
from fithubert_upstream.distillation.config import DistillationConfig
from fithubert_upstream.models.fithubert import FitHubert
from fithubert_upstream.pruning.config import PruningConfig
from fithubert_upstream.settings.files import from_dict, read_yaml

from .conftest import REPO

RECIPES = sorted(path for path in (REPO / "examples" / "family").glob("*.yaml") if not path.stem.endswith("_train"))
PRUNED = [path for path in RECIPES if "sparsity:" in path.read_text()]
OTHERS = [path for path in RECIPES if path not in PRUNED]


def size(config) -> int:
    return sum(p.numel() for p in FitHubert(config.with_heads(())).parameters())


def stem(path) -> str:
    return path.stem


@pytest.mark.parametrize("path", OTHERS, ids=stem)
def test_sizes_are_within_three_percent_of_the_embedded_student(path):
    config = DistillationConfig.from_yaml(path)
    embedded = size(load_fithubert("fithubert_mini").config)
    assert abs(size(config.student) / embedded - 1) < 0.03
    assert (config.teacher.source, config.teacher.model) == ("fithubert", "hubert_mini")


@pytest.mark.parametrize("path", PRUNED, ids=stem)
def test_so_are_those_that_pruning_leaves(path):
    config = from_dict(PruningConfig, read_yaml(path), path.name)
    assert (config.teacher.source, config.teacher.model) == ("fithubert", "hubert_mini")
    teacher, embedded = (size(load_fithubert(name).config) for name in ("hubert_mini", "fithubert_mini"))
    assert abs((1 - config.sparsity) * teacher / embedded - 1) < 0.03


def test_every_recipe_is_in_the_script():
    script = (REPO / "examples" / "family" / "run.sh").read_text()
    named = script.partition("RECIPES:-")[2].partition("}")[0].split()
    assert sorted(named) == [path.stem for path in RECIPES]


def test_few_shot_keywords_have_a_column_of_their_own(tmp_path):
    report = runpy.run_path(str(REPO / "examples" / "family" / "report.py"))
    for folder, row in (("table-1", {"pr": 60.0, "ks": 50.0}), ("few-1", {"ks": 70.0}), ("few-2", {"ks": 72.0})):
        (tmp_path / folder).mkdir()
        rows = [{"name": "fbank", "parameters": 0, "pr": None, "sv": None} | row]
        (tmp_path / folder / "results.json").write_text(json.dumps({"rows": rows}))
    found, sizes = report["results"](tmp_path)
    assert found["fbank"] == {"pr": [60.0], "ks": [50.0], "few": [70.0, 72.0]} and sizes == {"fbank": 0}

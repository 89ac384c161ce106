"""examples/family: recipes of one size, so that their table is fair."""

import pytest

from fithubert_upstream import load_fithubert
from fithubert_upstream.distillation.config import DistillationConfig
from fithubert_upstream.models.fithubert import FitHubert

from .conftest import REPO

RECIPES = sorted((REPO / "examples" / "family").glob("*.yaml"))


def size(config) -> int:
    return sum(p.numel() for p in FitHubert(config.with_heads(())).parameters())


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_sizes_are_within_three_percent_of_the_embedded_student(path):
    config = DistillationConfig.from_yaml(path)
    embedded = size(load_fithubert("fithubert_mini").config)
    assert abs(size(config.student) / embedded - 1) < 0.03
    assert (config.teacher.source, config.teacher.model) == ("fithubert", "hubert_mini")


def test_every_recipe_is_in_the_script():
    script = (REPO / "examples" / "family" / "run.sh").read_text()
    named = script.partition("RECIPES:-")[2].partition("}")[0].split()
    assert sorted(named) == [path.stem for path in RECIPES]

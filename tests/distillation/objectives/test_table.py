import pytest
import torch

from fithubert_upstream.distillation.config import KINDS, DistillationConfig, LossConfig
from fithubert_upstream.distillation.objectives.table import OBJECTIVES, build_task
from fithubert_upstream.distillation.task import DistillationTask
from fithubert_upstream.errors import FitHubertError
from fithubert_upstream.models.fithubert import FitHubert
from fithubert_upstream.settings.files import MODEL_CONFIGS, read_yaml

from ...helpers.tiny import STUDENT, make_teacher

MODELS = {
    "maskhubert": "masked",
    "armhubert": "masked",
    "armhubert_s": "masked",
    "starhubert": "gram",
    "distilhubert": "mse",
    "dicehubert": "clusters",
    "skill": "l1_cosine",
}


def test_every_kind_has_an_objective():
    assert tuple(OBJECTIVES) == KINDS


def test_fithuberts_own_training_is_what_it_was(tmp_path):
    """The same draws of the same generator, in the same order, and nothing hangs on the student."""
    teacher = make_teacher(tmp_path / "t")
    config = DistillationConfig.from_dict({"student": STUDENT, "teacher": {"model": str(teacher)}})
    torch.manual_seed(7)
    task = build_task(config)
    after = torch.rand(4)
    torch.manual_seed(7)
    for parameters in zip(task.student.parameters(), FitHubert(config.student).parameters(), strict=True):
        assert torch.equal(*parameters)
    assert torch.equal(torch.rand(4), after)
    assert type(task) is DistillationTask and task.learner.beside() == {}
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in task.student.modules())


@pytest.mark.parametrize(("name", "kind"), MODELS.items())
def test_packaged_models(name, kind):
    config = DistillationConfig.from_yaml(MODEL_CONFIGS[0] / f"{name}.yaml")
    assert config.loss.kind == kind and config.teacher.model == "facebook/hubert-base-ls960"
    assert DistillationConfig.from_dict(config.to_dict()) == config
    heads = config.student.head_layers
    assert (heads == ()) == (kind in ("gram", "clusters"))
    assert config.layer_grad_scale == name.startswith("armhubert")


def test_the_published_values():
    load = lambda name: DistillationConfig.from_dict(read_yaml(MODEL_CONFIGS[0] / f"{name}.yaml"))  # noqa: E731
    mask = load("maskhubert").loss.mask
    assert (mask.probability, mask.length, mask.overlap) == (0.8, 10, False)
    distil = load("distilhubert")
    assert distil.init_from_teacher and distil.feature_grad_scale == 0.1 and distil.student.head_layers == (4, 8, 12)
    assert load("dicehubert").loss.mask.overlap and load("skill").teacher.layers == (1, 2, 3, 4)


@pytest.mark.parametrize(
    ("loss", "words"),
    [
        ({"kind": "grams"}, "loss.kind one of mse, l1_cosine, masked, gram, clusters"),
        ({"kind": "gram", "hint_weight": 0.5}, "expected no loss.hint_weight with kind gram, which does not read it"),
        ({"kind": "mse", "mask": {"length": 5}}, "expected no loss.mask with kind mse"),
        ({"kind": "masked", "clusters": {"layer": 2}}, "expected no loss.clusters with kind masked"),
        ({"kind": "clusters", "clusters": {"number": 1}}, "clusters.number of 2 to 2048"),
        ({"kind": "clusters", "clusters": {"number": 4096}}, "clusters.number of 2 to 2048"),
        ({"kind": "clusters", "clusters": {"layer": 0}}, "clusters.layer of at least 1"),
        ({"kind": "clusters", "clusters": {"unmasked_weight": -1}}, "clusters.unmasked_weight of at least 0"),
    ],
)
def test_losses_that_cannot_be(loss, words):
    with pytest.raises(FitHubertError, match=words):
        DistillationConfig.from_dict({"loss": loss})


def test_what_an_older_run_recorded_is_read():
    assert DistillationConfig.from_dict({"loss": {"kind": "mse", "hint_weight": 0.1}}).loss == LossConfig()

import pytest

from fithubert_upstream.distillation.recipe import read_run_config
from fithubert_upstream.errors import FitHubertError
from fithubert_upstream.pruning.config import PruningRun


@pytest.fixture(autouse=True)
def corpus(monkeypatch):
    monkeypatch.setenv("LIBRISPEECH", "/data/LibriSpeech")


def read(*words, model="dphubert.yaml", recipe="dphubert_960h.yaml"):
    return read_run_config(model, recipe, words, PruningRun)


def test_the_published_settings():
    """facts 1.2 and 1.3, and run.sh of the authors."""
    run = read()
    assert (run.model.layers, run.model.sparsity, run.model.gate_lr) == ((0, 4, 8, 12), 0.75, 0.02)
    first, second = run.steps()
    assert first.model == second.model == run.model and first.train.data == second.train.data == run.train.data
    for step, rate, warmup, steps in ((first, 2e-4, 15_000, 50_000), (second, 1e-4, 5_000, 25_000)):
        optimizer, trainer = step.train.optimizer, step.train.trainer
        assert (optimizer.lr, optimizer.weight_decay, trainer.clip) == (rate, 0, 10)
        assert optimizer.warmup_proportion * trainer.steps == pytest.approx(warmup) and trainer.steps == steps
        assert trainer.accumulate * step.train.data.batch_seconds == 4 * 160
    assert run.model.sparsity_warmup * first.train.trainer.steps == pytest.approx(5_000)


def test_the_mini_configs_and_words():
    run = read(
        "prune.trainer.steps=20", "model.sparsity=0.5", model="dphubert_mini.yaml", recipe="dphubert_mini_train.yaml"
    )
    assert run.train.prune.trainer.steps == 20 and run.train.distill.trainer.steps > 20 and run.model.sparsity == 0.5


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("model.sparsity=1.0", "expected a sparsity between 0 and 1, found 1.0"),
        ("model.sparsity=0", "expected a sparsity between 0 and 1, found 0.0"),
        ("model.layers=[4, 2]", "expected layers rising from 0 on"),
        ("model.layers=[0]", "expected layers rising from 0 on"),
        ("model.layers=[]", "expected layers rising from 0 on"),
        ("model.gate_lr=0", "expected gate_lr above 0, found 0.0"),
        ("model.sparsity_warmup=1", "expected sparsity_warmup in"),
        ("model.teacher.layers=[1, 2]", "expected layers outside the teacher's block"),
        ("model.teacher.groups=[[1, 2], [3]]", "no teacher.groups, found"),
        ("model.student.num_layers=3", "unknown key 'model.student.num_layers'"),
        ("trainer.steps=3", "did you mean 'prune.trainer.steps'"),
        ("prune.trainer.patience=2", "expected prune.trainer.patience 0"),
        ("data.targets=folder", "expected no data.targets"),
    ],
)
def test_what_does_not_fit_is_refused(word, message):
    with pytest.raises(FitHubertError, match=message.replace("[", r"\[").replace("(", r"\(")):
        read(word)


RECONSTRUCTION = {"model": "fithubert_plus_mini.yaml", "recipe": "fithubert_plus_mini_train.yaml"}


def test_reconstruction_trains_once():
    first, second = read("distill.trainer.steps=7", **RECONSTRUCTION).steps()
    assert first is None and second.train.trainer.steps == 7 and second.model.criterion == "reconstruction"


@pytest.mark.parametrize(
    ("words", "files", "message"),
    [
        (["model.criterion=size"], {}, "expected criterion gates or reconstruction, found size"),
        (["model.time_weight=1"], {}, "expected time_weight with criterion reconstruction only, found gates"),
        (["model.gate_lr=0.1"], RECONSTRUCTION, "expected gate_lr with criterion gates only, found reconstruction"),
        (["model.calibration_seconds=0"], RECONSTRUCTION, "expected calibration_seconds above 0"),
        (["model.time_weight=-1"], RECONSTRUCTION, "expected time_weight of at least 0"),
        (["prune.trainer.steps=3"], RECONSTRUCTION, "expected no prune block in the recipe with criterion reconstr"),
        ([], RECONSTRUCTION | {"model": "dphubert.yaml"}, "expected a prune block in the recipe with criterion gates"),
    ],
)
def test_what_another_criterion_needs_is_refused(words, files, message):
    with pytest.raises(FitHubertError, match=message):
        read(*words, **files)

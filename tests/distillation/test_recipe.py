import math

import pytest
import yaml

from fithubert_upstream.distillation.recipe import RunConfig, check_same_run, read_run_config
from fithubert_upstream.errors import FitHubertError
from fithubert_upstream.settings.files import MODEL_CONFIGS, to_dict

PUBLISHED = ("fithubert_100h.yaml", "fithubert_960h.yaml", "fitw2v2_960h.yaml")
FAMILY = ("maskhubert_960h.yaml", "armhubert_960h.yaml", "armhubert_s_100h.yaml", "starhubert_100h.yaml")
RECIPES = (*PUBLISHED, *FAMILY, "fithubert_modern.yaml", "fithubert_mini_train.yaml", "kerpicci_960h.yaml")


@pytest.fixture(autouse=True)
def corpus(monkeypatch):
    monkeypatch.setenv("LIBRISPEECH", "/speech")


@pytest.mark.parametrize("name", RECIPES)
def test_packaged_recipes_are_complete(name):
    train = read_run_config("fithubert.yaml", name).train
    assert all(source.startswith("/speech/") for source in (*train.data.train, *train.data.valid))
    assert train.data.train and train.data.valid


def test_distilhuberts_recipe_for_kerpiccis_student():
    run = read_run_config("kerpicci.yaml", "kerpicci_960h.yaml")
    assert run.model.init_from_teacher and run.model.student.head_layers == (4, 8, 12)
    assert run.train.data.batch_size * run.train.trainer.accumulate == 24 and run.train.trainer.steps == 200_000
    assert (run.train.optimizer.lr, run.train.optimizer.warmup_proportion) == (2e-4, 0.07)
    assert (run.train.trainer.clip, run.train.trainer.precision) == (5.0, "16-mixed")


@pytest.mark.parametrize(
    ("name", "utterances", "rate", "epochs"),
    list(zip(FAMILY, (144, 144, 36, 24), (5e-4, 5e-3, 5e-3, 1e-3), (200,) * 4, strict=True)),
)
def test_recipes_of_the_family_hold_the_published_values(name, utterances, rate, epochs):
    run = read_run_config(f"{name.rpartition('_')[0]}.yaml", name)
    data, trainer = run.train.data, run.train.trainer
    assert (data.batch_size * trainer.accumulate, data.crop, trainer.epochs) == (utterances, "none", epochs)
    assert (run.train.optimizer.lr, run.train.optimizer.warmup_proportion) == (rate, 0.05)


def test_clusters_want_a_folder(monkeypatch):
    monkeypatch.setenv("TARGETS", "/kept")
    run = read_run_config("dicehubert.yaml", "dicehubert_100h.yaml")
    assert run.train.data.targets == "/kept" and run.model.loss.clusters.number == 500
    monkeypatch.delenv("TARGETS")
    given = read_run_config("dicehubert.yaml", "dicehubert_100h.yaml", ["data.targets=/mine"])
    assert given.train.data.targets == "/mine"


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_recipes_hold_the_published_values(name):
    train = read_run_config("fithubert.yaml", name).train
    optimizer, trainer, data = train.optimizer, train.trainer, train.data
    assert (optimizer.lr, optimizer.betas, optimizer.eps) == (5e-4, (0.9, 0.98), 1e-6)
    assert (optimizer.weight_decay, optimizer.warmup_proportion) == (0.01, 0.05)
    assert data.batch_size * trainer.accumulate == 24 and data.crop == "none"
    assert (trainer.steps, trainer.epochs, trainer.patience, trainer.valid_every) == (0, 100, 15, 0)
    assert trainer.precision == "16-mixed" and trainer.clip == math.inf
    sets = [source.removeprefix("/speech/") for source in data.train]
    assert sets == ["train-clean-100", "train-clean-360", "train-other-500"][: 1 if "100h" in name else 3]
    assert data.valid == ("/speech/dev-clean",)


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_recipes_name_a_source_for_every_value(name):
    """A key without [P], [C] or [U] on its line, or in the comment above it, says that it is ours."""
    above = ""
    for line in (MODEL_CONFIGS[0] / name).read_text().splitlines():
        if line.lstrip().startswith("#"):
            above += line
            continue
        if line.startswith("  ") and ":" in line.split("#")[0] and "LIBRISPEECH" not in line:
            assert any(mark in above + line for mark in ("[P", "[C", "[U", "# ours")) or line.strip() in (
                "train:",
                "max_seconds: .inf",  # with min_seconds
            ), line
        above = ""


def test_overrides_reach_recipe_and_model():
    words = ["trainer.steps=20", "data.batch_size=2", "model.student.dropout=0", "optimizer.lr=1e-3"]
    words += ["data.train=[/a, /b]", "model.teacher.model=/teacher", "trainer.clip=.inf"]
    config = read_run_config("fithubert.yaml", "fithubert_100h.yaml", words)
    assert config.train.trainer.steps == 20 and config.train.data.batch_size == 2
    assert config.train.data.train == ("/a", "/b") and config.train.optimizer.lr == 1e-3
    assert config.model.student.dropout == 0.0 and config.model.teacher.model == "/teacher"
    plain = read_run_config("fithubert.yaml", "fithubert_100h.yaml")
    assert plain.train.trainer.accumulate == config.train.trainer.accumulate == 8


def test_a_variable_that_an_override_replaces_need_not_be_set(monkeypatch):
    monkeypatch.delenv("LIBRISPEECH")
    config = read_run_config("fithubert.yaml", "fithubert_100h.yaml", ["data.train=/a", "data.valid=/b"])
    assert config.train.data.train == ("/a",)
    with pytest.raises(FitHubertError, match="data.train: expected the environment variable LIBRISPEECH"):
        read_run_config("fithubert.yaml", "fithubert_100h.yaml", ["data.valid=/b"])


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("trainer.step=20", "unknown key 'trainer.step'; did you mean 'trainer.steps'?"),
        ("model.student.dropouts=0", "did you mean 'model.student.dropout'?"),
        ("xyzzy=1", "known keys: data.train"),
        ("trainer=20", "unknown key 'trainer'"),
        ("trainer.steps", "expected key=value"),
        ("trainer.steps=[", "expected a number, word or list as value, found ["),
        ("trainer.steps=many", "steps: expected int, found 'many'"),
        ("trainer.epochs=0", "expected steps or epochs of at least 1"),
        ("trainer.precision=8-bit", "expected precision auto, 32-true"),
        ("trainer.clip=0", "expected clip above 0"),
        ("trainer.accumulate=0", "expected accumulate of at least 1"),
        ("optimizer.betas=3", "betas: expected a list of numbers, found 3"),
        ("model.student.dropout=2", "dropout in [0, 1)"),
    ],
)
def test_mistakes_are_one_line(word, message):
    with pytest.raises(FitHubertError) as caught:
        read_run_config("fithubert.yaml", "fithubert_100h.yaml", [word])
    assert message in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("recipe", "message"),
    [
        ({"trainer": {"steps": 1}}, "expected data, found none"),
        ({"data": {"batch_size": 3}}, "expected data.train, found none"),
        ({"data": {"train": ["/a"], "batch_size": 3}, "trainers": {}}, "unknown key 'trainers'"),
        ({"data": {"train": ["/a"]}}, "batch_size or batch_seconds"),
    ],
)
def test_recipes_with_something_missing(tmp_path, recipe, message):
    path = tmp_path / "train.yaml"
    path.write_text(yaml.safe_dump(recipe))
    with pytest.raises(FitHubertError) as caught:
        read_run_config("fithubert.yaml", str(path))
    assert message in str(caught.value) and str(path) in str(caught.value)


def make_config(*words: str) -> RunConfig:
    return read_run_config("fithubert.yaml", "fithubert_100h.yaml", words)


def test_a_folder_belongs_to_one_config(tmp_path):
    config = make_config()
    check_same_run(tmp_path, config)
    (tmp_path / "config.yaml").write_text(config.to_yaml())
    assert yaml.safe_load(config.to_yaml()) == to_dict(config)
    check_same_run(tmp_path, make_config("optimizer.lr=1"))  # nothing was saved yet: nothing is lost
    (tmp_path / "last.ckpt").touch()
    check_same_run(tmp_path, make_config())
    check_same_run(tmp_path, make_config("trainer.steps=30", "data.num_workers=0", "trainer.accumulate=4"))
    for word, key in (("optimizer.lr=1", "optimizer.lr"), ("model.student.dropout=0", "model.student.dropout")):
        with pytest.raises(FitHubertError, match=f"another config: {key} is .* there and .* here"):
            check_same_run(tmp_path, make_config(word))

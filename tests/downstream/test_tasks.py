import pytest
import yaml

from fithubert_upstream.downstream.tasks import TASKS, task_of
from fithubert_upstream.errors import FitHubertError
from fithubert_upstream.settings.files import DOWNSTREAM_CONFIGS, find_config


@pytest.mark.parametrize("key", list(TASKS))
@pytest.mark.parametrize("size", ["", "mini/"])
def test_names_are_those_of_the_configs(key, size):
    """A task's split is in its config, and the best checkpoint is of a split that training evaluates."""
    task = TASKS[key]
    config = yaml.safe_load(find_config(f"{size}{key}.yaml", DOWNSTREAM_CONFIGS).read_text())
    expert = config["downstream_expert"]
    if key in ("pr", "asr"):
        assert isinstance((expert["corpus"] if key == "pr" else expert["datarc"])[task.split], list)
    if task.trains and (key, size) != (
        "sv",
        "",
    ):  # SUPERB has no dev trials: it takes the best of the saved checkpoints
        assert task.best.removesuffix("-best.ckpt") in config["runner"]["eval_dataloaders"]


@pytest.mark.parametrize(
    ("key", "tag", "value", "percent"),
    [
        ("pr", "ctc-libriphone/test-per", 0.1332, 13.32),
        ("asr", "asr/test-clean-wer", 12.09, 12.09),
        ("ks", "speech_commands/test-acc", 0.9627, 96.27),
        ("sv", "sv-voxceleb1/test-EER", 0.08, 8.0),
        ("ic", "fluent_commands/test-acc", 0.9834, 98.34),
        ("sid", "voxceleb1/test-acc", 0.8142, 81.42),
        ("er", "emotion-fold5/test-acc", 0.6492, 64.92),
        ("qbe", "quesst14_dtw/test-mtwv", 0.0489, 4.89),
    ],
)
def test_result_is_in_percent(key, tag, value, percent):
    task = TASKS[key].fold(5)
    assert task.key == key
    assert task.result({tag: value, "other/test-loss": 3}) == pytest.approx(percent)
    assert task.result({tag.replace("test", "dev"): value}, task.split.replace("test", "dev")) == pytest.approx(percent)
    assert task.higher_is_better == (key in ("ks", "ic", "sid", "er", "qbe"))
    with pytest.raises(KeyError):
        task.result({tag: value}, "train")


def test_tasks_by_s3prls_names():
    names = ("ctc", "asr", "speech_commands", "sv_voxceleb1", "fluent_commands", "voxceleb1", "emotion", "quesst14_dtw")
    assert [task_of(name).key for name in names] == list(TASKS)
    assert [task.key for task in TASKS.values() if not task.trains] == ["qbe"]
    with pytest.raises(FitHubertError, match="^-d mosei: expected one of ctc, asr, speech_commands, sv_voxceleb1"):
        task_of("mosei")

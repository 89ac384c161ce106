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
    if (key, size) != ("sv", ""):  # SUPERB has no dev trials: it takes the best of the saved checkpoints
        assert task.best.removesuffix("-best.ckpt") in config["runner"]["eval_dataloaders"]


@pytest.mark.parametrize(
    ("key", "tag", "value", "percent"),
    [
        ("pr", "ctc-libriphone/test-per", 0.1332, 13.32),
        ("asr", "asr/test-clean-wer", 12.09, 12.09),
        ("ks", "speech_commands/test-acc", 0.9627, 96.27),
        ("sv", "sv-voxceleb1/test-EER", 0.08, 8.0),
    ],
)
def test_result_is_in_percent(key, tag, value, percent):
    task = TASKS[key]
    assert task.key == key
    assert task.result({tag: value, "other/test-loss": 3}) == pytest.approx(percent)
    assert task.result({tag.replace("test", "dev"): value}, task.split.replace("test", "dev")) == pytest.approx(percent)
    assert task.higher_is_better == (key == "ks")
    with pytest.raises(KeyError):
        task.result({tag: value}, "train")


def test_tasks_by_s3prls_names():
    assert [task_of(name).key for name in ("ctc", "asr", "speech_commands", "sv_voxceleb1")] == list(TASKS)
    with pytest.raises(FitHubertError, match="^-d emotion: expected one of ctc, asr, speech_commands, sv_voxceleb1"):
        task_of("emotion")

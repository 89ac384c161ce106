import pytest
import yaml

from fithubert_upstream.downstream.tasks import TASKS, Task, corpus_name, downstream_names, task_of
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
    # SUPERB has no dev trials: it takes the best of the saved checkpoints
    if task.trains and (key, size) != ("sv", ""):
        (split,) = {task.best.removesuffix("-best.ckpt"), task.best[len("best-states-") : -len(".ckpt")]} & {task.dev}
        assert split in config["runner"]["eval_dataloaders"]


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
        ("sf", "ctc-snips/test-slot_type_f1", 0.8853, 88.53),
        ("sd", "diarization/test-rttm-der", 0.0684, 6.84),
        ("qbe", "quesst14_dtw/test-mtwv", 0.0489, 4.89),
    ],
)
def test_result_is_in_percent(key, tag, value, percent):
    task = TASKS[key].fold(5)
    assert task.key == key
    assert task.result({tag: value, "other/test-loss": 3}) == pytest.approx(percent)
    dev = tag.replace("test", "dev") if key != "sd" else "diarization/dev-der"  # s3prl scores no turns of dev
    assert task.result({dev: value}, task.split.replace("test", "dev")) == pytest.approx(percent)
    assert task.higher_is_better == (key in ("ks", "ic", "sid", "er", "sf", "qbe"))
    with pytest.raises(KeyError):
        task.result({tag: value}, "train")


def test_tasks_by_s3prls_names():
    names = ("asr", "speech_commands", "sv_voxceleb1", "fluent_commands", "voxceleb1", "emotion", "diarization")
    names += ("quesst14_dtw",)
    assert [task_of(name).key for name in names] == [key for key in TASKS if key not in ("pr", "sf")]
    assert [task_of("ctc", of_corpus(name)).key for name in ("libriphone", "SNIPS")] == ["pr", "sf"]
    for name in ("librispeech", ""):
        with pytest.raises(FitHubertError, match="^-d ctc: expected .*corpus.name to be one of libriphone, snips"):
            task_of("ctc", of_corpus(name))
    with pytest.raises(FitHubertError, match="found none$"):
        task_of("ctc")
    assert downstream_names().count("ctc") == 1
    assert [task.key for task in TASKS.values() if not task.trains] == ["qbe"]
    with pytest.raises(FitHubertError, match="^-d mosei: expected one of ctc, asr, speech_commands, sv_voxceleb1"):
        task_of("mosei")


def of_corpus(name):
    return {"downstream_expert": {"corpus": {"name": name}}}


def test_names_of_a_corpus():
    assert corpus_name(of_corpus("Snips")) == "snips"
    for config in (None, {}, {"downstream_expert": None}, {"downstream_expert": {"corpus": "x"}}):
        assert corpus_name(config) == ""


def test_further_numbers():
    logged = {"ctc-snips/test-slot_type_f1": 0.5, "ctc-snips/test-slot_value_cer": 0.252, "ctc-snips/dev-cer": 1}
    assert TASKS["sf"].further(logged) == pytest.approx({"sf_cer": 25.2})
    assert TASKS["sf"].further(logged, "dev") == TASKS["pr"].further(logged) == {}
    assert len({*TASKS.values()}) == len(TASKS)  # they can be hashed
    assert Task("x", "X", "x", "X", "x", "x").more == {}

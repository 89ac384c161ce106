import copy

import pytest
import yaml

from fithubert_upstream.corpora.layouts.speech_commands import TEST_CLASSES
from fithubert_upstream.downstream.joint_ks_sv.config import JointConfig
from fithubert_upstream.errors import FitHubertError
from fithubert_upstream.settings.files import DOWNSTREAM_CONFIGS, expand_variables, find_config

from ...helpers.small_corpora import joint_block


def test_the_packaged_configs(monkeypatch):
    for name in ("SPEECH_COMMANDS", "VOXCELEB1", "DSPSPEECH"):
        monkeypatch.setenv(name, f"/data/{name}")
    for name in ("joint_ks_sv.yaml", "mini/joint_ks_sv.yaml"):
        content = yaml.safe_load(find_config(name, DOWNSTREAM_CONFIGS).read_text())
        config = JointConfig.from_dict(expand_variables(content["downstream_expert"]))
        assert config.tasks == ("ks", "sv")
        assert content["optimizer"]["torch_optim_name"] == "Adam"
    speakers = config.ks.speakers
    assert [len(split) for split in (speakers.train, speakers.dev, speakers.test)] == [20, 4, 10]
    assert config.sv.speakers == speakers
    content = yaml.safe_load(find_config("joint_ks_sv.yaml", DOWNSTREAM_CONFIGS).read_text())
    assert set(content["downstream_expert"]["ks"]["classes"]) == set(TEST_CLASSES)  # "yes" and no YAML boolean


@pytest.mark.parametrize(
    ("place", "value", "words"),
    [
        ("tasks", ["ks", "asr"], ["expected tasks [ks, sv], [ks] or [sv]", "asr"]),
        ("tasks", [], ["expected tasks", "[]"]),
        ("ks.classes", ["cat"], ["two different classes or more", "cat"]),
        ("ks.classes", [True, "cat"], ["classes", '"yes"', "True"]),
        ("ks.corpus", "cats", ["expected corpus speech_commands or words", "cats"]),
        ("ks.root", "", ["expected root"]),
        ("ks.speakers", None, ["expected speakers", "train, dev and test"]),
        ("ks.speakers.dev", ["s1"], ["each speaker in one split", "s1"]),
        ("ks.speakers.test", [], ["list of speakers as test"]),
        ("sv.bach_size", 3, ["unknown key 'bach_size'", "batch_size"]),
        ("sv.batch_size", 0, ["batch_size of at least 1"]),
        ("sv.crop_seconds", -1, ["crop_seconds of at least 0"]),
        ("sv.loss", {"name": "softmax"}, ["angular_softmax or am_softmax", "softmax"]),
        ("sv.loss", {"margin": 2.5}, ["whole number from 1 on", "2.5"]),
    ],
)
def test_mistakes_are_one_line_that_names_the_key(tmp_path, place, value, words):
    block = copy.deepcopy(joint_block(tmp_path))
    *sections, last = place.split(".")
    owner = block
    for section in sections:
        owner = owner[section]
    owner[last] = value
    with pytest.raises(FitHubertError) as caught:
        JointConfig.from_dict(block, "config.downstream_expert")
    message = str(caught.value)
    assert message.startswith("config.downstream_expert") and "\n" not in message
    assert all(word in message for word in words), message

import json

import pytest

from fithubert_upstream.corpora.synthetic.run import main, synthesise_all
from fithubert_upstream.errors import FitHubertError

from ...helpers.folders import times


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return synthesise_all(tmp_path_factory.mktemp("synth") / "data", 0.2, jobs=1, progress=False)


@pytest.mark.slow
def test_six_layouts_and_their_minutes(data):
    found = {path.name: json.loads((path / "corpus.json").read_text()) for path in data.iterdir()}
    assert {name: corpus["minutes"] for name, corpus in found.items()} == {
        "LibriSpeech": {"train": 0.2, "dev": 1, "test": 1.5},
        "speech_commands": {"train": 0.2, "test": 1.5},
        "VoxCeleb1": {"dev": 0.2, "test": 1.5},
        "fluent_commands": {"train": 0.2, "valid": 1, "test": 1.5},
        "IEMOCAP": {"all": 0.2},
        "SNIPS": {"train": 0.2, "valid": 1, "test": 1.5},
        "LibriMix": {"train": 0.2, "dev": 1, "test": 1.5},
        "quesst14": {"documents": 1.5},
    }
    for name in (
        "LibriSpeech/train",
        "speech_commands/train/yes",
        "VoxCeleb1/dev/wav",
        "IEMOCAP/Session1",
        "LibriMix/dev/wav",
    ):
        assert any((data / name).iterdir())


@pytest.mark.slow
def test_the_command_keeps_what_is_there(data, capsys):
    before = times(data)
    assert main([str(data), "--minutes", "0.2", "--jobs", "1"]) == data
    assert before == times(data)
    assert str(data) in capsys.readouterr().out


@pytest.mark.parametrize("flags", [{"minutes": 0}, {"minutes": float("nan")}, {"seed": -1}, {"jobs": 0}])
def test_senseless_flags_write_nothing(tmp_path, flags):
    with pytest.raises(FitHubertError):
        synthesise_all(tmp_path / "data", **({"minutes": 1, "progress": False} | flags))
    assert list(tmp_path.iterdir()) == []


def test_a_mistake_is_told_before_anything_is_written(tmp_path):
    (tmp_path / "VoxCeleb1").mkdir()
    (tmp_path / "VoxCeleb1" / "mine.txt").write_text("mine")
    with pytest.raises(FitHubertError, match="VoxCeleb1 holds something other"):
        synthesise_all(tmp_path, 1, progress=False)
    assert [path.name for path in tmp_path.iterdir()] == ["VoxCeleb1"]


def test_a_voice_that_is_tested_is_trained_on_in_no_layout():
    from fithubert_upstream.corpora.synthetic.fluent_commands import plan_fluent_commands
    from fithubert_upstream.corpora.synthetic.librimix import plan_librimix
    from fithubert_upstream.corpora.synthetic.librispeech import plan_librispeech
    from fithubert_upstream.corpora.synthetic.snips import plan_snips
    from fithubert_upstream.corpora.synthetic.speech_commands import plan_speech_commands
    from fithubert_upstream.corpora.synthetic.voxceleb1 import plan_voxceleb1

    for minutes in (1, 5, 20, 100):
        dev, test = max(1, minutes / 10), max(1.5, minutes / 5)
        libri = plan_librispeech({"train": minutes, "dev": dev, "test": test}).speakers
        words = plan_speech_commands({"train": minutes, "test": test}).speakers
        people = plan_voxceleb1({"dev": minutes, "test": test}).speakers
        commands = plan_fluent_commands({"train": minutes, "valid": dev, "test": test}).speakers
        requests = plan_snips({"train": minutes, "valid": dev, "test": test}).speakers
        pairs = plan_librimix({"train": minutes, "dev": dev, "test": test}).speakers
        tested = {*words["test"], *people["test"], *commands["test"], *requests["test"], *pairs["test"]}
        assert not tested & set(libri["train"]), minutes
        assert not {*commands["test"], *pairs["test"]} & {*words["train"], *people["dev"], *pairs["train"]}, minutes

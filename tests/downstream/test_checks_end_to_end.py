"""Each damaged corpus and each config that does not fit is told in one line, and nothing is trained."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import soundfile

from fithubert_upstream.downstream.run import main
from fithubert_upstream.downstream.tasks import TASKS

from ..helpers.four_tasks import ALL, DATA, STEPS, VARIABLES, instead, refused, told, train


def spoil(path: Path) -> Path:
    path.write_bytes(path.read_bytes()[:300])
    return path


FIRST_AUDIO = {
    "pr": "train/1/7/1-7-0003.flac",
    "asr": "train/1/7/1-7-0003.flac",
    "ks": "train/go/*.wav",
    "sv": "dev/wav/id10002/s1/00001.wav",
}


@pytest.mark.parametrize("key", ALL)
def test_a_corrupt_audio_file_is_named(damaged, key, capsys):
    broken = spoil(next(damaged(key).glob(FIRST_AUDIO[key])))
    line = refused(capsys, *train(key, "exp"))
    assert str(broken) in line and "copy or unpack it again" in line


@pytest.mark.parametrize("key", ["ks", "sv"])
def test_a_corrupt_test_file_is_named_before_training(damaged, key, capsys):
    broken = spoil(next(damaged(key).glob({"ks": "test/yes/*.wav", "sv": "test/wav/*/s1/*.wav"}[key])))
    assert str(broken) in refused(capsys, *train(key, "exp"))


@pytest.mark.parametrize("key", ["pr", "asr"])
def test_a_transcript_without_audio_is_named(damaged, key, capsys):
    folder = damaged(key)
    (folder / "train/1/7/1-7-0002.flac").unlink()
    line = refused(capsys, *train(key, "exp"))
    assert "1-7-0002" in line and str(folder) in line


def test_a_class_without_clips_is_named(damaged, capsys):
    folder = damaged("ks")
    for clip in (folder / "train" / "left").iterdir():
        clip.unlink()
    assert f"{folder}/train/left: expected .flac/.wav/.ogg/.opus/.mp3 files" in refused(capsys, *train("ks", "exp"))


def test_a_trial_of_a_missing_file_is_named(damaged, capsys):
    folder = damaged("sv")
    trials = folder / "test_trials.txt"
    trials.write_text(trials.read_text() + "0 id10101/s0/00001.wav id10999/s0/00001.wav\n")
    line = refused(capsys, *train("sv", "exp"))
    assert f"{trials}, line 10" in line and "id10999/s0/00001.wav" in line


@pytest.mark.parametrize("missing", ["len_for_bucket", "len_for_bucket/train.csv", "len_for_bucket/char.dict"])
def test_a_corpus_that_is_not_prepared_says_how(damaged, missing, capsys):
    folder = damaged("asr")
    path = folder / missing
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    line = refused(capsys, *train("asr", "exp"))
    assert f"run `fithubert prepare librispeech {folder}`" in line and str(path) in line


@pytest.mark.parametrize("key", ALL)
def test_an_unset_variable_is_named(ready, key, monkeypatch, capsys):
    variable = VARIABLES[key]
    monkeypatch.delenv(variable)
    line = refused(capsys, *train(key, "exp"))
    assert f"environment variable {variable}" in line and f"export {variable}=" in line


def test_fewer_clips_than_a_batch_are_told(ready, capsys):
    """s3prl leaves out an incomplete batch, and looks for another for ever."""
    line = refused(capsys, *train("ks", "exp", f"{DATA}.batch_size=32"))
    assert "expected clips for a batch of 32, found 12" in line and f"{DATA}.batch_size=12" in line
    assert main(train("ks", "exp", f"{DATA}.batch_size=12"))


def test_too_short_utterances_of_speaker_verification_are_told(damaged, capsys):
    assert "expected utterances of over 10 s" in refused(
        capsys, *train("sv", "exp", f"{DATA}.vad_config.min_sec=160000")
    )
    folder = damaged("sv")
    silent = folder / "test" / "wav" / "id10101" / "s0" / "00001.wav"
    soundfile.write(silent, np.zeros(40000), 16000)
    main(train("sv", "exp"))  # reads the dev trials only
    capsys.readouterr()
    line = told(capsys, "-m", "evaluate", "-e", "exp")
    assert f"{silent}: expected 0.325 s or more after silence trimming, found 0.000 s" in line


@pytest.mark.parametrize(
    ("key", "split", "words"),
    [
        ("ks", "test-clean", "available: train, dev, test"),
        ("sv", "test-clean", "available: train, dev, test"),
        ("asr", "test", "available: train, dev-clean, test-clean"),
        ("pr", "test-clean", "available: train, dev, test"),
    ],
)
def test_a_split_that_the_task_lacks_is_told(ready, key, split, words, capsys):
    line = refused(capsys, *train(key, "exp", f"config.runner.eval_dataloaders=['{split}']"))
    assert f"split {split}: not in the config" in line and words in line


def test_speaker_verification_without_trials_is_told(ready, capsys):
    line = refused(capsys, *train("sv", "exp", f"{DATA}.dev_meta_data=/dev/null"))
    assert "split dev: expected a list of trials, found /dev/null" in line


@pytest.mark.parametrize(
    ("key", "config", "words"),
    [
        ("sv", "ks", "datarc.file_path in its config, found no file_path beside speech_commands_root"),
        ("ks", "sv", "datarc.speech_commands_root in its config"),
        ("asr", "ks", "datarc.libri_root in its config"),
        ("pr", "asr", "downstream_expert.corpus.name in its config, found no corpus beside datarc, modelrc"),
        ("asr", "pr", "downstream_expert.datarc.libri_root in its config, found no datarc"),
    ],
)
def test_a_config_of_another_task_is_told(ready, key, config, words, capsys):
    flags = instead(train(key, "exp"), "-c", f"mini/{config}.yaml")
    line = refused(capsys, *instead(flags, "-o", STEPS))
    assert f"-d {TASKS[key].downstream}: expected" in line and words in line

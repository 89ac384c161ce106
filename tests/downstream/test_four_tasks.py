"""PR, ASR, KS and SV through s3prl's runner on tiny corpora, end to end; each damaged corpus is told in one line."""

import importlib
import math
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
import yaml

from fithubert_upstream import cli
from fithubert_upstream.checkpoints.student import save_fithubert
from fithubert_upstream.compat import s3prl as s3prl_compat
from fithubert_upstream.downstream import checks
from fithubert_upstream.downstream.repairs import datasets as s3prl_datasets
from fithubert_upstream.downstream.run import main
from fithubert_upstream.downstream.tasks import TASKS
from fithubert_upstream.models.fithubert import FitHubert
from fithubert_upstream.settings.files import DOWNSTREAM_CONFIGS, expand_variables, find_config

from ..helpers import small_corpora
from ..helpers.tiny import SMALL

DATA, CORPUS = "config.downstream_expert.datarc", "config.downstream_expert.corpus"
STEPS = "config.runner.total_steps=2,,config.runner.eval_step=2,,config.runner.save_step=2,,config.runner.log_step=1"


VARIABLES = {"pr": "LIBRISPEECH", "asr": "LIBRISPEECH", "ks": "SPEECH_COMMANDS", "sv": "VOXCELEB1"}
SIZES = {
    "pr": f"{CORPUS}.num_workers=0",
    "asr": f"{DATA}.num_workers=0,,{DATA}.batch_size=4,,config.downstream_expert.modelrc.RNNs.dim=[16]",
    "ks": f"{DATA}.num_workers=0,,{DATA}.batch_size=4",
    "sv": f"{DATA}.num_workers=0,,{DATA}.train_batch_size=3",
}
ALL = list(SIZES)


def train(key: str, expdir: str, *overrides: str, upstream: tuple[str, ...] = ("fbank",)) -> list[str]:
    """Flags to train a task for two steps."""
    task = ["-m", "train", "-d", TASKS[key].downstream, "-c", f"mini/{key}.yaml", "-u", *upstream]
    return [*task, "-p", expdir, "-o", ",,".join([STEPS, SIZES[key], *overrides])]


def instead(flags: list[str], flag: str, value: str) -> list[str]:
    """The flags with another value for one of them."""
    at = flags.index(flag) + 1
    return [*flags[:at], value, *flags[at + 1 :]]


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """The corpora, by environment variable, and a tiny student."""
    root = tmp_path_factory.mktemp("data")
    save_fithubert(FitHubert(SMALL), root / "student.safetensors")
    return {
        "LIBRISPEECH": small_corpora.librispeech(root / "LibriSpeech"),
        "SPEECH_COMMANDS": small_corpora.speech_commands(root / "speech_commands"),
        "VOXCELEB1": small_corpora.voxceleb1(root / "VoxCeleb1"),
        "student": root / "student.safetensors",
    }


@pytest.fixture
def ready(data, tmp_path, monkeypatch):
    """A folder to work in, and the variables that the configs name."""
    monkeypatch.chdir(tmp_path)
    for name in ("LIBRISPEECH", "SPEECH_COMMANDS", "VOXCELEB1"):
        monkeypatch.setenv(name, str(data[name]))
    return data


@pytest.fixture
def damaged(ready, tmp_path, monkeypatch):
    """Puts a copy of a task's corpus in its place."""

    def copy(key: str) -> Path:
        variable = VARIABLES[key]
        folder = shutil.copytree(ready[variable], tmp_path / "damaged")
        monkeypatch.setenv(variable, str(folder))
        return folder

    return copy


def states(path: str) -> dict:
    return torch.load(path, weights_only=True)


def same_weights(one: dict, other: dict, *names: str) -> bool:
    assert all(one[name].keys() == other[name].keys() for name in names)
    return all(torch.equal(value, other[name][key]) for name in names for key, value in one[name].items())


# runs


@pytest.mark.slow
@pytest.mark.parametrize("key", ALL)
def test_train_resume_and_evaluate(ready, key):
    task = TASKS[key]
    flags = train(key, "exp")
    logged = main(flags)
    assert states("exp/states-2.ckpt")["Step"] == 2
    assert any(math.isfinite(value) for tag, value in logged.items() if "dev" in tag)

    main([*flags, "-a", "-o", "config.runner.total_steps=4"])
    last = states("exp/states-4.ckpt")
    assert last["Step"] == 4 and not same_weights(states("exp/states-2.ckpt"), last, "Downstream")
    assert last["Optimizer"]["state"][0]["step"] == 4  # Adam's own count went on too

    result = task.result(main(["-m", "evaluate", "-e", "exp/states-4.ckpt", "-t", task.split]))
    assert math.isfinite(result) and result >= 0
    assert result == task.result(main(["-m", "evaluate", "-e", "exp", "-t", task.split]))  # the last states


@pytest.mark.slow
def test_a_resumed_run_is_the_unbroken_one(ready):
    """Where a batch is the whole corpus and nothing is random: s3prl resumes weights and optimizer, no random state."""
    whole = f"{CORPUS}.batch_size=6,,config.runner.eval_step=100"
    flags = train("pr", "broken", whole)
    main(flags)
    main([*flags, "-a", "-o", "config.runner.total_steps=4"])
    main(train("pr", "unbroken", whole, "config.runner.total_steps=4"))
    assert same_weights(states("broken/states-4.ckpt"), states("unbroken/states-4.ckpt"), "Downstream", "Featurizer")


@pytest.mark.slow
@pytest.mark.parametrize(("key", "upstream"), [*[(key, "fbank") for key in ALL], ("ks", "student"), ("sv", "student")])
def test_the_feature_cache_changes_no_bit(ready, key, upstream, capsys):
    name = ("fbank",) if upstream == "fbank" else ("fithubert", "-k", str(ready["student"]))

    def found_on_disk() -> tuple[int, int]:
        found, asked = re.findall(r"feature cache cache: (\d+) of (\d+) from disk", capsys.readouterr().out)[-1]
        return int(found), int(asked)

    def run(expdir: str, *cache: str) -> dict[str, float]:
        return main(
            [*train(key, expdir, "config.runner.total_steps=6", upstream=name), *cache]
        )  # dev comes three times

    plain, found = run("plain"), []
    for expdir in ("first", "second"):
        assert run(expdir, "--feature-cache", "cache") == plain
        assert same_weights(
            states("plain/states-6.ckpt"), states(f"{expdir}/states-6.ckpt"), "Downstream", "Featurizer"
        )
        found.append(found_on_disk()[0])
    assert 0 < found[0] < found[1]

    test = ["-m", "evaluate", "-e", "plain", "-t", TASKS[key].split]
    expected = main(test)
    for _ in range(2):
        assert main([*test, "--feature-cache", "cache"]) == expected
    assert len(set(found_on_disk())) == 1  # all of it


def test_fine_tuning_trains_the_student_and_is_not_cached(ready, capsys):
    upstream = ("fithubert", "-k", str(ready["student"]), "-f", "-s", "last_hidden_state")
    flags = train("ks", "exp", "config.runner.save_step=1", upstream=upstream)
    main(flags)
    assert not same_weights(states("exp/states-1.ckpt"), states("exp/states-2.ckpt"), "Upstream")
    assert math.isfinite(TASKS["ks"].result(main(["-m", "evaluate", "-e", "exp"])))
    assert "found -f" in refused(capsys, *instead(flags, "-p", "no"), "--feature-cache", "cache")


@pytest.mark.slow
def test_all_states_of_speaker_verification(ready, capsys):
    main(train("sv", "exp", "config.runner.save_step=1"))
    best = TASKS["sv"].result(main(["-m", "evaluate", "-e", "exp", "--all-states"]))
    text = capsys.readouterr().out
    for step in (1, 2):
        assert f"states-{step}.ckpt  " in text
    rows = [line.split(",") for line in Path("exp/all_states_test.csv").read_text().splitlines()]
    assert rows[0] == ["checkpoint", "test EER %"] and [name for name, _ in rows[1:]] == [
        "states-1.ckpt",
        "states-2.ckpt",
    ]
    assert best == pytest.approx(min(float(value) for _, value in rows[1:]), abs=1e-4)
    assert Path("exp/all_states_test.png").read_bytes().startswith(b"\x89PNG")


def test_inference_of_speech_recognition(ready, capsys):
    main(train("asr", "exp"))
    audio = ready["LIBRISPEECH"] / "test" / "3" / "7" / "3-7-0000.flac"
    main(["-m", "inference", "-t", str(audio), "-e", "exp"])
    assert Path("exp/inference.ark").read_text().startswith("3-7-0000 ")
    capsys.readouterr()
    assert "no.wav: expected an audio file" in told(capsys, "-m", "inference", "-t", "no.wav", "-e", "exp")


@pytest.mark.slow
@pytest.mark.parametrize("key", ["pr", "asr", "sv"])
def test_a_corpus_that_has_moved(ready, damaged, key, tmp_path, capsys):
    folder = damaged(key)
    main(train(key, "exp"))
    evaluate = ["-m", "evaluate", "-e", "exp", "-t", TASKS[key].split]
    result = main(evaluate)
    moved = folder.rename(tmp_path / "moved")
    root = {"pr": f"{CORPUS}.path", "asr": f"{DATA}.libri_root", "sv": f"{DATA}.file_path"}[key]
    capsys.readouterr()
    message = told(capsys, *evaluate)
    assert str(folder) in message and (key == "sv" or f"-o {root}=" in message)
    assert main([*evaluate, "-o", f"{root}={moved}"]) == result


def test_weights_to_begin_with(ready, capsys):
    main(train("ks", "exp"))
    trained = main(["-m", "evaluate", "-e", "exp"])
    flags = instead(train("ks", "other"), "-m", "evaluate")
    assert main([*flags, "-i", "exp/states-2.ckpt"]) == trained
    assert "-i no.ckpt: expected a checkpoint" in refused(capsys, *train("ks", "no"), "-i", "no.ckpt")


# SUPERB's own configs


def full_config(key: str, **paths: Path) -> dict:
    """The packaged config, completed, with other paths in its datarc."""
    config = yaml.safe_load(find_config(f"{key}.yaml", DOWNSTREAM_CONFIGS).read_text())
    config = expand_variables(config)
    if paths:
        config["downstream_expert"]["datarc"] |= {name: str(path) for name, path in paths.items()}
    checks.complete(config)
    return config


def head(key: str, config: dict):
    """s3prl's expert of a task on features of HuBERT Base's size."""
    s3prl_compat.apply()
    module = importlib.import_module(f"s3prl.downstream.{TASKS[key].downstream}.expert")
    return module.DownstreamExpert(upstream_dim=768, upstream_rate=320, expdir=".", **config)


def count(*modules) -> int:
    return sum(parameter.numel() for module in modules for parameter in module.parameters())


def test_heads_of_the_full_configs_have_the_official_sizes(ready):
    libri, commands, vox = (ready[name] for name in ("LIBRISPEECH", "SPEECH_COMMANDS", "VOXCELEB1"))
    roots = {"speech_commands_root": commands / "train", "speech_commands_test_root": commands / "test"}
    assert count(head("ks", full_config("ks", **roots))) == 199_948

    with s3prl_datasets.own_datasets("sv_voxceleb1"):
        sv = head("sv", full_config("sv", test_meta_data=vox / "test_trials.txt"))
    assert count(sv.connector, sv.model) == 6_110_172
    assert count(sv.objective) == 512 * 3  # 3 speakers here; 620,032 for VoxCeleb1's 1,211
    assert (sv.objective.s, sv.objective.m) == (30, 0.4)

    pr = head("pr", full_config("pr"))
    assert pr.projector.weight.shape == (256, 768)
    assert pr.model.linear.weight.shape == (pr.tokenizer.vocab_size, 256)
    assert set(pr.tokenizer._vocab_list) >= {"SIL", "SPN", "AA0", "ZH"}  # 71 phones beside s3prl's own symbols

    config = full_config("asr")
    assert config["downstream_expert"]["datarc"]["dict_path"] == str(libri / "len_for_bucket" / "char.dict")
    asr = head("asr", config)
    layers = [layer.layer for layer in asr.model.rnns]
    assert asr.projector.weight.shape == (1024, 768)
    assert [(layer.hidden_size, layer.bidirectional) for layer in layers] == [(1024, True)] * 2
    assert asr.model.linear.weight.shape == (len(asr.dictionary), 2048)


# what is told


def told(capsys, *flags: str) -> str:
    """The one line that the command ends with: alone on its line, the last of stderr, exit status 2."""
    assert cli.main(["downstream", *flags]) == 2
    text = capsys.readouterr().err
    lines = [line for line in text.split("\n") if line.startswith("fithubert downstream: ")]
    assert len(lines) == text.count("fithubert downstream: ") == 1
    assert text.endswith(f"\n{lines[0]}\n") or text == f"{lines[0]}\n"
    return lines[0]


def refused(capsys, *flags: str) -> str:
    """The same, and nothing was trained."""
    line = told(capsys, *flags)
    assert not list(Path(flags[flags.index("-p") + 1]).glob("*.ckpt"))
    return line


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

"""Each kind of damage to a sound little corpus gives its one line."""

import sys
import types

import pytest

from fithubert_upstream.audio.walk import AUDIO
from fithubert_upstream.corpora.layouts.speech_commands import (
    COMMANDS,
    check_speech_commands,
    speech_commands_part,
)

from ...helpers.audio import cut, noise
from ...helpers.problems import only_problem


def commands_report(root):
    return check_speech_commands(root / "train", root / "test", progress=False)


def test_speech_commands_counts(commands):
    report = commands_report(commands)
    assert report.problems == []
    assert [report.counts[f"{part} clips"] for part in ("train", "dev", "left out")] == [22, 11, 11]
    assert report.counts["speakers"] == 4 and report.counts["words"] == 11 and report.counts["test clips"] == 12
    assert report.counts["background minutes"] == pytest.approx(1 / 60)
    assert report.corpus == f"speech_commands {commands}/train --test {commands}/test"


def test_the_split_is_s3prls(commands, monkeypatch):
    from fithubert_upstream.compat import s3prl as s3prl_compat
    from fithubert_upstream.compat.modules import has_module

    s3prl_compat.apply()
    if not has_module("catalyst"):  # not used by what is tested
        for name in ("catalyst", "catalyst.data", "catalyst.data.sampler"):
            monkeypatch.setitem(sys.modules, name, types.ModuleType(name))
        sys.modules["catalyst.data.sampler"].DistributedSamplerWrapper = None
    from s3prl.downstream.speech_commands.expert import split_dataset

    for k in range(200):
        (commands / "train" / "bed" / f"speaker{k}_nohash_{k}.wav").touch()
    train, dev = ({path for _, path in part} for part in split_dataset(commands / "train"))
    clips = [clip for word in (*COMMANDS, "bed") for clip in (commands / "train" / word).iterdir()]
    for clip in clips:
        assert speech_commands_part(clip) == ("train" if clip in train else "dev" if clip in dev else "left out")
    assert train and dev and len(train) + len(dev) < len(clips)


def remove(folder):
    for file in folder.iterdir():
        file.unlink()
    folder.rmdir()


def test_speech_commands_folders(commands):
    train, test = commands / "train", commands / "test"
    (problem,) = check_speech_commands(train, commands / "no", progress=False).problems
    assert problem == f"{commands}/no: expected a folder of Speech Commands, found no such folder"
    remove(train / "stop")
    assert only_problem(commands_report(commands)) == f"{train}: expected a folder stop, found none"
    (train / "stop").mkdir()
    assert only_problem(commands_report(commands)) == f"{train}/stop: expected {AUDIO} files, found none"
    noise(train / "stop" / "0_nohash_0.wav")
    remove(train / "bed")
    assert f"{train}: expected a word besides the 10 commands" in only_problem(commands_report(commands))
    noise(train / "bed" / "0_nohash_0.wav")
    remove(test / "_silence_")
    assert only_problem(commands_report(commands)) == f"{test}: expected a folder _silence_, found none"
    noise(test / "_silence_" / "a.wav")
    noise(test / "bed" / "a.wav")
    assert f"{test}/bed: expected only the 12 classes (yes, no," in only_problem(commands_report(commands))


def test_background_noise(commands):
    folder = commands / "train" / "_background_noise_"
    noise(folder / "short.wav", samples=20_000, rate=22_050)
    assert f"{folder}/short.wav: expected 1 s of background noise or more, found 0.907 s" in only_problem(
        commands_report(commands)
    )
    remove(folder)
    problem = only_problem(commands_report(commands))
    assert problem.startswith(f"{commands}/train: expected a folder _background_noise_") and "found none" in problem
    folder.mkdir()
    assert only_problem(commands_report(commands)) == f"{folder}: expected .flac/.wav/.ogg/.opus/.mp3 files, found none"


def test_clip_names(commands):
    path = noise(commands / "train" / "bed" / "cat.wav")
    assert f"{path}: expected a name <speaker>_nohash_<number>.wav" in only_problem(commands_report(commands))
    path.rename(path.with_name("0_nohash_9.WAV"))
    assert commands_report(commands).problems == []


def test_a_split_without_dev(commands):
    for clip in commands.glob("train/*/*_nohash_*.wav"):
        if speech_commands_part(clip) == "dev":
            clip.unlink()
    assert "expected clips for dev after the split by speaker, found none" in only_problem(commands_report(commands))


def test_speech_commands_audio(commands):
    for path in (commands / "train" / "bed" / "00000003_nohash_0.wav", commands / "test" / "go" / "go.wav"):
        cut(path, 0.8)
        assert f"{path}: expected as much audio as its header says" in only_problem(commands_report(commands))
        noise(path)

"""Each kind of damage to a sound little corpus gives its one line."""

import os
import sys
import types

import pytest

from fithubert_upstream.audio import scan as audio_scan
from fithubert_upstream.audio.walk import AUDIO
from fithubert_upstream.corpora import check as corpus_checks
from fithubert_upstream.corpora.check import main
from fithubert_upstream.corpora.librispeech import check_librispeech
from fithubert_upstream.corpora.problems import Report, require
from fithubert_upstream.corpora.speech_commands import (
    COMMANDS,
    TEST_CLASSES,
    check_speech_commands,
    speech_commands_part,
)
from fithubert_upstream.corpora.voxceleb1 import check_voxceleb1
from fithubert_upstream.errors import FitHubertError

from ..audio.test_scan import cut, noise
from ..downstream.test_asr import write_split


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("FITHUBERT_CACHE", str(tmp_path / "cache"))


def only_problem(report):
    (problem,) = report.problems
    assert "\n" not in problem
    return problem


# LibriSpeech


@pytest.fixture
def libri(tmp_path):
    write_split(tmp_path / "libri" / "train", {"1-2-0000": "THE CAT", "1-2-0001": "A HAT", "3-4-0000": "THE"})
    write_split(tmp_path / "libri" / "dev", {"5-6-0000": "CAT"})
    (tmp_path / "libri" / "other").mkdir()
    return tmp_path / "libri"


def libri_problem(root, *splits):
    return only_problem(check_librispeech(root, list(splits) or None, progress=False))


def test_librispeech_counts(libri):
    report = check_librispeech(libri, progress=False)
    assert report.problems == [] and report.corpus == f"librispeech {libri}"
    assert report.counts == pytest.approx({
        "dev utterances": 1, "dev speakers": 1, "dev hours": 1000 / 16000 / 3600,
        "train utterances": 3, "train speakers": 2, "train hours": 3300 / 16000 / 3600,
    })  # fmt: skip
    require(report)
    assert list(check_librispeech(libri, ["dev"], progress=False).counts) == list(report.counts)[:3]


def test_librispeech_folders(libri):
    assert f"{libri}/no: no such folder" in libri_problem(libri / "no", "dev")
    assert f"{libri}/no: expected sub-folders" in libri_problem(libri / "no")
    assert f"{libri}: expected a sub-folder test, found dev, other, train" in libri_problem(libri, "test")
    assert f"{libri}/other: expected speaker/chapter/*.trans.txt" in libri_problem(libri, "other")
    assert "expected sub-folders with speaker/chapter/*.trans.txt" in libri_problem(libri / "other")


def test_a_chapter_without_a_transcript(libri):
    (libri / "train" / "1" / "2" / "1-2.trans.txt").unlink()
    assert libri_problem(libri) == f"{libri}/train/1/2: expected 1-2.trans.txt with the audio, found none"


def test_a_transcript_of_another_name(libri):
    path = libri / "train" / "1" / "2" / "1-2.trans.txt"
    path.rename(path.with_name("1-3.trans.txt"))
    assert libri_problem(libri).startswith(f"{libri}/train/1/2/1-3.trans.txt: expected the name 1-2.trans.txt")


def test_a_transcript_without_audio(libri):
    chapter = libri / "train" / "1" / "2"
    (chapter / "1-2-0000.flac").unlink()
    assert "1-2.trans.txt: expected 1-2-0000 (.flac/.wav/.ogg/.opus/.mp3) beside it" in libri_problem(libri)
    (chapter / "1-2-0001.flac").unlink()
    assert f"{chapter}/1-2.trans.txt: expected the audio of its 2 lines" in libri_problem(libri)


def test_audio_without_a_line(libri):
    extra = noise(libri / "train" / "1" / "2" / "1-2-0007.flac")
    noise(extra.with_name("._1-2-0007.flac"))  # left by some file managers
    assert libri_problem(libri).startswith(f"{extra}: expected a line for it in 1-2.trans.txt, found none")


@pytest.mark.parametrize(
    "line, problem",
    [
        ("\n", "expected words in line 2, found an empty line"),
        ("1-2-0001\n", "expected words after 1-2-0001, found none"),
        ("1-2-0001 A HAT\n1-2-0001 A CAT\n", "expected one line for 1-2-0001, found another in line 3"),
    ],
)
def test_wrong_lines(libri, line, problem):
    path = libri / "train" / "1" / "2" / "1-2.trans.txt"
    path.write_text(f"1-2-0000 THE CAT\n{line}" + ("" if "1-2-0001" in line else "1-2-0001 A HAT\n"))
    assert f"{path}: {problem}" in libri_problem(libri)


def test_a_transcript_in_another_encoding(libri):
    path = libri / "train" / "1" / "2" / "1-2.trans.txt"
    path.write_bytes(b"1-2-0000 CAF\xc9\n1-2-0001 A HAT\n")
    assert f"{path}: expected text in UTF-8" in libri_problem(libri)


def test_librispeech_audio(libri):
    path = libri / "dev" / "5" / "6" / "5-6-0000.flac"
    noise(path, rate=8000)
    assert f"{path}: expected 16000 Hz, found 8000 Hz" in libri_problem(libri)
    noise(path, channels=2)
    assert f"{path}: expected a mono file" in libri_problem(libri)
    noise(path)
    cut(path, 0.7)
    assert f"{path}: expected an audio file that decodes to its end" in libri_problem(libri)
    noise(path, samples=0)
    assert f"{path}: expected " in libri_problem(libri)


def test_problems_are_collected_and_the_first_is_required(libri):
    cut(libri / "dev" / "5" / "6" / "5-6-0000.flac", 0.5)
    (libri / "train" / "1" / "2" / "1-2-0000.flac").unlink()
    report = check_librispeech(libri, progress=False)
    assert len(report.problems) == 2 and report.counts["train utterances"] == 2
    with pytest.raises(FitHubertError) as error:
        require(report)
    assert str(error.value) == report.problems[0] + f" (and 1 more: fithubert check librispeech {libri} lists them)"
    with pytest.raises(FitHubertError, match="^alone$"):
        require(Report("librispeech x", {}, ["alone"]))


# Speech Commands


@pytest.fixture
def commands(tmp_path):
    """Each word by speakers that s3prl's split spreads over dev, train, left out, train."""
    for word in (*COMMANDS, "bed"):
        for speaker in range(4):
            noise(tmp_path / "sc" / "train" / word / f"{speaker:08x}_nohash_0.wav", samples=160)
    noise(tmp_path / "sc" / "train" / "_background_noise_" / "hum.wav")
    for word in TEST_CLASSES:
        noise(tmp_path / "sc" / "test" / word / f"{word}.wav", samples=160)
    return tmp_path / "sc"


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


# VoxCeleb1


@pytest.fixture
def vox(tmp_path):
    root = tmp_path / "vox"
    for part, speakers in (("dev", ("id1", "id2")), ("test", ("id8", "id9"))):
        for speaker in speakers:
            for k in range(2):
                noise(root / part / "wav" / speaker / "s" / f"{k}.wav", samples=800)
        one, other = speakers
        (root / f"{part}_trials.txt").write_text(f"1 {one}/s/0.wav {one}/s/1.wav\n0 {one}/s/0.wav {other}/s/1.wav\n")
    return root


def vox_report(root, *trials):
    return check_voxceleb1(root, *trials, progress=False)


def test_voxceleb1_counts(vox):
    report = vox_report(vox)
    assert report.problems == [] and report.corpus == f"voxceleb1 {vox}"
    for part in ("dev", "test"):
        assert [report.counts[f"{part} {what}"] for what in ("speakers", "files", "trials")] == [2, 4, 2]
        assert report.counts[f"{part} hours"] == pytest.approx(4 * 0.05 / 3600)


def test_which_trial_lists(vox, tmp_path):
    (vox / "dev_trials.txt").unlink()
    (vox / "test_trials.txt").rename(vox / "voxceleb1_test_v2.txt")
    report = vox_report(vox)
    assert report.problems == [] and report.counts["test trials"] == 2 and "dev trials" not in report.counts
    other = (vox / "voxceleb1_test_v2.txt").rename(tmp_path / "list.txt")
    assert f"{vox}/voxceleb1_test_v2.txt: expected a list of trials" in only_problem(vox_report(vox))
    assert vox_report(vox, os.devnull, other).problems == []
    assert f"{tmp_path}/no.txt: expected a list of trials" in only_problem(vox_report(vox, tmp_path / "no.txt", other))


@pytest.mark.parametrize(
    "lines, problem",
    [
        (["1 id8/s/0.wav id8/s/1.wav"], "test_trials.txt: expected trials of both labels, 0 and 1, found only 1"),
        ([], "test_trials.txt: expected trials of both labels, 0 and 1, found no trial"),
        (["0 id8/s/0.wav id9/s/0.wav", "", "1 id8/s/0.wav id8/s/1.wav"], "test_trials.txt, line 2: expected `0 path"),
        (["0 id8/s/0.wav id9/s/0.wav", "1 id8/s/0.wav", "1 id8/s/0.wav id8/s/1.wav"], "line 2: expected `0 path path`"),
        (["0 id8/s/0.wav id9/s/0.wav", "2 a b", "1 id8/s/0.wav id8/s/1.wav"], "found '2 a b'"),
        (
            ["0 id8/s/0.wav id9/s/0.wav", "1 id8/s/0.wav id8/s/7.wav", "0 id8/s/7.wav id9/s/0.wav"],
            "line 2: expected id8/s/7.wav in {vox}/test/wav, found no such file (also in 1 later lines)",
        ),
        (["0 id8/s/0.wav id1/s/0.wav", "1 id8/s/0.wav id8/s/1.wav"], "line 1: expected id1/s/0.wav"),
    ],
)
def test_wrong_trials(vox, lines, problem):
    (vox / "test_trials.txt").write_text("".join(line + "\n" for line in lines))
    assert problem.format(vox=vox) in only_problem(vox_report(vox))


def test_voxceleb1_folders(vox):
    (vox / "dev" / "wav" / "id3" / "s").mkdir(parents=True)
    (vox / "dev" / "wav" / "id3" / "s" / "0.m4a").touch()
    other, none = vox_report(vox).problems
    assert other.endswith("id3/s/0.m4a: expected .flac/.wav/.ogg/.opus/.mp3, found .m4a, which is not read; convert it")
    assert none == f"{vox}/dev/wav/id3: expected <session>/ with .flac/.wav/.ogg/.opus/.mp3 files, found none"
    (vox / "dev" / "wav" / "id3" / "s" / "0.m4a").unlink()
    noise(vox / "dev" / "wav" / "id3" / "s" / "0.wav")
    loose = noise(vox / "dev" / "wav" / "id3" / "0.wav")
    assert f"{loose}: expected audio at {vox}/dev/wav/<speaker>/<session>/ only" in only_problem(vox_report(vox))
    loose.unlink()
    (vox / "test").rename(vox / "elsewhere")
    problem = only_problem(vox_report(vox))
    assert problem == f"{vox}/test/wav: expected folders <speaker>/<session>/ with audio, found no such folder"
    (vox / "test" / "wav").mkdir(parents=True)
    assert vox_report(vox).problems[0] == f"{vox}/test/wav: expected folders of speakers, found none"


def test_voxceleb1_of_links(vox, tmp_path):
    (vox / "dev" / "wav" / "id1").rename(tmp_path / "id1")
    (vox / "dev" / "wav" / "id1").symlink_to(tmp_path / "id1")
    assert vox_report(vox).problems == []


def test_voxceleb1_audio(vox):
    path = vox / "test" / "wav" / "id8" / "s" / "0.wav"
    cut(path, 0.5)
    assert f"{path}: expected as much audio as its header says" in only_problem(vox_report(vox))


# The command


def test_the_command_on_a_sound_corpus(libri, vox, commands, capsys):
    main(["librispeech", str(libri)])
    out = capsys.readouterr().out
    assert "train utterances" in out and "official" not in out and out.endswith("no problems found\n")
    main(["voxceleb1", str(vox)])
    assert "37,720" in capsys.readouterr().out
    main(["speech_commands", str(commands)])
    main(["speech_commands", str(commands / "train"), "--test", str(commands / "test")])
    (commands / "train").rename(commands / "speech_commands_v0.01")
    (commands / "test").rename(commands / "speech_commands_test_set_v0.01")
    main(["speech_commands", str(commands)])
    assert capsys.readouterr().out.count("no problems found") == 3


def test_the_command_lists_fifty_problems(libri, capsys):
    for k in range(60):
        noise(libri / "dev" / "5" / "6" / f"5-6-1{k:03d}.flac", samples=100)
    with pytest.raises(FitHubertError, match=f"^60 problems in {libri}$"):
        main(["librispeech", str(libri)])
    lines = capsys.readouterr().out.splitlines()
    assert sum("expected a line for it" in line for line in lines) == 50 and lines[-1] == "... and 10 more"


def test_wrong_flags(libri):
    with pytest.raises(FitHubertError, match="--test: expected it with speech_commands only"):
        main(["librispeech", str(libri), "--test", "x"])
    with pytest.raises(FitHubertError, match="expected folders train and test, or speech_commands_v0.01"):
        main(["speech_commands", str(libri / "dev")])


def test_a_corpus_is_decoded_once(libri, monkeypatch):
    check_librispeech(libri, progress=False)
    monkeypatch.setattr(audio_scan, "measure", None)
    assert check_librispeech(libri, progress=False).problems == []
    assert check_librispeech(libri, ["train"], progress=False).problems == []


@pytest.mark.slow
@pytest.mark.parametrize("name", ["LibriSpeech-excerpt", "speech_commands", "VoxCeleb1-layout"])
def test_on_real_recordings(real_data, name):
    root = real_data / name
    report = {
        "LibriSpeech-excerpt": lambda: check_librispeech(root, ["mini-dev"], progress=False),
        "speech_commands": lambda: corpus_checks.check_speech_commands(root / "train", root / "test", progress=False),
        "VoxCeleb1-layout": lambda: check_voxceleb1(root, progress=False),
    }[name]()
    assert report.problems == [] and all(report.counts.values())

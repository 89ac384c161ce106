"""The cache of features: on where they fit, with a line where they do not, and gone when the table is finished."""

import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import soundfile

from fithubert_upstream import cli
from fithubert_upstream.errors import FitHubertError
from fithubert_upstream.superb.configs import Settings
from fithubert_upstream.superb.run import run
from fithubert_upstream.superb.running import features, jobs
from fithubert_upstream.superb.running.features import GB, FeatureCache, corpus_seconds
from fithubert_upstream.superb.running.jobs import Running
from fithubert_upstream.superb.upstreams import Size

from ...helpers.superb_runs import TWO, flag


@pytest.fixture
def sizes(monkeypatch):
    """100 s of speech; fbank gives 0.2 GB of features, the student 5."""
    monkeypatch.setattr(jobs, "corpus_seconds", lambda task, config: 100.0)
    monkeypatch.setattr(jobs, "size_of", lambda up: Size(0, GB // 500 if up.name == "fbank" else GB // 20))
    monkeypatch.setattr(features.shutil, "disk_usage", lambda folder: SimpleNamespace(free=20 * GB))


def test_what_fits_is_cached_and_what_does_not_is_told(runner, corpora, student, sizes, capsys):
    run(TWO, ["ks"], Settings(), "out", Running(FeatureCache(gigabytes=1)))
    cached = [(flag(argv, "--feature-cache"), flag(argv, "--feature-cache-gb")) for argv in runner.calls]
    folder = str(corpora.root / "out/.features")
    assert cached == [(folder, "1")] * 2 + [(None, None)] * 2
    said = "features of more than 1.0 GB (--feature-cache-gb) are not cached: KS on student 5 GB\n"
    assert said in capsys.readouterr().out
    result = json.loads(Path("out/fbank/ks/result.json").read_text())
    assert not any("--feature-cache" in line for line in result["command"])


def test_never_more_than_half_of_the_free_disk(runner, corpora, student, sizes, monkeypatch):
    monkeypatch.setattr(features.shutil, "disk_usage", lambda folder: SimpleNamespace(free=8 * GB))
    run(TWO, ["ks"], Settings(), "out")
    assert [flag(argv, "--feature-cache-gb") for argv in runner.calls] == ["4", "4", None, None]


def test_off(runner, corpora, sizes):
    run(TWO[:1], ["ks"], Settings(), "out", Running(FeatureCache(gigabytes=0)))
    assert all(flag(argv, "--feature-cache") is None for argv in runner.calls)


@pytest.mark.parametrize("given", [None, "kept"])
def test_its_own_folder_goes_when_the_table_is_finished(runner, corpora, sizes, given):
    folder = Path(given or "out/.features")

    def train(folder_of_run, argv):
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "x.safetensors").write_bytes(b"features")
        return type(runner).train(runner, folder_of_run, argv)

    runner.train = train
    runner.error, runner.fail_at = KeyboardInterrupt(), 1
    with pytest.raises(KeyboardInterrupt):
        run(TWO[:1], ["ks"], Settings(), "out", Running(FeatureCache(given)))
    assert folder.is_dir()  # it goes on with them
    runner.fail_at = None
    run(TWO[:1], ["ks"], Settings(), "out", Running(FeatureCache(given)))
    assert folder.is_dir() is (given is not None)


def test_seconds_of_a_corpus(tmp_path):
    for name, seconds in (("train/a.flac", 1.5), ("train/b/c.wav", 2.0), ("test/d.wav", 0.25)):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(tmp_path / name, np.zeros(int(16000 * seconds)), 16000)
    (tmp_path / "train/broken.wav").write_bytes(b"RIFF")
    data = {"speech_commands_root": str(tmp_path / "train"), "speech_commands_test_root": str(tmp_path / "test")}
    config = {"downstream_expert": {"datarc": data}}
    assert corpus_seconds("speech_commands", config) == 3.75


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--feature-cache-gb", "-1"], "expected 0 or more, found -1"),
        (["--feature-cache", "x", "--feature-cache-gb", "0"], "expected no --feature-cache, found x"),
    ],
)
def test_mistakes(flags, words, corpora, capsys):
    assert cli.main(["superb", "-u", "fbank", *flags]) == 2
    error = capsys.readouterr().err
    assert words in error and error.count("\n") == 1


def test_a_folder_that_cannot_be_written(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(FitHubertError, match="--feature-cache .*file: expected a folder that can be written"):
        FeatureCache(str(tmp_path / "file"))

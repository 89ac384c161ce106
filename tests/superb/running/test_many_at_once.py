"""`superb --jobs` from end to end: processes of their own train, choose and test, with the numbers of one process."""

import json
from pathlib import Path

import pytest

from fithubert_upstream.superb.run import main

from ...helpers import small_corpora


@pytest.mark.slow
def test_the_numbers_are_those_of_one_process(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    small_corpora.speech_commands(tmp_path / "commands")
    steps = [f"ks:runner.{name}_step{'s' if name == 'total' else ''}=2" for name in ("total", "eval", "save")]
    flags = [word for step in steps for word in ("--override", step)]
    flags += [
        "--override",
        "ks:downstream_expert.datarc.batch_size=2",
        "--tasks",
        "ks",
        "--speech-commands",
        "commands",
    ]
    flags += ["-u", "fbank", "--lr", "1e-2", "1e-3", "--seeds", "1", "2"]
    (one,) = main([*flags, "-o", "one"])
    (two,) = main([*flags, "--jobs", "2", "-o", "two"])
    assert one.ks == two.ks and one.spread == two.spread
    for seed in (1, 2):
        here, there = (json.loads(Path(f, f"fbank/ks/seed-{seed}/result.json").read_text()) for f in ("one", "two"))
        assert here["logged"] == there["logged"] and here["lr"] == there["lr"] and here["dev"] == there["dev"]
    assert len(list(Path("two/.jobs").glob("*_log.out"))) == 4  # two rates, the choice, the second seed
    assert main([*flags, "-o", "two"]) == [two]  # nothing is left to do, however it is started

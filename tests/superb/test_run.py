"""`fithubert superb`: what is run, in which order and with which flags, and each mistake told before anything runs."""

import json
from pathlib import Path

import pytest

from fithubert_upstream import cli
from fithubert_upstream.downstream import checks
from fithubert_upstream.errors import FitHubertError
from fithubert_upstream.superb.configs import Settings
from fithubert_upstream.superb.run import main, parse_override, run
from fithubert_upstream.superb.running.features import FeatureCache
from fithubert_upstream.superb.running.jobs import Running

from ..helpers.superb_runs import ALL, TWO, config_in, flag


def test_order_rows_and_files(runner, corpora, student, capsys):
    output = corpora.root / "out"
    rows = run(TWO, ALL, Settings(), output)
    assert [(r.name, r.parameters, r.pr, r.asr, r.ks, r.sv, r.comparable) for r in rows] == [
        ("fbank", 0, 25, 42.5, 75, 12.5, False),
        ("student", 1_234_567, 25, 42.5, 75, 12.5, False),
    ]
    best = {"asr": "dev-clean-best.ckpt"}
    assert runner.modes() == [
        call
        for label in ("fbank", "student")
        for task in ALL
        for call in (
            ("train", f"{label}/{task}"),
            ("evaluate", str(output / label / task / best.get(task, "dev-best.ckpt"))),
        )
    ]
    assert [flag(argv, "-t") for argv in runner.calls[1::2]] == ["test", "test-clean", "test", "test"] * 2
    printed = capsys.readouterr().out
    titles = [line for line in printed.splitlines() if line.startswith("== ")]
    assert titles[0] == "== PR on fbank (1 of 8)" and titles[6] == "== KS on student (7 of 8)"
    assert "| student  |" in (output / "table.md").read_text()
    assert (output / "superb.png").is_file()
    assert "student,1234567,25.0,42.5,75.0,12.5,-," in (output / "table.csv").read_text()
    saved = json.loads((output / "results.json").read_text())
    assert saved["rows"][1]["sv"] == 12.5 and saved["settings"]["configs"] == "mini"

    result = json.loads((output / "student" / "ks" / "result.json").read_text())
    assert saved["results"]["student"]["ks"] == result
    assert result["value"] == 75 and result["steps"] == 500 and result["seed"] == 1337 and result["seconds"] >= 0
    assert result["command"][0].startswith("fithubert downstream -m train -u fithubert -k ")
    assert {"torch", "s3prl", "fithubert-upstream", "python"} <= set(result["versions"])
    assert not list(output.rglob("*.tmp"))


def test_flags(runner, corpora, student):
    settings = Settings(
        overrides=(
            ("asr", "runner.total_steps", 90),
            ("asr", "runner.eval_step", 45),
            ("ks", "optimizer.lr", 0.1),
            ("pr", "optimizer.name", "Adam"),
        ),
        splits=(["a", "b"], ["c"], ["d"]),
        skip_oov=True,
        seed=7,
    )
    run(TWO[1:], ALL, settings, "out", Running(FeatureCache("cache")))
    output = corpora.root / "out"
    pr, asr, ks, sv = runner.calls[::2]
    for argv, task, downstream in zip(
        (pr, asr, ks, sv), ALL, ("ctc", "asr", "speech_commands", "sv_voxceleb1"), strict=True
    ):
        assert argv[: argv.index("-p")] == [
            *["-m", "train", "-u", "fithubert", "-k", str(student), "-s", "last_hidden_state"],
            *["-d", downstream, "-c", str(output / "student" / task / "config.yaml")],
        ]
        assert flag(argv, "-p") == str(output / "student" / task) and flag(argv, "--seed") == "7" and "-a" in argv
    assert all(flag(argv, "--feature-cache") == "cache" for argv in runner.calls)
    assert ["--skip-oov" in argv for argv in (pr, asr, ks, sv)] == [True, False, False, False]

    pr, asr, ks, sv = (config_in(argv) for argv in (pr, asr, ks, sv))
    corpus, data = (config["downstream_expert"] for config in (pr, asr))
    corpus, data = corpus["corpus"], data["datarc"]
    assert [corpus[split] for split in ("train", "dev", "test")] == [["a", "b"], ["c"], ["d"]]
    assert [data[split] for split in ("train", "dev-clean", "test-clean")] == [["a", "b"], ["c"], ["d"]]
    assert corpus["path"] == data["libri_root"] == str(corpora.root / "librispeech")
    assert data["bucket_file"] == str(output / "len_for_bucket") and pr["optimizer"]["name"] == "Adam"
    assert [asr["runner"][f"{name}_step"] for name in ("eval", "save")] == [45, 90]
    assert asr["runner"]["total_steps"] == 90 and ks["optimizer"]["lr"] == 0.1
    root = str(corpora.root / "librispeech")
    assert corpora.prepared == [(root, str(output / "len_for_bucket"), ["a", "b", "c", "d"])]


@pytest.mark.parametrize(
    ("text", "override"),
    [
        ("asr:runner.total_steps=100", ("asr", "runner.total_steps", 100)),
        ("pr:optimizer.lr=1e-3", ("pr", "optimizer.lr", 1e-3)),
        ("pr:downstream_expert.corpus.dev=[a, b]", ("pr", "downstream_expert.corpus.dev", ["a", "b"])),
        ("ks:runner.fp16=false", ("ks", "runner.fp16", False)),
        ("sv:optimizer.torch_optim_name=AdamW", ("sv", "optimizer.torch_optim_name", "AdamW")),
    ],
)
def test_overrides_are_read(text, override):
    assert parse_override(text) == override


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["-u", "a/b=fbank"], "-u a/b=fbank: expected [LABEL=]NAME"),
        (["-u", "fbank", "-u", "fbank"], "each label once"),
        (["-u", "fbank", "--override", "xyz:a=1"], "--override xyz:a=1: expected TASK:KEY=VALUE"),
        (["-u", "fbank", "--override", "ks:runner.total_steps"], "expected TASK:KEY=VALUE"),
        (["-u", "fbank", "--override", "ks:a.b=[1"], "found [1"),
        (["-u", "fbank", "--override", "ks:runner.total_steps.x=1"], "expected a section total_steps"),
        (
            ["-u", "fbank", "--override", "ks:runner.total_steps=few"],
            "ks: config.runner.total_steps: expected int, found 'few'",
        ),
        (["-u", "fbank", "--override", "ks:runner.save_step=501"], "at most runner.total_steps, 500"),
        (["-u", "fbank", "--librispeech", "/no/where"], "no folder /no/where"),
        (["-u", "fbank", "--tasks", "sv", "--voxceleb1", "/no/where"], "sv: expected a corpus"),
    ],
)
def test_mistakes_are_told_in_one_line_before_anything_runs(runner, corpora, capsys, flags, words):
    assert cli.main(["superb", *flags, "-o", "out"]) == 2
    error = capsys.readouterr().err
    assert words in error and error.count("\n") == 1
    assert not runner.calls and not Path("out").exists()


def test_a_bad_corpus_is_told_before_anything_runs(runner, corpora, monkeypatch):
    def check(args, config):
        if args.downstream == "sv_voxceleb1" and args.mode == "evaluate":
            raise FitHubertError("no trials")

    monkeypatch.setattr(checks, "check_corpus", check)
    with pytest.raises(FitHubertError, match="no trials"):
        run(TWO[:1], ALL, Settings(), "out")
    assert not runner.calls


def test_command_line(runner, corpora, student, capsys):
    upstream = "student=fithubert:student.safetensors@last_hidden_state"
    flags = ["--splits", "a,b", "c", "d", "--override", "pr:optimizer.lr=1e-2", "--seed", "3", "--tasks", "pr", "ks"]
    rows = main(["-u", "fbank", "-u", upstream, *flags, "-o", "out"])
    assert [row.name for row in rows] == ["fbank", "student"] and rows[1].sv is None
    assert (corpora.root / "out" / "table.md").read_text() in capsys.readouterr().out
    config = config_in(runner.calls[0])
    assert config["downstream_expert"]["corpus"]["train"] == ["a", "b"] and config["optimizer"]["lr"] == 0.01
    assert flag(runner.calls[0], "--seed") == "3"

"""`fithubert superb`: what is run, in which order, what is not run again, and each mistake told before anything runs.

s3prl's runner is replaced by one that writes checkpoints and answers scores.
"""

import json
import os
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml

from fithubert_upstream import FitHubert, FitHubertConfig, cli
from fithubert_upstream.checkpoints.student import save_fithubert
from fithubert_upstream.downstream import checks
from fithubert_upstream.downstream import run as run_downstream
from fithubert_upstream.errors import FitHubertError
from fithubert_upstream.superb import jobs
from fithubert_upstream.superb import run as superb
from fithubert_upstream.superb.configs import CORPORA, Settings
from fithubert_upstream.superb.run import main, parse_override, run
from fithubert_upstream.superb.upstreams import Upstream, count_parameters, digest_of, parse_upstream

from ..helpers.tiny import STUDENT

SCORES = {
    "ctc": {"ctc-libriphone/test-per": 0.25},
    "asr": {"asr/test-clean-wer": 42.5},
    "speech_commands": {"speech_commands/test-acc": 0.75},
    "sv_voxceleb1": {"sv-voxceleb1/test-EER": 0.125},
}


def flag(argv: list[str], name: str) -> str | None:
    return argv[argv.index(name) + 1] if name in argv else None


def config_in(argv: list[str]) -> dict:
    """The finished config that s3prl is given."""
    return yaml.safe_load(Path(flag(argv, "-c")).read_text())


class Runner:
    """Instead of run_downstream.main: remembers the flags, trains by writing files, may fail at a call."""

    def __init__(self):
        self.calls = []
        self.error, self.fail_at = None, None
        self.best = True

    def __call__(self, argv: list[str]) -> dict[str, float]:
        if len(self.calls) == self.fail_at:
            raise self.error
        self.calls.append(argv)
        if flag(argv, "-m") == "train":
            folder, task = Path(flag(argv, "-p")), flag(argv, "-d")
            folder.mkdir(parents=True, exist_ok=True)
            (folder / "task").write_text(task)
            for step in (250, 1000, 500):
                (folder / f"states-{step}.ckpt").touch()
            if self.best:
                (folder / ("dev-clean-best.ckpt" if task == "asr" else "dev-best.ckpt")).touch()
            return {f"{task}/train-loss": 1.0}
        past = Path(flag(argv, "-e"))
        return SCORES[((past if past.is_dir() else past.parent) / "task").read_text()]

    def modes(self) -> list[tuple[str, str]]:
        """(mode, folder) of each call."""
        return [
            ("train", "/".join(Path(flag(argv, "-p")).parts[-2:]))
            if flag(argv, "-m") == "train"
            else ("evaluate", flag(argv, "-e"))
            for argv in self.calls
        ]


@pytest.fixture
def runner(monkeypatch):
    runner = Runner()
    monkeypatch.setattr(run_downstream, "main", runner)
    monkeypatch.setattr(superb, "plot", lambda rows, published, path: path.touch())  # test_superb_report draws it
    monkeypatch.setattr(jobs, "count_parameters", lambda upstream: 0 if upstream.name == "fbank" else 1_234_567)
    return runner


@pytest.fixture
def corpora(tmp_path, monkeypatch):
    """Three empty corpora that the environment names, and the tables that get prepared."""
    for name in ("LIBRISPEECH", "SPEECH_COMMANDS", "VOXCELEB1"):
        (tmp_path / name.lower()).mkdir()
        monkeypatch.setenv(name, str(tmp_path / name.lower()))
    monkeypatch.chdir(tmp_path)
    prepared, checked = [], []
    monkeypatch.setattr(
        superb, "prepare_librispeech", lambda root, output, splits: prepared.append((str(root), str(output), splits))
    )
    monkeypatch.setattr(checks, "check_corpus", lambda args, config: checked.append((args.downstream, args.mode)))
    return SimpleNamespace(root=tmp_path, prepared=prepared, checked=checked)


TWO = [Upstream("fbank", "fbank"), Upstream("student", "fithubert", "student.safetensors", "last_hidden_state")]
ALL = ["pr", "asr", "ks", "sv"]


@pytest.fixture
def student(corpora):
    path = corpora.root / "student.safetensors"
    path.write_bytes(b"weights")
    return path


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
        feature_cache="cache",
    )
    run(TWO[1:], ALL, settings, "out")
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


def test_overrides_are_in_the_finished_config(runner, corpora):
    given = [
        "runner.total_steps=300",
        "optimizer.lr=1e-3",
        "downstream_expert.text.mode=type",
        "runner.eval_dataloaders=[dev, test]",
    ]
    run(TWO[:1], ["pr"], Settings(overrides=tuple(parse_override(f"pr:{text}") for text in given)), "out")
    config = config_in(runner.calls[0])
    steps = {"total_steps": 300, "eval_step": 100, "save_step": 100, "eval_dataloaders": ["dev", "test"]}
    assert steps.items() <= config["runner"].items() and config["optimizer"]["lr"] == 1e-3
    assert config["downstream_expert"]["text"]["mode"] == "type"  # a word, though Python has a thing of that name


def test_flags_name_the_corpora_before_the_environment_does(runner, corpora, monkeypatch):
    other = corpora.root / "other"
    other.mkdir()
    monkeypatch.delenv("VOXCELEB1")
    before = dict(os.environ)
    run(TWO[:1], ["ks", "sv"], Settings(speech_commands="other", voxceleb1=str(other)), "out")
    ks, sv = (config_in(argv)["downstream_expert"]["datarc"] for argv in runner.calls[::2])
    assert ks["speech_commands_root"] == f"{other}/train" and sv["file_path"] == str(other)
    assert dict(os.environ) == before


def test_a_run_that_was_interrupted_goes_on_with_the_config_of_its_state(runner, corpora):
    runner.error, runner.fail_at = KeyboardInterrupt(), 1
    with pytest.raises(KeyboardInterrupt):
        run(TWO[:1], ["ks"], Settings(), "out")  # trained, not tested
    runner.fail_at = None
    run(TWO[:1], ["ks"], Settings(), "out")
    assert [flag(argv, "-c") is None for argv in runner.calls if flag(argv, "-m") == "train"] == [False, True]


def test_a_second_run_runs_nothing(runner, corpora, student, capsys):
    first = run(TWO, ALL, Settings(), "out")
    calls, table = len(runner.calls), Path("out/table.md").read_text()
    assert corpora.checked == [
        (task, mode) for task in ("ctc", "asr", "speech_commands", "sv_voxceleb1") for mode in ("train", "evaluate")
    ]
    corpora.prepared.clear()
    corpora.checked.clear()
    assert run(TWO, ALL, Settings(feature_cache="elsewhere"), "out") == first
    assert len(runner.calls) == calls and not corpora.prepared and not corpora.checked
    assert Path("out/table.md").read_text() == table
    assert capsys.readouterr().out.count("already done") == 8

    run([*TWO, Upstream("third", "fbank")], ["ks"], Settings(), "out")  # one more upstream: only that is run
    assert [folder for mode, folder in runner.modes()[calls:] if mode == "train"] == ["third/ks"]


@pytest.mark.parametrize("error", [FitHubertError("no such split"), RuntimeError("broken"), KeyboardInterrupt()])
@pytest.mark.parametrize("fail_at", [4, 5])  # training and testing of the third task
def test_interruption_keeps_what_is_done(runner, corpora, error, fail_at):
    runner.error, runner.fail_at = error, fail_at
    with pytest.raises(type(error)) as raised:
        run(TWO[:1], ALL, Settings(), "out")
    if isinstance(error, FitHubertError):
        assert str(raised.value).startswith("KS on fbank: no such split; ") and "\n" not in str(raised.value)
    done = sorted(path.parent.name for path in Path("out").rglob("result.json"))
    assert done == ["asr", "pr"]
    line = next(line for line in Path("out/table.md").read_text().splitlines() if line.startswith("| fbank"))
    assert [cell.strip() for cell in line.split("|")[3:7]] == ["25.00", "42.50", "-", "-"]

    runner.fail_at = None
    calls = len(runner.calls)
    (row,) = run(TWO[:1], ALL, Settings(), "out")
    assert (row.pr, row.asr, row.ks, row.sv) == (25, 42.5, 75, 12.5)
    assert [call for call in runner.modes()[calls:] if call[0] == "train"] == [
        ("train", "fbank/ks"),
        ("train", "fbank/sv"),
    ]


def test_without_a_best_checkpoint_the_last_is_tested_and_for_sv_all(runner, corpora):
    runner.best = False
    (row,) = run(TWO[:1], ALL, Settings(), "out")
    folder = corpora.root / "out" / "fbank"
    tested = [flag(argv, "-e") for argv in runner.calls[1::2]]
    assert tested == [str(folder / task / "states-1000.ckpt") for task in ("pr", "asr", "ks")] + [str(folder / "sv")]
    assert ["--all-states" in argv for argv in runner.calls[1::2]] == [False, False, False, True]
    assert row.note.count("the last one was tested") == 3 and "SV" not in row.note
    assert row.note in Path("out/table.md").read_text()


@pytest.mark.parametrize("finished", [True, False])
@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"seed": 2}, "seed 1337 and not 2"),
        ({"overrides": (("ks", "runner.total_steps", 400),)}, "runner.total_steps 500 and not 400"),
        ({"configs": "full"}, "runner.total_steps 500 and not 200000"),
        ({"speech_commands": "librispeech"}, "speech_commands_root"),
    ],
)
def test_a_run_of_other_settings_is_an_error(runner, corpora, finished, change, words):
    if finished:
        run(TWO[:1], ["ks"], Settings(), "out")
    else:
        runner.error, runner.fail_at = KeyboardInterrupt(), 1
        with pytest.raises(KeyboardInterrupt):
            run(TWO[:1], ["ks"], Settings(), "out")
    calls = len(runner.calls)
    with pytest.raises(FitHubertError, match="already holds a run with other settings") as error:
        run([Upstream("new", "fbank"), *TWO[:1]], ["ks"], Settings(**change), "out")
    assert words in str(error.value) and "\n" not in str(error.value) and len(runner.calls) == calls


def test_another_checkpoint_under_the_same_name_is_an_error(runner, corpora, student):
    run(TWO[1:], ["ks"], Settings(), "out")
    moved = student.rename(student.with_name("moved.safetensors"))  # the same weights elsewhere are the same
    run([Upstream("student", "fithubert", str(moved), "last_hidden_state")], ["ks"], Settings(), "out")
    assert len(runner.calls) == 2
    student.write_bytes(b"other weights")
    with pytest.raises(FitHubertError, match="other settings: ckpt"):
        run(TWO[1:], ["ks"], Settings(), "out")


def test_the_digest_of_a_folder_changes_with_its_files(tmp_path):
    folder = tmp_path / "teacher"
    (folder / "sub").mkdir(parents=True)
    (folder / "config.json").write_text("{}")
    digests = {digest_of(str(folder))}
    (folder / "sub" / "weights").write_text("1")
    digests.add(digest_of(str(folder)))
    (folder / "sub" / "weights").write_text("2")
    digests.add(digest_of(str(folder)))
    (folder / "sub" / "weights").rename(folder / "sub" / "model")
    digests.add(digest_of(str(folder)))
    assert len(digests) == 4 and digest_of("facebook/hubert-base-ls960") == "facebook/hubert-base-ls960"


@pytest.mark.parametrize(
    ("change", "comparable"),
    [
        ({}, True),
        ({"overrides": (("sv", "optimizer.lr", 1e-3),)}, True),  # SUPERB searches it
        ({"overrides": (("sv", "runner.total_steps", 100),)}, False),
        ({"splits": (["a"], ["b"], ["c"])}, False),
        ({"skip_oov": True}, False),
        ({"configs": "mini"}, False),
    ],
)
def test_comparable(change, comparable):
    assert Settings(**({"configs": "full"} | change)).comparable is comparable


def test_full_configs_are_supported(runner, corpora):
    rows = run(TWO[:1], ALL, Settings(configs="full"), "out")
    assert [config_in(argv)["runner"]["total_steps"] for argv in runner.calls[::2]] == [
        100_000,
        200_000,
        200_000,
        200_000,
    ]
    assert rows[0].comparable and rows[0].score is None  # the runner's numbers are below FBANK's
    assert corpora.prepared[0][2] == ["train-clean-100", "dev-clean", "test-clean"]
    assert "for orientation" not in Path("out/table.md").read_text()


@pytest.mark.parametrize(
    ("text", "upstream"),
    [
        ("fbank", Upstream("fbank", "fbank")),
        ("base=hubert_base", Upstream("base", "hubert_base")),
        ("hubert_base@hidden_state_3", Upstream("hubert_base", "hubert_base", None, "hidden_state_3")),
        ("s-1.0=fithubert:a/s.safetensors@last", Upstream("s-1.0", "fithubert", "a/s.safetensors", "last")),
        ("fithubert:lr=1/s.ckpt", Upstream("fithubert", "fithubert", "lr=1/s.ckpt")),
        ("t=x:https://a@b.c/d=e?f", Upstream("t", "x", "https://a@b.c/d=e?f")),
        ("x:C:\\a.ckpt@y", Upstream("x", "x", "C:\\a.ckpt", "y")),
    ],
)
def test_upstreams_are_read(text, upstream):
    assert parse_upstream(text) == upstream


@pytest.mark.parametrize(
    "text", ["", "=fbank", "a/b=fbank", "..=fbank", "fbank@", "fithubert:", "a=", "two words", "-x=y"]
)
def test_upstreams_that_cannot_be_read(text):
    with pytest.raises(FitHubertError, match=r"expected \[LABEL=\]NAME\[:CKPT\]\[@FEATURE\]"):
        parse_upstream(text)


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
        (["-u", "fbank", "--override", "sid:a=1"], "--override sid:a=1: expected TASK:KEY=VALUE"),
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


@pytest.mark.parametrize(
    ("task", "variable"),
    [("pr", "LIBRISPEECH"), ("asr", "LIBRISPEECH"), ("ks", "SPEECH_COMMANDS"), ("sv", "VOXCELEB1")],
)
def test_a_missing_corpus_is_told_before_anything_runs(runner, corpora, monkeypatch, task, variable):
    monkeypatch.delenv(variable)
    with pytest.raises(FitHubertError, match=f"{task}.*{variable}"):
        run(TWO[:1], ALL, Settings(), "out")
    assert not runner.calls
    run(TWO[:1], [key for key in ALL if CORPORA[key] != variable], Settings(), "out")  # not needed by the others
    assert runner.calls


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


def test_parameters_of_real_upstreams(tmp_path):
    model = FitHubert(FitHubertConfig.from_dict(STUDENT))
    ckpt = str(tmp_path / "student.safetensors")
    save_fithubert(model, ckpt)
    assert count_parameters(Upstream("fbank", "fbank")) == 0
    count = count_parameters(Upstream("s", "fithubert", ckpt, "last_hidden_state"))
    assert count == sum(p.numel() for p in model.parameters())
    with pytest.raises(FitHubertError, match="expected a feature named last_state, found .*last_hidden_state"):
        count_parameters(Upstream("s", "fithubert", ckpt, "last_state"))
    with pytest.raises(FitHubertError, match="nowhere.safetensors"):
        count_parameters(Upstream("s", "fithubert", str(tmp_path / "nowhere.safetensors")))
    with pytest.raises(FitHubertError, match="nearest: .*fithubert"):
        count_parameters(Upstream("s", "fithubrt", ckpt))

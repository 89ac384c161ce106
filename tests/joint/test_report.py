"""`fithubert joint-report`: what is run, with which flags, what is not run again, and each mistake told before.

s3prl's runner is replaced by one that writes checkpoints and answers scores.
"""

import csv
import itertools
import json
from pathlib import Path

import pytest
import yaml

from fithubert_upstream import cli
from fithubert_upstream.downstream import run as run_downstream
from fithubert_upstream.errors import FitHubertError
from fithubert_upstream.joint import report as joint_report
from fithubert_upstream.joint.report import Plan, build_parser, config_of, main, parse_override, run
from fithubert_upstream.superb.names import Upstream
from fithubert_upstream.superb.running import jobs
from fithubert_upstream.superb.running.features import FeatureCache
from fithubert_upstream.superb.running.jobs import Running
from fithubert_upstream.superb.upstreams import Size

from ..helpers import small_corpora, superb_runs
from ..helpers.superb_runs import flag

CONFIG = {
    "runner": {
        "total_steps": 600,
        "gradient_clipping": 1,
        "log_step": 20,
        "eval_step": 100,
        "save_step": 300,
        "max_keep": 2,
        "eval_dataloaders": ["dev"],
    },
    "optimizer": {"name": "TorchOptim", "torch_optim_name": "Adam", "lr": 1.0e-4},
    "downstream_expert": {
        "tasks": ["ks", "sv"],
        "num_workers": 0,
        "ks": {"corpus": "words", "root": "${DSPSPEECH}", "batch_size": 16},
        "sv": {"corpus": "words", "root": "${DSPSPEECH}", "loss": {"name": "angular_softmax", "margin": 4}},
    },
}
TEACHER = Upstream("teacher", "hubert_mini")
STUDENT = Upstream("student", "fithubert", "student.safetensors", "last_hidden_state")
KINDS, MODES = ["ks", "sv", "joint"], ["frozen", "fine-tuned"]


def config_in(argv: list[str]) -> dict:
    """The finished config that s3prl is given."""
    return yaml.safe_load(Path(flag(argv, "-p"), "config.yaml").read_text())


def scores_of(tasks: list[str], fine_tuned: bool, seed: int) -> dict[str, float]:
    ks, sv = 0.75 + 0.125 * fine_tuned + seed / 64, 0.25 - 0.125 * fine_tuned + seed / 64
    return {f"joint_ks_sv/test-{name}": value for task, name, value in (("ks", "acc", ks), ("sv", "eer", sv))
            if task in tasks}  # fmt: skip


class Runner(superb_runs.Runner):
    """The same for joint runs, whose scores depend on tasks, mode and seed."""

    def train(self, folder: Path, argv: list[str]) -> dict[str, float]:
        tasks = config_in(argv)["downstream_expert"]["tasks"]
        (folder / "scores").write_text(json.dumps(scores_of(tasks, "-f" in argv, int(flag(argv, "--seed")))))
        for step in (150, 600, 300):
            (folder / f"states-{step}.ckpt").touch()
        if self.best:
            (folder / "dev-best.ckpt").touch()
        return {"joint_ks_sv/train-ks-loss": 1.0}

    def test(self, past: Path) -> dict[str, float]:
        return json.loads(past.with_name("scores").read_text())

    def trained(self) -> list[str]:
        """The folders that were trained in."""
        return ["/".join(Path(flag(a, "-p")).parts[-4:]) for a in self.calls if flag(a, "-m") == "train"]


@pytest.fixture
def runner(monkeypatch, tmp_path):
    runner = Runner()
    monkeypatch.setattr(run_downstream, "main", runner)
    monkeypatch.setattr("fithubert_upstream.superb.running.job.layer_weights", lambda checkpoint: None)  # empty files
    monkeypatch.setattr(joint_report, "check_corpora", list)  # there are none
    monkeypatch.setattr(joint_report, "plot", lambda runs, path, comparable: path.touch())  # test_joint_tables draws it
    parameters = {"teacher": 2_000_000, "student": 500_000}
    monkeypatch.setattr(jobs, "size_of", lambda upstream: Size(parameters.get(upstream.label, 0), 0))
    monkeypatch.setenv("DSPSPEECH", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "student.safetensors").write_bytes(b"weights")
    (tmp_path / "joint.yaml").write_text(yaml.safe_dump(CONFIG))
    return runner


def plan(**settings) -> Plan:
    return Plan(**({"config": "joint.yaml", "seeds": (1, 2)} | settings))


def test_order_results_and_files(runner, tmp_path, capsys):
    output = tmp_path / "out"
    runs = run([TEACHER, STUDENT], plan(), output)
    order = [(u, m, k, s) for s in (1, 2) for u in ("teacher", "student") for m in MODES for k in KINDS]
    assert [(r.upstream, r.mode, r.tasks, r.seed) for r in runs] == order and len(order) == 24
    assert runner.trained() == [f"{u}/{m}/{k}/seed-{s}" for u, m, k, s in order]
    tested = [flag(argv, "-e") for argv in runner.calls[1::2]]
    assert tested == [str(output / folder / "dev-best.ckpt") for folder in runner.trained()]
    assert all(argv[:4] == ["-m", "evaluate", "-t", "test"] for argv in runner.calls[1::2])
    for r in runs:
        tuned = r.mode == "fine-tuned"
        assert r.ks == (None if r.tasks == "sv" else 75 + 12.5 * tuned + r.seed * 1.5625)
        assert r.sv == (None if r.tasks == "ks" else 25 - 12.5 * tuned + r.seed * 1.5625)
        assert r.steps == (600 if r.tasks == "joint" else 300)

    titles = [line for line in capsys.readouterr().out.splitlines() if line.startswith("== ")]
    assert titles[0] == "== KS on teacher, frozen, seed 1 (1 of 24)"
    assert titles[-1] == "== JOINT on student, fine-tuned, seed 2 (24 of 24)"
    text = (output / "tables.md").read_text()
    assert "updates: ks 300, sv 300, joint 600." in text and "use half of total_steps" in text
    single, joint = text.split("## ")[1:]
    for table in (single, joint):  # mean 0.0234375 above, deviations -+ 0.78125: their root mean square times sqrt(2)
        (line,) = [line for line in table.splitlines() if line.startswith("| student  | fine-tuned")]
        cells = [cell.strip() for cell in line.split("|")[3:7]]
        assert cells == ["0.5", "2", "89.84 \N{PLUS-MINUS SIGN} 1.10 (n=2)", "14.84 \N{PLUS-MINUS SIGN} 1.10 (n=2)"]
    with (output / "runs.csv").open(newline="") as file:
        assert [line["tasks"] for line in csv.DictReader(file)] == [kind for _, _, kind, _ in order]
    assert (output / "joint.png").is_file() and not list(output.rglob("*.tmp"))

    result = json.loads((output / "student/fine-tuned/joint/seed-2/result.json").read_text())
    assert (result["ks"], result["sv"], result["steps"], result["seed"]) == (90.625, 15.625, 600, 2)
    assert result["settings"]["mode"] == "fine-tuned" and result["settings"]["runner.total_steps"] == 600
    assert result["command"][0].startswith("fithubert downstream -m train -u fithubert -k ")


def test_flags(runner, tmp_path):
    run([STUDENT], plan(seeds=(7,)), "out", Running(FeatureCache("cache")))
    for (mode, kind), train, test in zip(
        itertools.product(MODES, KINDS), runner.calls[::2], runner.calls[1::2], strict=True
    ):
        assert train[: train.index("-p")] == [
            *["-m", "train", "-u", "fithubert", "-k", str(tmp_path / "student.safetensors"), "-s", "last_hidden_state"],
            *["-d", "joint_ks_sv", "-c", str(tmp_path / f"out/student/{mode}/{kind}/seed-7/config.yaml")],
        ]
        assert flag(train, "-p") == str(tmp_path / "out/student" / mode / kind / "seed-7")
        assert flag(train, "--seed") == "7" and "-a" in train
        assert ("-f" in train) == (mode == "fine-tuned") and "-f" not in test
        cache = "cache" if mode == "frozen" else None  # features of a fine-tuned upstream change
        assert flag(train, "--feature-cache") == flag(test, "--feature-cache") == cache
        steps = {"total_steps": 300, "log_step": 10, "eval_step": 50, "save_step": 150}
        config = config_in(train)
        assert config["downstream_expert"]["tasks"] == (["ks", "sv"] if kind == "joint" else [kind])
        assert config["downstream_expert"]["ks"]["root"] == str(tmp_path)
        assert config["runner"] == CONFIG["runner"] | ({} if kind == "joint" else steps)


def test_a_value_may_hold_what_s3prls_overrides_cannot(runner):
    given = plan(seeds=(1,), modes=("frozen",), overrides=(parse_override("sv:downstream_expert.sv.root=a=b,,c"),))
    run([TEACHER], given, "out")
    for kind, argv in zip(KINDS, runner.calls[::2], strict=True):
        config = config_in(argv)
        assert config == config_of(kind, "frozen", given)
        assert config["downstream_expert"]["sv"]["root"] == ("a=b,,c" if kind == "sv" else str(Path.cwd()))


def test_overrides_of_all_runs_come_before_halving_and_those_of_a_kind_after(runner):
    texts = ["runner.total_steps=80", "runner.log_step=1", "sv:runner.total_steps=30", "joint:optimizer.lr=1e-2"]
    given = plan(overrides=tuple(map(parse_override, texts)))
    runners = {kind: config_of(kind, "frozen", given)["runner"] for kind in KINDS}
    steps = {kind: [r[f"{name}_step"] for name in ("log", "eval", "save")] for kind, r in runners.items()}
    assert {kind: r["total_steps"] for kind, r in runners.items()} == {"ks": 40, "sv": 30, "joint": 80}
    assert steps == {"ks": [1, 40, 40], "sv": [1, 30, 30], "joint": [1, 80, 80]}  # so that a checkpoint is saved
    rates = {kind: config_of(kind, "frozen", given)["optimizer"]["lr"] for kind in KINDS}
    assert rates == {"ks": 1e-4, "sv": 1e-4, "joint": 1e-2}


def test_frozen_and_fine_tuned_may_learn_at_different_rates(runner):
    run([TEACHER], plan(seeds=(1,), overrides=(parse_override("frozen:optimizer.lr=1e-2"),)), "out")
    found = {(argv[argv.index("-d") + 1], "-f" in argv): config_in(argv)["optimizer"]["lr"]
             for argv in runner.calls if flag(argv, "-m") == "train"}  # fmt: skip
    assert found == {("joint_ks_sv", False): 1e-2, ("joint_ks_sv", True): 1e-4}
    assert "frozen:optimizer.lr=0.01" in Path("out/tables.md").read_text()


def test_a_second_call_runs_nothing_and_a_wider_one_what_is_missing(runner, capsys):
    first = run([TEACHER], plan(seeds=(1,)), "out")
    calls, text = len(runner.calls), Path("out/tables.md").read_text()
    assert run([TEACHER], plan(seeds=(1,)), "out", Running(FeatureCache("elsewhere"))) == first
    assert len(runner.calls) == calls and Path("out/tables.md").read_text() == text
    assert capsys.readouterr().out.count("already done") == 6
    runs = run([TEACHER], plan(), "out")
    assert len(runs) == 12 and len(runner.calls) == 24
    assert all(folder.endswith("seed-2") for folder in runner.trained()[6:])


@pytest.mark.parametrize("error", [FitHubertError("no such split"), RuntimeError("broken"), KeyboardInterrupt()])
@pytest.mark.parametrize("fail_at", [4, 5])  # training and testing of the third run
def test_interruption_keeps_what_is_done(runner, error, fail_at):
    runner.error, runner.fail_at = error, fail_at
    with pytest.raises(type(error)) as raised:
        run([TEACHER], plan(), "out")
    if isinstance(error, FitHubertError):
        assert str(raised.value).startswith("JOINT on teacher, frozen, seed 1: no such split; ")
    done = sorted(path.parent.parent.name for path in Path("out").rglob("result.json"))
    assert done == ["ks", "sv"]
    assert "(n=1)" in Path("out/tables.md").read_text()

    runner.fail_at = None
    assert len(run([TEACHER], plan(), "out")) == 12
    resumed = runner.trained()[2 + (fail_at == 5)]  # -a, in the same folder
    assert resumed == "teacher/frozen/joint/seed-1"


@pytest.mark.parametrize("finished", [True, False])
@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("runner.total_steps=400", "runner.total_steps 300 and not 200"),
        ("ks:optimizer.lr=0.5", "optimizer.lr 0.0001 and not 0.5"),
        ("ks:downstream_expert.num_workers=1", "num_workers 0 and not 1"),
    ],
)
def test_a_run_of_other_settings_is_an_error(runner, finished, override, words):
    runner.error, runner.fail_at = KeyboardInterrupt(), 2 if finished else 1
    with pytest.raises(KeyboardInterrupt):
        run([TEACHER], plan(), "out")
    with pytest.raises(FitHubertError, match="seed-1: already holds a run with other settings") as error:
        run([Upstream("new", "fbank"), TEACHER], plan(overrides=(parse_override(override),)), "out")
    assert words in str(error.value) and "\n" not in str(error.value) and len(runner.calls) == runner.fail_at


def test_another_checkpoint_under_the_same_name_is_an_error(runner):
    small = plan(seeds=(1,), modes=("frozen",), tasks=("ks",))
    run([STUDENT], small, "out")
    Path("student.safetensors").rename("moved.safetensors")  # the same weights elsewhere are the same
    run([Upstream("student", "fithubert", "moved.safetensors", "last_hidden_state")], small, "out")
    assert len(runner.calls) == 2
    Path("student.safetensors").write_bytes(b"other weights")
    with pytest.raises(FitHubertError, match="other settings: ckpt"):
        run([STUDENT], small, "out")


def test_without_a_best_checkpoint_the_last_is_tested(runner, tmp_path):
    runner.best = False
    runs = run([TEACHER], plan(seeds=(1,), modes=("frozen",)), "out")
    folders = [tmp_path / "out/teacher/frozen" / kind / "seed-1" for kind in KINDS]
    assert [argv[4:6] for argv in runner.calls[1::2]] == [["-e", str(f / "states-600.ckpt")] for f in folders]
    text = Path("out/tables.md").read_text()
    for kind, r in zip(KINDS, runs, strict=True):
        assert f"- teacher, frozen, {kind}, seed 1: {r.note}" in text and "the last one was tested" in r.note


@pytest.mark.parametrize(
    ("text", "override"),
    [
        ("optimizer.lr=1e-3", (None, "optimizer.lr", 1e-3)),
        ("fine-tuned:optimizer.lr=1e-4", ("fine-tuned", "optimizer.lr", 1e-4)),
        ("sv:runner.total_steps=100", ("sv", "runner.total_steps", 100)),
        ("joint:runner.eval_dataloaders=[dev, test]", ("joint", "runner.eval_dataloaders", ["dev", "test"])),
        ("downstream_expert.sv.loss.name=am_softmax", (None, "downstream_expert.sv.loss.name", "am_softmax")),
    ],
)
def test_overrides_are_read(text, override):
    assert parse_override(text) == override


@pytest.mark.parametrize(
    ("overrides", "comparable"),
    [([], True), (["sv:runner.total_steps=10"], True), (["ks:downstream_expert.ks.corpus=words"], False)],
)
def test_comparable_are_the_papers_corpora_and_heads(tmp_path, monkeypatch, overrides, comparable):
    monkeypatch.setattr(joint_report, "DOWNSTREAM_CONFIGS", (tmp_path,))
    for name in ("joint_ks_sv.yaml", "mini/joint_ks_sv.yaml"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    overrides = tuple(map(parse_override, overrides))
    assert Plan(config="joint_ks_sv.yaml", overrides=overrides).comparable is comparable
    assert not Plan(overrides=overrides).comparable  # mini


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["-u", "a/b=fbank"], "-u a/b=fbank: expected [LABEL=]NAME"),
        (["-u", "fbank", "-u", "fbank"], "each label once"),
        (["-u", "fbank", "-c", "nowhere.yaml"], "nowhere.yaml: no such file"),
        (["-u", "fbank", "--override", "pr:a=1"], "--override pr:a=1: expected [WHICH:]KEY=VALUE"),
        (["-u", "fbank", "--override", "downstream_expert.tasks=[ks]"], "downstream_expert.tasks cannot be overridden"),
        (["-u", "fbank", "--override", "a.b=[1"], "found [1"),
        (["-u", "fbank", "--override", "runner.total_steps.x=1"], "expected a section total_steps"),
        (
            ["-u", "fbank", "--override", "runner.total_steps=few"],
            "config.runner.total_steps: expected int, found 'few'",
        ),
        (["-u", "fbank", "--override", "runner.total_steps=601"], "must be even"),
        (["-u", "fbank", "--override", "sv:runner.save_step=301"], "at most runner.total_steps, 300"),
    ],
)
def test_mistakes_are_told_in_one_line_before_anything_runs(runner, capsys, flags, words):
    assert cli.main(["joint-report", "-c", "joint.yaml", *flags, "-o", "out"]) == 2
    error = capsys.readouterr().err
    assert words in error and error.count("\n") == 1
    assert not runner.calls and not Path("out").exists()


def test_a_config_without_steps_and_a_variable_that_is_not_set(runner, monkeypatch):
    Path("empty.yaml").write_text("optimizer: {name: Adam}")
    with pytest.raises(FitHubertError, match="whole number of steps as runner.total_steps, found None"):
        run([TEACHER], plan(config="empty.yaml"), "out")
    monkeypatch.delenv("DSPSPEECH")
    with pytest.raises(FitHubertError, match="environment variable DSPSPEECH"):
        run([TEACHER], plan(), "out")
    assert not runner.calls


def test_command_line(runner, capsys):
    student = "student=fithubert:student.safetensors@last_hidden_state"
    flags = ["--seeds", "5", "5", "--modes", "fine-tuned", "--tasks", "joint", "sv", "--override", "optimizer.lr=1e-2"]
    runs = main(["-u", "teacher=hubert_mini", "-u", student, "-c", "joint.yaml", *flags, "-o", "out"])
    order = [(label, kind) for label in ("teacher", "student") for kind in ("joint", "sv")]
    assert [(r.upstream, r.tasks) for r in runs] == order and {(r.mode, r.seed) for r in runs} == {("fine-tuned", 5)}
    assert Path("out/tables.md").read_text() in capsys.readouterr().out
    assert all(config_in(argv)["optimizer"]["lr"] == 0.01 for argv in runner.calls[::2])


def test_help_says_that_steps_are_halved():
    assert "half of total_steps" in " ".join(build_parser().format_help().split())


def test_a_corpus_is_looked_at_before_the_first_run(tmp_path, monkeypatch, capsys):
    """What is wrong with one task stops the report before the other is trained."""
    block = small_corpora.joint_block(small_corpora.words(tmp_path / "words"))
    block["sv"]["trials"] = "none.txt"
    (tmp_path / "joint.yaml").write_text(yaml.safe_dump(CONFIG | {"downstream_expert": block}))
    runner = Runner()
    monkeypatch.setattr(run_downstream, "main", runner)
    monkeypatch.setattr("fithubert_upstream.superb.running.job.layer_weights", lambda checkpoint: None)  # empty files
    argv = ["joint-report", "-u", "hubert_mini", "-c", str(tmp_path / "joint.yaml"), "-o", str(tmp_path / "out")]
    assert cli.main(argv) == 2
    assert "none.txt: expected a list of trials" in capsys.readouterr().err
    assert not runner.calls

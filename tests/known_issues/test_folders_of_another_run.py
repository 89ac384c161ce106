"""A run begun anew in a folder with another, longer one ended with that one's student, went on from its checkpoint, or
kept its best."""

import os

import pytest
import torch
import yaml

from fithubert_upstream import demo
from fithubert_upstream.checkpoints.load import load_fithubert
from fithubert_upstream.cli import main as cli
from fithubert_upstream.distillation import state as train_state
from fithubert_upstream.distillation.recipe import check_same_run, read_run_config
from fithubert_upstream.distillation.state import write_state
from fithubert_upstream.distillation.train import main as distill
from fithubert_upstream.downstream.tasks import TASKS
from fithubert_upstream.errors import FitHubertError
from fithubert_upstream.pretrain.run import main as pretrain
from fithubert_upstream.runs.folders import LEFT, check_free, check_newest, check_start
from fithubert_upstream.superb.names import Upstream, check_labels
from fithubert_upstream.superb.running.job import Job

from ..helpers.folders import contents
from ..helpers.tiny import make_corpus, make_teacher, write_configs


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs")
    make_teacher(folder / "teacher"), make_corpus(folder / "corpus")
    model, _ = write_configs(folder, folder / "teacher", folder / "corpus")
    recipe = {"data": {"train": [str(folder / "corpus")], "batch_size": 2}, "trainer": {"steps": 3, "save_every": 1}}
    (folder / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    return folder


@pytest.fixture(scope="module")
def run(world):
    """Six steps of `fithubert pretrain`, a checkpoint after three."""
    pretrain(flags(world, world / "run"))
    return world / "run"


def flags(world, folder, *more):
    return ["-g", str(world / "model.yaml"), "-c", str(world / "runner.yaml"), "-p", str(folder), *more]


def test_pretrain_anew(world, run, capsys):
    before = contents(run)
    shorter = "config.runner.total_steps=2,,config.runner.save_step=1"
    assert cli(["pretrain", *flags(world, run, "--seed", "7", "-o", shorter)]) == 2
    error = capsys.readouterr().err
    assert "already holds another run (states-3.ckpt); resume it (-a)" in error
    assert contents(run) == before


def test_pretrain_goes_on_where_the_checkpoint_lies_now(world, run, tmp_path):
    """It went on in the folder that the checkpoint remembers."""
    before = contents(run)
    (tmp_path / "states-3.ckpt").write_bytes(before["states-3.ckpt"])
    student = pretrain(["-e", str(tmp_path)])
    assert student == tmp_path / "student.safetensors" and contents(run) == before
    ours, theirs = load_fithubert(student).state_dict(), load_fithubert(run / "student.safetensors").state_dict()
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)


def test_pretrain_from_an_earlier_checkpoint(run, capsys):
    assert cli(["pretrain", "-e", str(run / "states-3.ckpt")]) == 2
    assert "states-3.ckpt: expected the newest checkpoint of its folder" in capsys.readouterr().err


@pytest.mark.parametrize("name", LEFT)
def test_a_training_of_s3prls_runner_anew(tmp_path, name):
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / "args.yaml").write_text("")
    check_start(None, str(folder), None, False)  # broken off before it left anything
    (folder / name.replace("*", "4")).write_text("")
    with pytest.raises(FitHubertError, match="already holds another run "):
        check_start(None, str(folder), None, False)
    if name == "states-*.ckpt":
        check_start(None, str(folder), None, True)
    else:
        with pytest.raises(FitHubertError, match="already holds another run "):
            check_start(None, str(folder), None, True)  # -a finds nothing to go on from


def test_it_goes_on_from_the_newest_only(tmp_path):
    for name in ("states-20.ckpt", "states-100.ckpt", "dev-best.ckpt"):
        (tmp_path / name).write_text("")
    check_newest(tmp_path / "states-100.ckpt")
    check_start(str(tmp_path), None, None, False)
    for name in ("states-20.ckpt", "dev-best.ckpt"):
        with pytest.raises(FitHubertError, match="found the later states-100.ckpt"):
            check_start(str(tmp_path / name), None, None, False)


def test_a_training_without_a_name(capsys):
    assert cli("downstream -m train -u fbank -d ctc -c pr.yaml".split()) == 2
    assert "expected -n NAME or -p DIR for the results, found neither" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["student.safetensors", "step-9.ckpt", "states-4.ckpt"])
def test_distillation(world, tmp_path, name):
    config = read_run_config(str(world / "model.yaml"), str(world / "recipe.yaml"), [])
    (tmp_path / name).write_text("")
    with pytest.raises(FitHubertError, match="already holds another run "):
        check_same_run(tmp_path, config)
    (tmp_path / "config.yaml").write_text(config.to_yaml())
    with pytest.raises(FitHubertError, match="expected last.ckpt beside "):
        check_same_run(tmp_path, config)


def test_distillation_broken_off_before_it_saved(world, tmp_path):
    config = read_run_config(str(world / "model.yaml"), str(world / "recipe.yaml"), [])
    (tmp_path / "config.yaml").write_text(config.to_yaml())
    check_same_run(tmp_path, config)
    (tmp_path / "best.safetensors").write_text("")
    check_same_run(tmp_path, config)
    other = read_run_config(str(world / "model.yaml"), str(world / "recipe.yaml"), ["optimizer.lr=1"])
    with pytest.raises(FitHubertError, match="another config: optimizer.lr"):
        check_same_run(tmp_path, other)


@pytest.mark.slow
def test_distillation_of_fewer_steps(world, tmp_path, capsys):
    words = ["-g", str(world / "model.yaml"), "-c", str(world / "recipe.yaml"), "-p", str(tmp_path), "trainer.keep=2"]
    distill(words)
    kept = sorted(path.name for path in tmp_path.glob("*.ckpt"))
    assert kept == ["last.ckpt", "step-2.ckpt"]
    assert cli(["distill", *words, "trainer.steps=2"]) == 2
    assert "expected a run of 2 updates at most, found one that has made 3" in capsys.readouterr().err
    distill(words)  # nothing is left to do
    assert sorted(path.name for path in tmp_path.glob("*.ckpt")) == kept


def test_no_hard_links(tmp_path, monkeypatch):
    """exFAT and some shares: `trainer.keep=2` ended in a `PermissionError` at the second save."""

    def refuse(*args):
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(train_state.os, "link", refuse)
    (tmp_path / "step-mine.ckpt").write_text("not ours")
    for step in range(1, 5):
        write_state({"step": step}, tmp_path / "last.ckpt", keep=3)
    found = {path.name: torch.load(path)["step"] for path in tmp_path.glob("*.ckpt") if path.name != "step-mine.ckpt"}
    assert found == {"last.ckpt": 4, "step-3.ckpt": 3, "step-2.ckpt": 2}
    monkeypatch.delattr(train_state.os, "link")
    write_state({"step": 5}, tmp_path / "last.ckpt", keep=2)
    assert torch.load(tmp_path / "step-4.ckpt") == {"step": 4}


def job(folder) -> Job:
    return Job(Upstream("a", "fbank"), TASKS["ks"], {"seed": 1}, folder, {})


def test_a_task_of_superb(tmp_path):
    job(tmp_path).check()
    (tmp_path / "states-4.ckpt").write_text("")
    with pytest.raises(FitHubertError, match=r"already holds another run \(states-4.ckpt\); remove it"):
        job(tmp_path).check()
    (tmp_path / "settings.json").write_text('{"seed": 1}')
    job(tmp_path).check()


def test_a_demo(tmp_path):
    settings = demo.Settings(None, None, None, ["train"], ["dev"], ["test"], {}, 1, [1], 1)
    os.mkdir(tmp_path / "pretrain")
    (tmp_path / "pretrain" / "states-4.ckpt").write_text("")
    with pytest.raises(FitHubertError, match="pretrain: already holds another run"):
        demo._claim(tmp_path, settings)
    (tmp_path / "pretrain" / "states-4.ckpt").unlink()
    demo._claim(tmp_path, settings)
    demo._claim(tmp_path, settings)


def test_labels_that_differ_in_case_only():
    """Their folders are one on many systems."""
    with pytest.raises(FitHubertError, match="expected each label once"):
        check_labels([Upstream("student", "fbank"), Upstream("Student", "fbank")])


def test_a_free_folder(tmp_path):
    check_free(tmp_path / "none", "")
    (tmp_path / "notes.txt").write_text("")
    check_free(tmp_path, "")

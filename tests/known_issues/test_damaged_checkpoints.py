"""The newest checkpoint of `distill` or `pretrain` was cut short: resuming ended in a traceback, or in "expected a
checkpoint", though the one before it lay beside. What does not fit, or comes from elsewhere, was told by tracebacks.
"""

import re

import pytest
import torch
import yaml

from fithubert_upstream.checkpoints.torch_files import misfit, newest_whole, read_own, states_in
from fithubert_upstream.distillation.state import has_state, read_state, write_state
from fithubert_upstream.distillation.train import main as distill
from fithubert_upstream.errors import FitHubertError
from fithubert_upstream.pretrain import run as run_pretrain

from ..conftest import REPO
from ..helpers.saved_runs import cut_short
from ..helpers.tiny import STUDENT, make_corpus, make_teacher, write_configs


def test_the_package_reads_torch_files_in_one_place():
    for path in (REPO / "fithubert_upstream").rglob("*.py"):
        if path.name != "torch_files.py":
            assert not re.search(r"torch\.load\(|int\(.*split\(.-.\)", path.read_text(encoding="utf-8")), path


# distill


def test_last_is_damaged_and_one_before_it_is_there(tmp_path, capsys):
    last = tmp_path / "last.ckpt"
    for step in (1, 2, 10):
        write_state({"step": step}, last, keep=3)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["last.ckpt", "step-1.ckpt", "step-2.ckpt"]
    cut_short(last)
    assert read_state(last)["step"] == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and "last.ckpt: expected a checkpoint" in error and "from step-2.ckpt" in error
    write_state({"step": 3}, last, keep=3)  # the damaged one is not kept
    assert read_state(last)["step"] == 3 and not (tmp_path / "step-10.ckpt").exists()

    last.unlink()
    assert has_state(last) and read_state(last)["step"] == 2
    for path in tmp_path.iterdir():
        cut_short(path)
    with pytest.raises(FitHubertError, match="step-2.ckpt: expected .*remove it to start over"):
        read_state(last)


def test_a_student_of_another_shape(tmp_path, monkeypatch):
    """Its config.yaml, which would have told, is gone."""
    monkeypatch.chdir(tmp_path)
    make_corpus(tmp_path / "corpus", 2)
    teacher = make_teacher(tmp_path / "teacher")
    recipe = {"data": {"train": ["corpus"], "batch_size": 2}, "optimizer": {}, "trainer": {"steps": 1}}
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    model = {"student": STUDENT, "teacher": {"model": str(teacher)}, "loss": {}}
    (tmp_path / "model.yaml").write_text(yaml.safe_dump(model))
    argv = ["-g", "model.yaml", "-c", "recipe.yaml", "-p", "run", "trainer.precision=32-true"]
    distill(argv)
    (tmp_path / "run" / "config.yaml").unlink()
    with pytest.raises(FitHubertError, match="holds a run of another student: .*expected shape"):
        distill([*argv, "model.student.ffn_dim=16", "trainer.steps=2"])


# pretrain


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    root = tmp_path_factory.mktemp("world")
    make_teacher(root / "teacher")
    make_corpus(root / "corpus", 4)
    files = write_configs(root, "teacher", root / "corpus", total_steps=4, save_step=2)  # a relative teacher
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        argv = ["-g", files[0].name, "-c", files[1].name, "-p", "run", "--device", "cpu"]
        run_pretrain.main([*argv, "-o", "config.pretrain_expert.datarc.train=['corpus/train']"])
    return root


def test_pretrain_goes_on_from_the_one_before_and_from_another_folder(world, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    run = world / "run"
    whole = {path: path.read_bytes() for path in states_in(run)}
    before = torch.load(run / "states-4.ckpt", weights_only=True)["FitHubert"]
    cut_short(run / "states-4.ckpt")
    try:
        run_pretrain.main(["-e", str(run), "--device", "cpu"])
        told = [line for line in capsys.readouterr().err.splitlines() if "instead" in line]
        assert len(told) == 1 and "states-4.ckpt: expected a checkpoint of `fithubert pretrain`" in told[0]
        after = torch.load(run / "states-4.ckpt", weights_only=True)["FitHubert"]
        assert all(torch.equal(before[name], after[name]) for name in before)
        assert not list(tmp_path.iterdir())
    finally:
        for path, content in whole.items():
            path.write_bytes(content)


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--seed", "7"], "--seed: expected 1337, as in the original run, found 7"),
        (["-g", "fithubert_mini.yaml"], "-g fithubert_mini.yaml: expected the file of the original run"),
        (["-c", "other.yaml"], "config.optimizer.lr 0.5 and not 0.001"),
    ],
)
def test_pretrain_with_other_flags_than_the_run(world, tmp_path, monkeypatch, flags, words):
    monkeypatch.chdir(world)
    config = yaml.safe_load((world / "runner.yaml").read_text())
    config["optimizer"]["lr"] = 0.5
    (world / "other.yaml").write_text(yaml.safe_dump(config))
    for place in (["-e", "run"], ["-p", "run", "-a"]):
        with pytest.raises(FitHubertError, match=re.escape(words)):
            run_pretrain.read_arguments([*place, *flags])
        same = ["-g", "model.yaml", "-c", "runner.yaml", "--seed", "1337", "--device", "cpu"]
        args, _ = run_pretrain.read_arguments([*place, *same])
        assert args.init_ckpt == "run/states-4.ckpt" and args.expdir == "run"


def test_pretrain_from_a_checkpoint_of_something_else(world, tmp_path):
    torch.save({"Args": None, "Config": {}}, tmp_path / "states-1.ckpt")
    with pytest.raises(FitHubertError, match="expected a checkpoint of `fithubert pretrain`, found something else"):
        run_pretrain.read_arguments(["-e", str(tmp_path)])


# both


def test_newest_whole(tmp_path):
    def read(path):
        return read_own(path, "x", ("a",))

    paths = [tmp_path / name for name in ("1", "2")]
    for path in paths:
        torch.save({"a": path.name}, path)
    assert newest_whole(paths, read) == (paths[1], {"a": "2"})
    with pytest.raises(FitHubertError, match="found none"):
        newest_whole([], read)


def test_misfit():
    one = {"a": torch.zeros(2), "_extra_state": {"n": 1}}
    assert misfit(one, one) is None
    assert misfit(one, one | {"a": torch.zeros(3)}) == "a: expected shape (2,), found (3,)"
    assert misfit(one, {"a": one["a"]}) == "1 (_extra_state) missing, none unexpected"

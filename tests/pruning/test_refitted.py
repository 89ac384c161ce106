"""`criterion: reconstruction` from the command line: one step, to its size, and on after an interruption."""

import os
import signal

import pytest
import torch

from fithubert_upstream.checkpoints.load import load_fithubert
from fithubert_upstream.cli import main as cli
from fithubert_upstream.distillation.train import Training
from fithubert_upstream.pruning.run import main

from ..helpers import pruning
from ..helpers.pruning import make_world, size
from ..helpers.training import losses, weights


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    return make_world(tmp_path_factory.mktemp("refitted"))


def flags(world, folder, *words: str, **model) -> list[str]:
    how = {"sparsity": 0.4, "criterion": "reconstruction", "calibration_seconds": 10}
    return pruning.flags(world, folder, words, how | model, distill=40)


@pytest.fixture(scope="module")
def unbroken(world):
    assert main(flags(world, world / "unbroken")) == world / "unbroken" / "student.safetensors"
    return world / "unbroken"


def test_a_run_begins_at_its_size_and_learns(world, unbroken):
    teacher, student = (load_fithubert(f) for f in (world / "teacher.safetensors", unbroken / "student.safetensors"))
    assert 1 - size(student) / size(teacher) == pytest.approx(0.4, abs=0.01)
    assert student.config.hidden_states == ("layers",)
    rows = losses(unbroken)
    assert list(rows[0]) == ["step", "loss", "layer_0", "layer_1", "layer_3", "valid", "lr"]
    early, late = (sum(row["loss"] for row in part) / 10 for part in (rows[:10], rows[-10:]))
    assert late < early - 0.005  # it begins near to its teacher
    assert not (unbroken / "prune").exists()
    finished = weights(unbroken)
    main(flags(world, unbroken))  # nothing is left to do
    assert torch.equal(weights(unbroken), finished)


def test_a_broken_run_goes_on_to_the_last_digit(world, unbroken, tmp_path, monkeypatch):
    folder, update = tmp_path / "run", Training.update

    def update_and_signal(self, batches):
        update(self, batches)
        if self.step == 15:
            os.kill(os.getpid(), signal.SIGTERM)

    with monkeypatch.context() as patch:
        patch.setattr(Training, "update", update_and_signal)
        with pytest.raises(SystemExit):
            main(flags(world, folder))
    with monkeypatch.context() as patch:
        patch.setattr("fithubert_upstream.pruning.run.prune_at_once", None)  # its structure is in the checkpoint
        main(flags(world, folder))
    assert losses(folder) == losses(unbroken) and torch.equal(weights(folder), weights(unbroken))


def test_behind_time_reduction(world, tmp_path):
    student = load_fithubert(main(flags(world, tmp_path / "run", "distill.trainer.steps=3", time_reduction=2)))
    assert student.config.time_reduction == 2


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["model.sparsity=0.99"], "expected a sparsity below 0."),
        (["model.layers=[0, 4]"], "expected layers that end in the teacher's last, 3, found [0, 4]"),
        (["data.train=/no/corpus"], "/no/corpus"),
    ],
)
def test_mistakes_are_one_line_and_leave_nothing(world, tmp_path, capsys, words, message):
    assert cli(["prune", *flags(world, tmp_path / "run", *words)]) == 2
    last = capsys.readouterr().err.strip().splitlines()[-1]
    assert last.startswith("fithubert prune: ") and message in last
    assert not (tmp_path / "run").exists()

"""Both steps on tiny data: sparsity, size, loss, and what an interruption leaves."""

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
from ..helpers.tiny import make_teacher
from ..helpers.training import losses, weights


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    return make_world(tmp_path_factory.mktemp("prune"))


def flags(world, folder, *words: str, steps: int = 200, **model) -> list[str]:
    how = {"sparsity": 0.5, "sparsity_warmup": 0.7, "gate_lr": 0.16}
    return pruning.flags(world, folder, words, how | model, prune=steps, distill=60)


@pytest.fixture(scope="module")
def unbroken(world):
    assert main(flags(world, world / "unbroken")) == world / "unbroken" / "student.safetensors"
    return world / "unbroken"


@pytest.mark.slow
def test_a_run_reaches_its_sparsity_and_learns(world, unbroken):
    first, second = losses(unbroken / "prune"), losses(unbroken)
    assert list(first[0]) == [
        "step", "loss", "layer_0", "layer_1", "layer_3", "sparsity", "target_sparsity", "valid", "lr",
    ]  # fmt: skip
    assert list(second[0]) == ["step", "loss", "layer_0", "layer_1", "layer_3", "valid", "lr"]
    assert first[0]["target_sparsity"] == 0 and first[-1]["target_sparsity"] == pytest.approx(0.5)
    assert first[-1]["sparsity"] == pytest.approx(0.5, abs=0.05)
    teacher, small = (
        size(load_fithubert(world / "teacher.safetensors")),
        load_fithubert(unbroken / "student.safetensors"),
    )
    assert 1 - size(small) / teacher == pytest.approx(0.5, abs=0.02)
    assert small.config == load_fithubert(unbroken / "prune" / "student.safetensors").config
    early, late = (sum(row["loss"] for row in rows) / 20 for rows in (second[:20], second[-20:]))
    assert late < early - 0.02
    assert {path.name for path in (unbroken / "prune").iterdir()} == {
        "config.yaml", "last.ckpt", "student.safetensors", "losses.csv", "losses.png", "tensorboard",
    }  # fmt: skip
    assert (unbroken / "best.safetensors").is_file()
    finished = weights(unbroken)
    main(flags(world, unbroken))  # nothing is left to do
    assert losses(unbroken) == second and torch.equal(weights(unbroken), finished)


@pytest.mark.slow
@pytest.mark.parametrize("stop", [30, 210])
def test_a_broken_run_goes_on_to_the_last_digit(world, unbroken, tmp_path, monkeypatch, stop):
    """Broken off in the first step, or in the second."""
    folder, update, made = tmp_path / "run", Training.update, []

    def update_and_signal(self, batches):
        update(self, batches)
        made.append(self.step)
        if len(made) == stop:
            os.kill(os.getpid(), signal.SIGTERM)

    arguments = flags(world, folder)
    with monkeypatch.context() as patch:
        patch.setattr(Training, "update", update_and_signal)
        with pytest.raises(SystemExit) as caught:
            main(arguments)
    assert caught.value.code == 128 + signal.SIGTERM and not (folder / "student.safetensors").exists()
    main(arguments)
    assert losses(folder / "prune") == losses(unbroken / "prune") and losses(folder) == losses(unbroken)
    assert torch.equal(weights(folder), weights(unbroken))


@pytest.mark.slow
def test_the_second_step_begins_where_the_first_ended(world, unbroken, tmp_path):
    """Its first loss is that of the first step's student and maps."""
    from fithubert_upstream.data.loader import build_dataloader
    from fithubert_upstream.distillation.recipe import read_run_config
    from fithubert_upstream.pruning.config import PruningRun
    from fithubert_upstream.pruning.objective import l1_minus_cosine
    from fithubert_upstream.pruning.students import States

    arguments = flags(world, tmp_path / "run")
    _, step = read_run_config(arguments[1], arguments[3], (), PruningRun).steps()
    batch = next(iter(build_dataloader(step.train.data, step.train.trainer.seed)))
    maps = torch.load(unbroken / "prune" / "last.ckpt", weights_only=True)["further_heads"]
    student, teacher = (
        load_fithubert(place) for place in (unbroken / "prune" / "student.safetensors", world / "teacher.safetensors")
    )
    with torch.no_grad():
        learned, known = States(student)(batch.waveforms)[0], States(teacher)(batch.waveforms)[0]
    names = {0: "projection", 1: "layer", 3: "layer"}
    mapped = [
        learned[n] @ maps[f"maps.maps.{name}.weight"].T + maps[f"maps.maps.{name}.bias"] for n, name in names.items()
    ]
    expected = l1_minus_cosine(mapped, [known[n] for n in names], None)
    row = losses(unbroken)[0]
    assert [row[f"layer_{n}"] for n in names] == pytest.approx(expected.tolist(), abs=1e-4)
    assert row["loss"] == pytest.approx(expected.mean().item(), abs=1e-4)


def test_a_run_too_short_for_its_sparsity_says_so(world, tmp_path, capsys):
    folder = tmp_path / "run"
    assert cli(["prune", *flags(world, folder, steps=4)]) == 2
    message = capsys.readouterr().err.strip().splitlines()[-1]
    assert "expected a sparsity of 0.5 after 4 updates, found" in message and "prune.trainer.steps" in message
    assert not (folder / "prune" / "student.safetensors").exists()
    ckpt = folder / "prune" / "last.ckpt"
    assert (
        cli(["convert", str(ckpt), "-o", str(tmp_path / "s.safetensors")]) == 2
    )  # not a student: its gates are missing
    assert not (tmp_path / "s.safetensors").exists()
    assert cli(["prune", *flags(world, folder, "model.sparsity=0.6", steps=4)]) == 2
    assert "model.sparsity is 0.5 there and 0.6 here" in capsys.readouterr().err


def test_two_rates_and_multipliers_uphill(world, tmp_path):
    from fithubert_upstream.distillation.processes import build_fabric
    from fithubert_upstream.distillation.recipe import read_run_config
    from fithubert_upstream.pruning.config import PruningRun
    from fithubert_upstream.pruning.run import GatedTraining

    arguments = flags(world, tmp_path / "run", steps=10)
    step, _ = read_run_config(arguments[1], arguments[3], (), PruningRun).steps()
    training = GatedTraining(build_fabric("32-true"), step, tmp_path / "run")
    before = training.task.gates.expected_size().item()
    counted = sum(len(group["params"]) for group in training.optimizer.param_groups)
    assert counted == len(list(training.task.learner.parameters()))
    training.step = 5
    training.set_rates()
    assert [group["lr"] / training.optimizer.param_groups[0]["lr"] for group in training.optimizer.param_groups] == (
        pytest.approx([1, 1, 80, 80])
    )
    assert training.task.target == pytest.approx(0.5 * 4 / 7)
    training.task.loss(training.task.learner, torch.randn(2, 8000))[0].backward()
    training.optimizer.step()
    first, second = training.task.learner.further.multipliers.tolist()
    assert first < 0 < second and training.task.gates.expected_size().item() == pytest.approx(before, rel=0.1)


@pytest.mark.parametrize(
    ("words", "teacher", "message"),
    [
        (["model.sparsity=0.99"], None, "expected a sparsity below 0."),
        (["model.layers=[0, 1]"], None, "expected layers that end in the teacher's last, 3, found [0, 1]"),
        (["model.layers=[0, 4]"], None, "expected layers that end in the teacher's last, 3, found [0, 4]"),
        (["data.train=/no/corpus"], None, "/no/corpus"),
        (["-n", "name"], None, "expected -n NAME or -p FOLDER"),
        ([], "wavlm", "expected HuBERT or wav2vec 2.0, which can be pruned, found TransformersTeacher"),
    ],
)
def test_mistakes_are_one_line_and_leave_nothing(world, tmp_path, capsys, words, teacher, message):
    model = {}
    if teacher:
        model["teacher"] = {"source": "transformers", "model": str(make_teacher(tmp_path / "teacher", teacher))}
    assert cli(["prune", *flags(world, tmp_path / "run", *words, **model)]) == 2
    last = capsys.readouterr().err.strip().splitlines()[-1]
    assert last.startswith("fithubert prune: ") and message in last
    assert not (tmp_path / "run").exists()

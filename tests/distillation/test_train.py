import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from fithubert_upstream.checkpoints.load import load_fithubert
from fithubert_upstream.cli import main as cli
from fithubert_upstream.distillation.train import Training, main

from ..conftest import REPO
from ..helpers.tiny import TWO_LAYER, make_corpus, make_teacher
from ..helpers.training import NO_DROPOUT, flags, losses, weights


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """A teacher, and 10 utterances: an epoch of 5 batches, which 2 processes do not share evenly."""
    folder = tmp_path_factory.mktemp("distill")
    make_teacher(folder / "teacher"), make_corpus(folder / "corpus", utterances=10)
    return folder


# A run that sends a signal at a step, to itself or to the launcher above it.
SCRIPT = """
import os, sys
from fithubert_upstream.cli import main
from fithubert_upstream.distillation.train import Training

step, number, launcher = map(int, sys.argv[1:4])
update = Training.update

def update_and_break(self, batches):
    update(self, batches)
    if self.step == step and self.fabric.is_global_zero:
        os.kill(os.getppid() if launcher else os.getpid(), number)

Training.update = update_and_break
sys.exit(main(["distill", *sys.argv[4:]]))
"""


def break_off(script: Path, arguments: list[str], step: int, number: int, processes: int = 1) -> tuple[int, str]:
    """The exit code and the messages of a run in processes of its own, which gets a signal after an update."""
    script.write_text(SCRIPT)
    launcher = ["-m", "torch.distributed.run", "--nproc_per_node", str(processes)] if processes > 1 else []
    words = [str(step), str(int(number)), str(int(processes > 1))]
    done = subprocess.run(
        [sys.executable, *launcher, str(script), *words, *arguments],
        stderr=subprocess.PIPE,
        text=True,
        cwd=REPO,
        env=os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(REPO)},
        timeout=120,
    )
    return done.returncode, done.stderr


LONG = {"steps": 40, "save_every": 10, "valid_every": 20}


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    """As in the processes that are broken off: the last digit depends on it."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def unbroken(world):
    main(flags(world, world / "unbroken", **LONG))
    return world / "unbroken"


@pytest.mark.slow
def test_what_a_run_leaves(unbroken):
    names = {path.name for path in unbroken.iterdir()}
    files = {"config.yaml", "last.ckpt", "best.safetensors", "student.safetensors", "losses.csv", "losses.png"}
    assert names == files | {"tensorboard"}
    rows = losses(unbroken)
    assert list(rows[0]) == ["step", "loss", "layer_1", "layer_2", "valid", "lr"]
    assert [row["step"] for row in rows] == list(range(1, 41))
    assert [row["step"] for row in rows if row["valid"] is not None] == [20, 40]
    for row in rows:
        assert row["loss"] == pytest.approx(row["layer_2"] + 0.1 * row["layer_1"])
    assert rows[-1]["loss"] < 0.95 * rows[0]["loss"] and rows[-1]["lr"] == 0
    state = torch.load(unbroken / "last.ckpt", weights_only=True)
    assert state["step"] == state["batches"] == 40 and len(state["random_states"]) == 1
    assert state["best"] == min(row["valid"] for row in rows if row["valid"] is not None)
    last = torch.cat([p.flatten() for p in load_fithubert(unbroken / "last.ckpt").parameters()])
    assert torch.equal(last, weights(unbroken))


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_saves_and_the_same_command_goes_on(world, unbroken, tmp_path, monkeypatch, capsys, number):
    """Dropout on, several epochs: what follows is the unbroken run to the last digit."""
    folder, update = tmp_path / "run", Training.update

    def update_and_signal(self, batches):
        update(self, batches)
        if self.step == 7:
            os.kill(os.getpid(), number)

    arguments = flags(world, folder, **LONG)
    monkeypatch.setattr(Training, "update", update_and_signal)
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert caught.value.code == 128 + number
    assert capsys.readouterr().err.splitlines()[-1] == "saved at step 7; run the same command to resume"
    assert torch.load(folder / "last.ckpt", weights_only=True)["step"] == losses(folder)[-1]["step"] == 7
    assert not (folder / "student.safetensors").exists()
    monkeypatch.setattr(Training, "update", update)
    main(arguments)
    assert losses(folder) == losses(unbroken)
    assert torch.equal(weights(folder), weights(unbroken))


@pytest.mark.slow
def test_after_kill_9_it_goes_on_from_the_last_save(world, unbroken, tmp_path):
    folder = tmp_path / "run"
    arguments = flags(world, folder, **LONG)
    assert break_off(tmp_path / "break.py", arguments, 13, signal.SIGKILL)[0] == -signal.SIGKILL
    assert torch.load(folder / "last.ckpt", weights_only=True)["step"] == 10
    main(arguments)
    assert losses(folder) == losses(unbroken)
    assert torch.equal(weights(folder), weights(unbroken))


@pytest.mark.slow
def test_two_processes_learn_as_one(world, tmp_path):
    """The same batches an update, dropout off (its draws differ); broken off, and taken up again by one process."""
    one, two = tmp_path / "one", tmp_path / "two"
    settings = {"student": NO_DROPOUT, "steps": 40, "save_every": 100, "valid_every": 5, "clip": 0.5}
    main(flags(world, one, accumulate=2, **settings))
    arguments = flags(world, two, accumulate=1, **settings)
    message = break_off(tmp_path / "break.py", arguments, 10, signal.SIGTERM, processes=2)[1]  # torchrun passes it on
    state = torch.load(two / "last.ckpt", weights_only=True)
    assert f"saved at step {state['step']}; run the same" in message
    assert 10 <= state["step"] < 40 and state["batches"] == 2 * state["step"] and len(state["random_states"]) == 2
    main(flags(world, two, accumulate=2, **settings))
    assert len(losses(two)) == 40
    for row, other in zip(losses(one), losses(two), strict=True):
        assert {name for name in row if row[name] is None} == {name for name in other if other[name] is None}
        for name in row:
            assert row[name] == other[name] or row[name] == pytest.approx(other[name], abs=1e-5, rel=0), (row, other)
    torch.testing.assert_close(weights(one), weights(two), atol=1e-5, rtol=0)


def test_an_update_is_the_mean_of_its_batches(world, tmp_path):
    """Against the sum written out: two batches, their losses' mean, one step of AdamW."""
    from fithubert_upstream.data.loader import build_dataloader
    from fithubert_upstream.distillation.recipe import read_run_config
    from fithubert_upstream.distillation.task import DistillationTask

    arguments = flags(world, tmp_path / "run", student=NO_DROPOUT, steps=2, accumulate=2)
    main(arguments)
    config = read_run_config(arguments[1], arguments[3])
    torch.manual_seed(config.train.trainer.seed)
    task = DistillationTask.from_config(config.model)
    decayed = [p for name, p in task.student.named_parameters() if "bias" not in name]
    others = [p for name, p in task.student.named_parameters() if "bias" in name]
    groups = [{"params": decayed, "weight_decay": 0.01}, {"params": others, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, betas=(0.9, 0.98), eps=1e-6)
    batches = iter(build_dataloader(config.train.data, config.train.trainer.seed))
    for rate in (1e-3 * 0.5 / 0.95, 0.0):
        optimizer.param_groups[0]["lr"] = optimizer.param_groups[1]["lr"] = rate
        optimizer.zero_grad()
        loss = (task(*next(batches))[0] + task(*next(batches))[0]) / 2
        loss.backward()
        optimizer.step()
    assert losses(tmp_path / "run")[-1]["loss"] == pytest.approx(loss.item(), abs=1e-6)
    expected = torch.cat([p.detach().flatten() for p in task.student.parameters()])
    torch.testing.assert_close(weights(tmp_path / "run"), expected, atol=1e-6, rtol=0)


def test_validation_is_the_mean_over_all_frames(world, tmp_path):
    from fithubert_upstream.audio.walk import find_audio
    from fithubert_upstream.audio.waveforms import load_waveform
    from fithubert_upstream.teachers.config import TeacherConfig
    from fithubert_upstream.teachers.teachers import load_teacher

    folder = tmp_path / "run"
    main(flags(world, folder, "data.crop=none", steps=3))
    student = load_fithubert(folder / "best.safetensors")
    teacher = load_teacher(TeacherConfig(model=str(world / "teacher")))
    error = count = 0.0
    for path in find_audio(world / "corpus" / "train", ["0"]):
        wav = load_waveform(path)[None]
        with torch.no_grad():
            ours, theirs = student(wav)[0][-1], teacher(wav)[-1]
        even = ours.size(1) // 2 * 2
        error, count = error + (ours - theirs)[:, :even].square().sum(), count + even * 24
    assert losses(folder)[-1]["valid"] == pytest.approx((error / count).item(), rel=1e-4)


def test_patience_ends_a_run_for_good(world, tmp_path):
    """A rate of 0 never gives a better validation than the first."""
    arguments = flags(world, tmp_path / "run", "optimizer.lr=0", steps=9, valid_every=1, patience=2)
    main(arguments)
    assert [row["step"] for row in losses(tmp_path / "run")] == [1, 2, 3]
    main(arguments)
    assert len(losses(tmp_path / "run")) == 3


def test_a_student_of_kerpiccis_kind(world, tmp_path):
    words = flags(world, tmp_path / "run", student=TWO_LAYER | {"head_layers": [2]}, steps=4)
    with (tmp_path / "run.model.yaml").open("a") as file:
        file.write("init_from_teacher: true\n")
    main(words)
    rows = losses(tmp_path / "run")
    assert list(rows[0]) == ["step", "loss", "layer_2", "valid", "lr"]
    assert rows[0]["loss"] == rows[0]["layer_2"] > rows[-1]["loss"]
    student = load_fithubert(tmp_path / "run" / "student.safetensors")
    assert student.config.head_kind == "prediction" and list(student.heads) == ["2"]


def test_epochs_rows_and_kept_checkpoints(world, tmp_path):
    """2 epochs of 5 batches, 2 an update; a row each 2 updates, and where a validation is made, once an epoch."""
    folder = tmp_path / "run"
    settings = {"steps": 0, "epochs": 2, "accumulate": 2, "log_every": 2, "save_every": 1, "valid_every": 0}
    main(flags(world, folder, keep=3, **settings))
    assert [row["step"] for row in losses(folder)] == [2, 3, 4, 5]
    assert {p.name for p in folder.glob("*.ckpt")} == {"last.ckpt", "step-3.ckpt", "step-4.ckpt"}
    every = tmp_path / "every"
    main(flags(world, every, **settings | {"log_every": 1}))
    first, second, third, *_ = (row["loss"] for row in losses(every))
    assert losses(folder)[0]["loss"] == pytest.approx((first + second) / 2)
    assert losses(folder)[1]["loss"] == pytest.approx(third)


def test_a_row_half_done_at_a_break_is_made_whole(world, tmp_path):
    """The means since the row before hold updates from before the break and from after it."""
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    settings = {"log_every": 4, "valid_every": 8, "steps": 8}
    main(flags(world, whole, save_every=3, keep=3, **settings))
    arguments = flags(world, broken, save_every=3, keep=3, **settings)
    broken.mkdir()
    (broken / "last.ckpt").write_bytes((whole / "step-6.ckpt").read_bytes())
    (broken / "losses.csv").write_bytes((whole / "losses.csv").read_bytes())
    main(arguments)
    assert losses(broken) == losses(whole)


def test_another_precision_on_resuming_is_told(world, tmp_path, capsys):
    arguments = flags(world, tmp_path / "run", steps=3)
    main([*arguments, "trainer.precision=auto"])
    state = torch.load(tmp_path / "run" / "last.ckpt", weights_only=True)
    first = state["precision_name"]
    other = {"bf16-mixed": "32-true", "32-true": "bf16-mixed"}[first]
    torch.save(state | {"precision_name": other}, tmp_path / "run" / "last.ckpt")
    capsys.readouterr()
    main([*arguments, "trainer.precision=auto", "trainer.steps=4"])
    assert f"precision {first} from here, {other} before" in capsys.readouterr().out


@pytest.mark.parametrize("precision", ["bf16-mixed", "16-mixed"])
def test_precisions_on_a_cpu(world, tmp_path, capsys, precision):
    main(flags(world, tmp_path / "run", f"trainer.precision={precision}", student=NO_DROPOUT, steps=3))
    main(flags(world, tmp_path / "full", student=NO_DROPOUT, steps=3))
    mixed, full = losses(tmp_path / "run"), losses(tmp_path / "full")
    error = capsys.readouterr().err
    if precision == "16-mixed" and not torch.cuda.is_available():
        assert "precision 32-true: 16-mixed needs a CUDA GPU" in error
        assert mixed == full
    else:
        assert mixed != full
    assert all(a["loss"] == pytest.approx(b["loss"], rel=0.02) for a, b in zip(mixed, full, strict=True))


def test_a_loss_that_is_no_number_stops_the_run(world, tmp_path, capsys):
    folder = tmp_path / "run"
    assert cli(["distill", *flags(world, folder, "optimizer.lr=1e30", save_every=1, log_every=5)]) == 2
    message = capsys.readouterr().err.strip().splitlines()[-1]
    assert message.startswith("fithubert distill: step 2: the loss became NaN or infinite") and "2 files" in message
    assert str(world / "corpus" / "train") in message
    state = torch.load(folder / "last.ckpt", weights_only=True)
    assert state["step"] == 1 and all(p.isfinite().all() for p in state["FitHubert"].values())


@pytest.mark.slow
def test_a_folder_of_another_run(world, tmp_path, capsys):
    folder = tmp_path / "run"
    main(flags(world, folder, steps=3))
    for word, message in (
        ("optimizer.lr=2e-3", "optimizer.lr is 0.001 there and 0.002 here"),
        ("trainer.accumulate=2", "expected 1 batches an update, as this run began with, found 2"),
    ):
        assert cli(["distill", *flags(world, folder, word, steps=3)]) == 2
        assert message in capsys.readouterr().err
    main(flags(world, folder, "trainer.steps=5", steps=3))
    assert [row["step"] for row in losses(folder)] == [1, 2, 3, 4, 5]
    (folder / "last.ckpt").write_bytes(b"half")
    assert cli(["distill", *flags(world, folder, steps=5)]) == 2
    assert "last.ckpt: expected a checkpoint of `fithubert distill`" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["data.train=/no/corpus"], "/no/corpus"),
        (["model.teacher.model=/no/teacher"], "/no/teacher"),
        (["model.student.head_dim=30"], "expected width 30"),
        (["trainer.step=3"], "did you mean 'trainer.steps'?"),
        (["-n", "name"], "expected -n NAME or -p FOLDER"),
    ],
)
def test_mistakes_are_one_line_and_leave_nothing(world, tmp_path, capsys, words, message):
    assert cli(["distill", *flags(world, tmp_path / "run", *words)]) == 2
    last = capsys.readouterr().err.strip().splitlines()[-1]
    assert last.startswith("fithubert distill: ") and message in last
    assert not (tmp_path / "run").exists()

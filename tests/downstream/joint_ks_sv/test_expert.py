"""The task in s3prl's own runner, end to end: what a run leaves, resuming, single tasks, what is refused before it."""

import copy
import math
import os
import shutil
import subprocess
import sys

import pytest
import torch
import yaml

from fithubert_upstream import cli
from fithubert_upstream.checkpoints.student import save_fithubert
from fithubert_upstream.downstream.joint_ks_sv.expert import DownstreamExpert
from fithubert_upstream.downstream.run import main
from fithubert_upstream.models.fithubert import FitHubert

from ...conftest import REPO
from ...helpers import small_corpora
from ...helpers.tiny import SMALL

RUNNER = {
    "total_steps": 6,
    "gradient_clipping": 1,
    "gradient_accumulate_steps": 1,
    "log_step": 1,
    "eval_step": 2,
    "save_step": 2,
    "max_keep": 5,
    "eval_dataloaders": ["dev"],
}


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    root = tmp_path_factory.mktemp("joint")
    small_corpora.words(root / "words")
    torch.manual_seed(0)  # this comes before the seed of each test
    save_fithubert(FitHubert(SMALL), root / "student.safetensors")
    optimizer = {"name": "TorchOptim", "torch_optim_name": "Adam", "lr": 1e-3}
    config = {"runner": RUNNER, "optimizer": optimizer, "downstream_expert": small_corpora.joint_block(root / "words")}
    (root / "joint.yaml").write_text(yaml.safe_dump(config))
    return root


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def flags(world, folder, *more: str) -> list[str]:
    task = ["-m", "train", "-d", "joint_ks_sv", "-c", str(world / "joint.yaml"), "-p", str(folder)]
    return [*task, "-u", "fithubert", "-k", str(world / "student.safetensors"), "--device", "cpu", *more]


@pytest.fixture(scope="module")
def unbroken(world):
    scalars = main(flags(world, world / "unbroken", "-f"))
    return world / "unbroken", scalars


def states(path):
    return torch.load(path, map_location="cpu", weights_only=True)


def test_what_a_run_leaves(unbroken):
    folder, scalars = unbroken
    assert {"train-ks-loss", "train-sv-loss", "dev-acc", "dev-eer"} == {tag.split("/")[1] for tag in scalars}
    assert 0 <= scalars["joint_ks_sv/dev-acc"] <= 1 and 0 <= scalars["joint_ks_sv/dev-eer"] <= 1
    names = {path.name for path in folder.iterdir()}
    assert {"states-2.ckpt", "states-6.ckpt", "dev-best.ckpt", "dev_keywords.txt", "dev_trials.txt"} <= names
    downstream = states(folder / "states-6.ckpt")["Downstream"]
    assert downstream["ks_head.weight"].shape == (3, 32) and downstream["sv_head.weight"].shape == (8, 32)
    assert downstream["sv_loss.updates"] == 3 and downstream["_extra_state"]["consumed"] == 6
    assert torch.isfinite(downstream["threshold"])
    lines = (folder / "dev_keywords.txt").read_text().splitlines()[1:]
    right = [found == truth for _, found, truth in map(str.split, lines)]
    assert sum(right) / len(right) == pytest.approx(scalars["joint_ks_sv/dev-acc"])
    assert len((folder / "dev_trials.txt").read_text().splitlines()) == 21


def test_the_best_has_the_lowest_mean_error(unbroken):
    folder, _ = unbroken
    best = states(folder / "dev-best.ckpt")
    errors = {n: states(folder / f"states-{n}.ckpt")["Downstream"]["best_error"].item() for n in (2, 4, 6)}
    assert best["Downstream"]["best_error"].item() == min(errors.values())  # it falls from evaluation to evaluation
    assert best["Step"] == min(n for n in errors if errors[n] == min(errors.values()))
    evaluated = main(["-m", "evaluate", "-t", "dev", "-e", str(folder / "dev-best.ckpt"), "--device", "cpu"])
    error = 50 * (1 - evaluated["joint_ks_sv/dev-acc"] + evaluated["joint_ks_sv/dev-eer"])
    assert error == pytest.approx(min(errors.values()), abs=1e-4)


def test_every_update_is_of_one_task(world, unbroken):
    """Adam's state counts the updates of each weight: the encoder's 6, each head's 3."""
    folder, _ = unbroken
    content = states(folder / "states-6.ckpt")
    counts = sorted({int(entry["step"]) for entry in content["Optimizer"]["state"].values()})
    assert counts == [3, 6]
    start, end = FitHubert(SMALL), content["Upstream"]
    moved = [name for name in start.state_dict() if f"model.{name}" in end]
    assert len(moved) == len(start.state_dict())


def test_resuming_makes_the_very_updates_that_were_missed(world, unbroken, tmp_path):
    folder, _ = unbroken
    broken = tmp_path / "broken"
    main(flags(world, broken, "-f", "-o", "config.runner.total_steps=4"))
    (broken / "states-4.ckpt").rename(tmp_path / "states-4.ckpt")
    shutil.rmtree(broken)
    broken.mkdir()
    content = states(tmp_path / "states-4.ckpt")
    assert content["Step"] == 4
    shutil.copy(tmp_path / "states-4.ckpt", broken / "states-4.ckpt")
    main(flags(world, broken, "-f", "-a", "-o", f"config.runner.total_steps=6,,args.expdir={broken}"))
    whole, resumed = states(folder / "states-6.ckpt"), states(broken / "states-6.ckpt")
    for part in ("Upstream", "Downstream", "Featurizer"):
        for name, value in whole[part].items():
            if isinstance(value, torch.Tensor):
                assert torch.equal(value, resumed[part][name]) or value.isnan().all(), (part, name)
    assert whole["Downstream"]["_extra_state"]["consumed"] == resumed["Downstream"]["_extra_state"]["consumed"]


@pytest.mark.parametrize(("task", "absent"), [("ks", "sv"), ("sv", "ks")])
def test_one_task_alone(world, tmp_path, task, absent):
    scalars = main(flags(world, tmp_path / task, "-o", f"config.downstream_expert.tasks=['{task}']"))
    assert {tag.split("/")[1] for tag in scalars} == {
        "ks": {"train-ks-loss", "dev-acc"},
        "sv": {"train-sv-loss", "dev-eer"},
    }[task]
    content = states(tmp_path / task / "states-6.ckpt")
    assert not any(name.startswith(absent) for name in content["Downstream"])
    assert "Upstream" not in content  # frozen


@pytest.mark.slow
def test_it_learns_what_can_be_learned(world, tmp_path):
    """Words are tones here, and a random encoder learns to tell them."""
    steps = "config.runner.total_steps=100,,config.runner.eval_step=50,,config.runner.save_step=50"
    options = f"{steps},,config.runner.log_step=50,,config.optimizer.lr=3.0e-3,,config.downstream_expert.tasks=['ks']"
    scalars = main(flags(world, tmp_path / "run", "-f", "-o", options))
    assert scalars["joint_ks_sv/train-ks-loss"] < 0.8 * math.log(3)
    scores = main(["-m", "evaluate", "-t", "test", "-e", str(tmp_path / "run" / "dev-best.ckpt"), "--device", "cpu"])
    assert scores["joint_ks_sv/test-acc"] > 0.4, (scalars, scores)


@pytest.mark.slow
def test_two_processes(world, tmp_path):
    """s3prl's own DDP over gloo: both tasks in turn, the same task in both processes."""
    script = tmp_path / "two.py"
    script.write_text(
        f"""
import os, sys, torch
torch.cuda.set_device = lambda device: None
sys.path.insert(0, {str(REPO)!r})
from fithubert_upstream.compat import s3prl as s3prl_compat
from fithubert_upstream.downstream.run import main
s3prl_compat.apply()
from s3prl.downstream import runner
wrap = runner.DDP
runner.DDP = lambda model, device_ids, **options: wrap(model, **options)  # device_ids are of GPUs
main({flags(world, tmp_path / "run", "-f")!r} + ["--local_rank", os.environ["LOCAL_RANK"], "--backend", "gloo"])
"""
    )
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node", "2", str(script)]
    done = subprocess.run(command, capture_output=True, text=True, env=os.environ | {"OMP_NUM_THREADS": "1"})
    assert done.returncode == 0, done.stderr[-3000:]
    assert states(tmp_path / "run" / "states-6.ckpt")["WorldSize"] == 2


def fails(capsys, *argv: str) -> str:
    assert cli.main(["downstream", *argv]) == 2
    error = capsys.readouterr().err
    assert "Traceback" not in error
    return error.strip().splitlines()[-1]


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("config.runner.gradient_accumulate_steps=2", ["gradient_accumulate_steps: expected 1", "found 2"]),
        ("config.downstream_expert.ks.classes=['cat']", ["two different classes or more", "found cat"]),
        ("config.downstream_expert.sv.trials='/none.txt'", ["/none.txt: expected a list of trials"]),
        ("config.downstream_expert.sv.margin=3", ["unknown key 'margin'"]),
        ("config.runner.eval_dataloaders=['valid']", ["split valid", "train, dev, test"]),
    ],
)
def test_mistakes_are_told_before_a_model_is_built(world, tmp_path, capsys, override, words):
    message = fails(capsys, *flags(world, tmp_path / "run", "-o", override))
    assert all(word in message for word in words), message
    assert not list((tmp_path / "run").glob("*.ckpt"))


def test_another_tasks_config(world, tmp_path, capsys):
    argv = flags(world, tmp_path / "run")
    argv[argv.index("-d") + 1] = "speech_commands"
    assert "expected downstream_expert.datarc" in fails(capsys, *argv)


def test_features_of_any_upstream_will_do(world):
    """The mean is over the frames of each utterance, whatever else is in the batch."""
    block = copy.deepcopy(small_corpora.joint_block(world / "words"))
    expert = DownstreamExpert(5, block, str(world), RUNNER).eval()
    short, long = torch.randn(7, 5), torch.randn(20, 5)
    records = {"found": [], "truth": [], "embeddings": [], "paths": []}
    expert("test", [short, long], "sv", ["a", "b"], records)
    alone = torch.nn.functional.normalize(expert.sv_head(short.mean(0)), dim=0)
    torch.testing.assert_close(records["embeddings"][0], alone)

import csv
import subprocess
import sys

import pytest
import torch
import yaml

from fithubert_upstream.checkpoints.load import load_fithubert
from fithubert_upstream.checkpoints.torch_files import states_in
from fithubert_upstream.cli import main as cli
from fithubert_upstream.errors import FitHubertError
from fithubert_upstream.pretrain.run import main, name_final_states, settle_precision
from fithubert_upstream.upstream.expert import UpstreamExpert

from ..conftest import REPO
from ..helpers.tiny import TWO_LAYER, make_corpus, make_teacher, write_configs


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pretrain")
    make_teacher(folder / "teacher"), make_corpus(folder / "corpus")
    return folder


def losses(expdir):
    with (expdir / "losses.csv").open() as file:
        return [(int(row["step"]), float(row["loss"])) for row in csv.DictReader(file)]


@pytest.fixture(scope="module")
def unbroken(world):
    """6 steps: a checkpoint after 3 and after 6."""
    model, runner = write_configs(world, world / "teacher", world / "corpus")
    main(["-u", "fithubert", "-g", str(model), "-c", str(runner), "-p", str(world / "unbroken")])
    return world / "unbroken"


def test_leaves_states_losses_and_a_student(unbroken):
    names = {p.name for p in unbroken.iterdir() if "tfevents" not in p.name}
    assert names == {
        "states-3.ckpt",
        "states-6.ckpt",
        "losses.csv",
        "student.safetensors",
        "config_model.yaml",
        "config_runner.yaml",
    }
    assert [step for step, _ in losses(unbroken)] == [1, 2, 3, 4, 5, 6]
    student, states = (
        load_fithubert(unbroken / "student.safetensors"),
        load_fithubert(unbroken / "states-6.ckpt"),
    )
    assert student.config == states.config
    assert all(torch.equal(a, b) for a, b in zip(student.parameters(), states.parameters(), strict=True))


@pytest.mark.slow
@pytest.mark.parametrize("flag", ["-a", "-e"])
def test_resuming_makes_the_very_steps_that_were_missed(world, unbroken, flag, tmp_path):
    """Dropout on, random crops, an epoch's end in between: the losses agree to the last digit."""
    broken = tmp_path / "broken"
    model, runner = write_configs(tmp_path, world / "teacher", world / "corpus")
    arguments = ["-g", str(model), "-c", str(runner), "-p", str(broken)]
    main(arguments)
    (broken / "states-6.ckpt").unlink()  # as if it had been killed at step 4, its log being ahead
    if flag == "-a":
        main([*arguments, "-a"])
    else:
        main(["-e", str(broken / "states-3.ckpt")])
    assert losses(broken) == losses(unbroken)
    one, other = (
        load_fithubert(broken / "student.safetensors"),
        load_fithubert(unbroken / "student.safetensors"),
    )
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), other.parameters(), strict=True))


def test_the_precision_is_the_runners_or_auto():
    for fp16, given, settled in ((True, None, "32-true"), (False, None, "auto"), (False, "bf16-mixed", "bf16-mixed")):
        config = {"runner": {"fp16": fp16}, "pretrain_expert": {"datarc": {"precision": given} if given else {}}}
        settle_precision(config)
        assert config["pretrain_expert"]["datarc"]["precision"] == settled
    config = {"runner": {"fp16": True}, "pretrain_expert": {"datarc": {"precision": "auto"}}}
    with pytest.raises(FitHubertError, match="found True and auto; leave one out"):
        settle_precision(config)


@pytest.mark.slow
def test_accumulation_resumes_too(world, tmp_path):
    model, runner = write_configs(
        tmp_path, world / "teacher", world / "corpus", gradient_accumulate_steps=3, total_steps=4, save_step=2
    )
    main(["-g", str(model), "-c", str(runner), "-p", str(tmp_path / "a")])
    whole = losses(tmp_path / "a")
    (tmp_path / "a" / "states-4.ckpt").unlink()
    main(["-e", str(tmp_path / "a")])
    assert losses(tmp_path / "a") == whole


def test_overrides_and_multi_gpu_flag(world, tmp_path):
    model, runner = write_configs(tmp_path, world / "teacher", world / "corpus")
    override = "config.runner.total_steps=3,,config.runner.save_step=2,,config.pretrain_expert.datarc.crop='none'"
    main(["-g", str(model), "-c", str(runner), "-p", str(tmp_path / "a"), "--multi_gpu", "-o", override])
    assert [step for step, _ in losses(tmp_path / "a")] == [1, 2, 3]
    saved = torch.load(tmp_path / "a" / "states-3.ckpt", weights_only=True)
    assert saved["Config"]["pretrain_expert"]["datarc"]["crop"] == "none" and saved["Step"] == 3


def test_a_student_of_kerpiccis_kind(world, tmp_path):
    student = TWO_LAYER | {"head_layers": [1, 2]}
    files = write_configs(tmp_path, world / "teacher", world / "corpus", student, init_from_teacher=True)
    main(["-u", "fithubert", "-g", str(files[0]), "-c", str(files[1]), "-p", str(tmp_path / "run")])
    assert (tmp_path / "run" / "losses.csv").read_text().startswith("step,loss,layer_1,layer_2\n")
    features = UpstreamExpert(tmp_path / "run" / "student.safetensors")([torch.randn(16000)])
    assert [f.shape for f in features["projected_states"]] == [(1, 49, 24)] * 2
    assert [f.shape for f in features["hidden_states"]] == [(1, 49, 24)]
    torch.testing.assert_close(features["last_hidden_state"], features["projected_states"][-1])


@pytest.mark.slow
def test_student_works_in_a_new_process_through_torch_hub(unbroken, tmp_path):
    code = f"""
import torch
for file in ("student.safetensors", "states-6.ckpt"):
    upstream = torch.hub.load({str(REPO)!r}, "fithubert", {str(unbroken)!r} + "/" + file, source="local").eval()
    features = upstream([torch.randn(16000)])
    assert features["last_hidden_state"].shape == (1, 49, 24), features["last_hidden_state"].shape
    assert [f.shape for f in features["hidden_states"]] == [(1, 49, 32)] * 2
    assert all(torch.isfinite(f).all() for f in features["projected_states"])
"""
    subprocess.run([sys.executable, "-c", code], check=True, cwd=tmp_path)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda m, r: m["student"].update(embed_dims=3), ["unknown key 'embed_dims'"]),
        (lambda m, r: m["student"].update(head_dim=30), ["expected width 30", "found 24"]),
        (lambda m, r: m["teacher"].update(model="/no/teacher"), ["/no/teacher"]),
        (lambda m, r: r["pretrain_expert"]["datarc"].update(train=["/no/corpus"]), ["/no/corpus"]),
        (lambda m, r: r["pretrain_expert"]["datarc"].update(batch=3), ["unknown key 'batch'"]),
        (
            lambda m, r: r["pretrain_expert"]["datarc"].update(train=["${NO_SUCH_VARIABLE}/train"]),
            ["NO_SUCH_VARIABLE"],
        ),
        (lambda m, r: r["pretrain_expert"]["datarc"].update(libri_root="/x"), ["unknown key 'libri_root'", "train"]),
        (lambda m, r: r["pretrain_expert"]["datarc"].update(train_batch_size=3), ["train_batch_size 3 beside 2"]),
        (lambda m, r: r["runner"].update(log_step=6), ["log_step", "1 and total_steps - 1 = 5"]),
        (lambda m, r: r["runner"].pop("save_step"), ["runner: expected save_step"]),
        (lambda m, r: r.pop("optimizer"), ["'optimizer'"]),
    ],
)
def test_mistakes_are_one_line_and_leave_nothing(world, tmp_path, capsys, change, words):
    paths = write_configs(tmp_path, world / "teacher", world / "corpus")
    configs = [yaml.safe_load(path.read_text()) for path in paths]
    change(*configs)
    for path, config in zip(paths, configs, strict=True):
        path.write_text(yaml.safe_dump(config))
    status = cli(["pretrain", "-g", str(paths[0]), "-c", str(paths[1]), "-p", str(tmp_path / "exp")])
    message = capsys.readouterr().err.strip().splitlines()[-1]
    assert status == 2 and message.startswith("fithubert pretrain: ")
    assert all(word in message for word in words), message
    assert not (tmp_path / "exp").exists()


def test_resuming_from_nothing(tmp_path, capsys):
    assert cli(["pretrain", "-e", str(tmp_path)]) == 2
    assert "expected states-*.ckpt" in capsys.readouterr().err
    (tmp_path / "states-3.ckpt").write_bytes(b"half")
    assert cli(["pretrain", "-e", str(tmp_path)]) == 2
    assert "expected a checkpoint of `fithubert pretrain`" in capsys.readouterr().err
    assert cli(["pretrain"]) == 2
    assert "expected -n NAME or -p FOLDER" in capsys.readouterr().err


def test_latest_states_and_the_final_name(tmp_path):
    for name in ("states-90.ckpt", "states-100.ckpt"):
        torch.save({}, tmp_path / name)
    assert states_in(tmp_path)[-1].name == "states-100.ckpt"
    torch.save({"Step": 120}, tmp_path / "states-epoch-5.ckpt")
    assert states_in(tmp_path)[-1].name == "states-epoch-5.ckpt"
    name_final_states(tmp_path)
    assert states_in(tmp_path)[-1].name == "states-120.ckpt"

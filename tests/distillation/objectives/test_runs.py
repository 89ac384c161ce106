"""Each objective from end to end, in `fithubert distill` and in s3prl's runner."""

import csv
import shutil

import pytest
import torch
import yaml

from fithubert_upstream.cli import main as cli
from fithubert_upstream.distillation.train import main
from fithubert_upstream.pretrain.run import main as pretrain
from fithubert_upstream.upstream.expert import UpstreamExpert

from ...helpers.objectives import RECIPES, task_of
from ...helpers.tiny import make_corpus, make_teacher, write_configs
from ...helpers.training import NO_DROPOUT, flags, losses, weights

kinds = pytest.mark.parametrize("kind", RECIPES)


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    folder = tmp_path_factory.mktemp("objectives")
    make_teacher(folder / "teacher"), make_corpus(folder / "corpus", utterances=6)
    return folder


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    """The last digit depends on it."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def words_of(kind, folder) -> list[str]:
    return [f"data.targets={folder / 'targets'}"] if kind == "clusters" else []


@kinds
def test_a_run_goes_on_to_the_last_digit(world, tmp_path, kind):
    """Dropout on, masks drawn, several epochs."""
    model, student = RECIPES[kind]
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    settings = {"student": student, "blocks": model, "save_every": 3, "keep": 3, "steps": 7}
    main(flags(world, whole, *words_of(kind, tmp_path), **settings))
    broken.mkdir()
    shutil.copy(whole / "step-3.ckpt", broken / "last.ckpt")
    shutil.copy(whole / "losses.csv", broken / "losses.csv")
    main(flags(world, broken, *words_of(kind, tmp_path), **settings))
    assert losses(broken) == losses(whole) and len(losses(whole)) == 7
    assert torch.equal(weights(broken), weights(whole))
    first, *_, last = losses(whole)
    assert all(row["valid"] is not None for row in losses(whole) if row["step"] in (3, 6, 7))
    assert last["loss"] != first["loss"]
    features = UpstreamExpert(whole / "student.safetensors")([torch.randn(16000)])
    assert features["hidden_states"][0].shape == (1, 49, 32)
    assert (whole / "losses.png").is_file()


@kinds
def test_bf16_changes_little(world, tmp_path, kind):
    blocks, student = RECIPES[kind]
    found = []
    for precision in ("32-true", "bf16-mixed"):
        words = [*words_of(kind, tmp_path), f"trainer.precision={precision}"]
        main(flags(world, tmp_path / precision, *words, student=student | NO_DROPOUT, blocks=blocks, steps=2))
        found.append([row["loss"] for row in losses(tmp_path / precision)])
    assert found[1] == pytest.approx(found[0], rel=0.05) and found[1] != found[0]


@torch.no_grad()
@pytest.mark.parametrize("kind", ["masked", "gram"])
@pytest.mark.parametrize("samples", [1, 300, 721])
def test_the_shortest_utterances(world, kind, samples):
    blocks, student = RECIPES[kind]
    task = task_of(world / "teacher", blocks["loss"], student).train()
    for wavs, lengths in (
        (torch.randn(2, samples), None),
        (torch.randn(2, 8000), torch.tensor([8000, samples])),
    ):
        loss, errors = task(wavs, lengths)
        assert loss.isfinite() and errors.isfinite().all()


@pytest.mark.slow
@kinds
def test_s3prls_runner_resumes_too(world, tmp_path, kind):
    model, student = RECIPES[kind]
    paths = write_configs(tmp_path, world / "teacher", world / "corpus", student)
    contents = [yaml.safe_load(path.read_text()) for path in paths]
    contents[0] |= model
    contents[1]["pretrain_expert"]["datarc"] |= {"targets": str(tmp_path / "kept")} if kind == "clusters" else {}
    for path, content in zip(paths, contents, strict=True):
        path.write_text(yaml.safe_dump(content))
    arguments = ["-g", str(paths[0]), "-c", str(paths[1]), "-p", str(tmp_path / "run")]

    def rows():
        with (tmp_path / "run" / "losses.csv").open() as file:
            return list(csv.DictReader(file))

    pretrain(arguments)
    whole = rows()
    assert len(whole) == 6
    (tmp_path / "run" / "states-6.ckpt").unlink()
    pretrain([*arguments, "-a"])
    assert rows() == whole


def test_mistakes_are_one_line_and_leave_nothing(world, tmp_path, capsys):
    for kind, words, message in (
        ("masked", ["data.targets=kept"], "data.targets: expected none with loss.kind masked"),
        ("clusters", [], "data.targets: expected a folder with loss.kind clusters"),
        ("gram", ["model.student.head_layers=[1]"], "expected a student without heads with loss.kind gram"),
    ):
        model, student = RECIPES[kind]
        assert cli(["distill", *flags(world, tmp_path / "run", *words, student=student, blocks=model)]) == 2
        last = capsys.readouterr().err.strip().splitlines()[-1]
        assert last.startswith("fithubert distill: ") and message in last
        assert not (tmp_path / "run").exists()


def test_an_override_reaches_the_blocks_of_a_loss(world, tmp_path):
    model, student = RECIPES["masked"]
    words = ["model.loss.mask.probability=0.25", "model.layer_grad_scale=false"]
    main(flags(world, tmp_path / "run", *words, student=student, blocks=model, steps=1, valid_every=9))
    config = yaml.safe_load((tmp_path / "run" / "config.yaml").read_text())
    assert config["model"]["loss"]["mask"] == {"probability": 0.25, "length": 4, "overlap": False}
    assert config["model"]["layer_grad_scale"] is False

import math

import numpy as np
import pytest
import torch

from fithubert_upstream.cli import main as cli
from fithubert_upstream.data.targets import identify
from fithubert_upstream.distillation.config import DistillationConfig
from fithubert_upstream.distillation.groups import find_groups, layer_similarity, main
from fithubert_upstream.distillation.objectives.table import build_task
from fithubert_upstream.errors import FitHubertError
from fithubert_upstream.teachers.config import TeacherConfig
from fithubert_upstream.teachers.teachers import load_teacher

from ..helpers.objectives import learn
from ..helpers.tiny import STUDENT, TWO_LAYER, make_corpus, make_teacher


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    folder = tmp_path_factory.mktemp("groups")
    make_teacher(folder / "teacher", layers=4), make_corpus(folder / "corpus", utterances=3)
    return folder


def slow_cka(x, y) -> float:
    """By centred Gram matrices: HSIC(K, L) / sqrt(HSIC(K, K) HSIC(L, L)), frame by frame."""

    def gram(z):
        k = np.array([[sum(a * b) for a in z] for b in z])
        return k - k.mean(0) - k.mean(1)[:, None] + k.mean()

    k, m = gram(x), gram(y)
    return (k * m).sum() / math.sqrt((k * k).sum() * (m * m).sum())


def test_similarity_by_loops():
    frames = np.random.default_rng(0).standard_normal((12, 3, 5)).astype(np.float32) + 3
    found = layer_similarity(frames)
    for a in range(3):
        for b in range(3):
            assert found[a, b] == pytest.approx(slow_cka(frames[:, a], frames[:, b]), abs=1e-4)


def test_rotated_layers_are_one_group():
    draw = np.random.default_rng(0)
    one, other = draw.standard_normal((2, 200, 6))
    rotate = [np.linalg.qr(draw.standard_normal((6, 6)))[0] for _ in range(2)]
    frames = np.stack([one, other, one @ rotate[0], 3 * other @ rotate[1]], 1)
    assert find_groups(layer_similarity(frames), 2) == [[1, 3], [2, 4]]
    assert find_groups(layer_similarity(frames), 4) == [[1], [2], [3], [4]]
    assert find_groups(layer_similarity(frames), 1) == [[1, 2, 3, 4]]


def test_the_command(world, tmp_path, capsys):
    model = tmp_path / "model.yaml"
    teacher = f"{{model: {world / 'teacher'}, groups: [[1, 2], [3, 4]]}}"
    model.write_text(f"student: {{head_layers: [6, 12]}}\nteacher: {teacher}\n")
    groups = main(["-g", str(model), "--number", "3", str(world / "corpus")])
    assert sorted(layer for group in groups for layer in group) == [1, 2, 3, 4] and len(groups) == 3
    assert capsys.readouterr().out.splitlines()[-1] == f"model.teacher.groups={groups}"
    assert groups == main(["-g", str(model), "--number", "3", str(world / "corpus")])
    assert cli(["groups", "-g", str(model), "--number", "5", str(world / "corpus")]) == 2
    assert "--number: expected 1 to 4 groups" in capsys.readouterr().err


@torch.no_grad()
def test_a_group_is_the_mean_of_its_layers(world):
    plain = load_teacher(TeacherConfig(model=str(world / "teacher")))
    groups = ((1, 4), (2, 3))
    teacher = load_teacher(TeacherConfig(model=str(world / "teacher"), groups=groups))
    assert teacher.num_layers == 2 and teacher.width == plain.width
    wavs, lengths = torch.randn(2, 8000), torch.tensor([8000, 5000])
    layers = plain(wavs, lengths)
    for found, (a, b) in zip(teacher(wavs, lengths), groups, strict=True):
        torch.testing.assert_close(found, (layers[a - 1] + layers[b - 1]) / 2)
    assert len(teacher(wavs, lengths, 1)) == 1
    others = [load_teacher(TeacherConfig(model=str(world / "teacher"), groups=g)) for g in (groups, ((1, 3), (2, 4)))]
    assert identify(others[0]) == identify(teacher) != identify(others[1])  # kept targets are told apart


def test_heads_learn_groups(world):
    teacher = {"model": str(world / "teacher"), "groups": [[1, 2], [3, 4]]}
    config = DistillationConfig.from_dict({"student": STUDENT, "teacher": teacher})
    assert config.teacher.layers == (1, 2) and config == DistillationConfig.from_dict(config.to_dict())
    before, after = learn(build_task(config))
    assert after < 0.85 * before


def test_a_student_may_begin_as_the_first_layers_below_the_groups(world):
    teacher = {"model": str(world / "teacher"), "groups": [[1, 2], [3, 4]]}
    student = STUDENT | TWO_LAYER | {"head_layers": [1, 2]}
    content = {"student": student, "teacher": teacher, "init_from_teacher": True}
    task = build_task(DistillationConfig.from_dict(content)).eval()
    wavs = torch.randn(1, 8000)
    torch.testing.assert_close(task.student.encode(wavs)[0], task.teacher.source(wavs, depth=1))


def test_groups_that_are_no_lists():
    with pytest.raises(FitHubertError, match="teacher: groups: expected a list of lists, found 4"):
        DistillationConfig.from_dict({"teacher": {"groups": 4}})


@pytest.mark.parametrize("groups", [[], [[]], [[0, 1]], [[1, 2], [2, 3]]])
def test_groups_that_cannot_be(groups):
    with pytest.raises(FitHubertError, match="expected groups, lists of layers from 1 on, each layer once, found"):
        DistillationConfig.from_dict({"teacher": {"groups": groups}})


def test_groups_of_layers_that_are_not_there(world):
    with pytest.raises(FitHubertError, match=r"expected groups of its layers 1 to 4, found \[\[1\], \[5\]\]"):
        load_teacher(TeacherConfig(model=str(world / "teacher"), groups=((1,), (5,))))

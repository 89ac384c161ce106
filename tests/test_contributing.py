"""CONTRIBUTING's examples work as they are written."""

import re

import pytest
import torch
import yaml

from fithubert_upstream.distillation import losses
from fithubert_upstream.distillation.config import DistillationConfig
from fithubert_upstream.downstream import tasks
from fithubert_upstream.models.fithubert import FitHubert
from fithubert_upstream.teachers import teachers
from fithubert_upstream.teachers.config import SOURCES, TeacherConfig

from .conftest import REPO

PARTS = dict(re.findall(r"^## ([^\n]+)\n(.*?)(?=^## |\Z)", (REPO / "CONTRIBUTING.md").read_text(), flags=re.M | re.S))


def example(part):
    (block,) = re.findall(r"^```(?:python|yaml)\n(.*?)^```", PARTS[part], flags=re.M | re.S)
    assert len(block.splitlines()) <= 40
    return block


@pytest.fixture(autouse=True)
def tables():
    """What the examples add is gone after each test."""
    before = [(table, dict(table)) for table in (losses.ERRORS, teachers.LOADERS, tasks.TASKS)]
    sources = list(SOURCES)
    yield
    SOURCES[:] = sources
    for table, then in before:
        table.clear()
        table.update(then)


def test_a_student():
    config = DistillationConfig.from_dict(yaml.safe_load(example("Add a student")))
    model = FitHubert(config.student).eval()
    layers, _ = model.encode(torch.randn(1, 16000))
    assert len(layers) == 4 and layers[0].size(2) == 256 and config.loss.kind == "l1_cosine"


def test_a_loss():
    exec(example("Add a loss"), {})
    generator = torch.Generator().manual_seed(0)
    student, teacher = (torch.randn(2, 3, 5, 4, generator=generator) * 2 for _ in range(2))
    lengths = torch.tensor([5, 3, 1])
    errors = losses.ERRORS["smooth_l1"](list(student), list(teacher), lengths)
    difference = (student - teacher).abs()
    slow = torch.where(difference < 1, difference.square() / 2, difference - 0.5)
    for layer in range(2):
        frames = [slow[layer, b, i].mean() for b in range(3) for i in range(lengths[b])]
        torch.testing.assert_close(errors[layer], torch.stack(frames).mean())
    loss, _ = losses.hint_loss(list(student), list(teacher), lengths, hint_weight=0.5, kind="smooth_l1")
    torch.testing.assert_close(loss, errors[1] + 0.5 * errors[0])


def test_a_teacher():
    exec(example("Add a teacher"), {})
    teacher = teachers.load_teacher(TeacherConfig(source="energy", model=""))
    assert (teacher.num_layers, teacher.width) == (1, 32)
    alone = teacher(torch.ones(1, 1600))[0]
    padded = teacher(torch.ones(2, 3200), torch.tensor([1600, 3200]))[0]
    torch.testing.assert_close(padded[0, : alone.size(1)], alone[0])


def test_a_task():
    exec(example("Add a task"), {})
    assert tasks.TASKS["sentiment"].result({"mosei/test-acc": 0.5}) == 50.0
    assert tasks.task_of("mosei").key == "sentiment"


def test_every_source_has_a_loader():
    assert list(teachers.LOADERS) == SOURCES

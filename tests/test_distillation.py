import pytest
import torch

from fithubert_upstream.config import FitHubertConfig
from fithubert_upstream.distillation import DistillationTask
from fithubert_upstream.errors import FitHubertError
from fithubert_upstream.losses import hint_loss
from fithubert_upstream.model import FitHubert
from fithubert_upstream.teacher import TransformersTeacher

from .tiny import STUDENT, make_teacher


@pytest.fixture
def teacher(tmp_path):
    return TransformersTeacher(str(make_teacher(tmp_path / "t")))


def make_student(**changes) -> FitHubert:
    return FitHubert(FitHubertConfig.from_dict(STUDENT | changes))


def test_the_loss_is_the_hint_loss_of_each_utterance_on_its_own(teacher):
    task = DistillationTask(make_student(), teacher).eval()
    wavs, lengths = torch.randn(3, 8000), torch.tensor([8000, 8000 - 320, 4321])
    loss, errors = task(wavs, lengths)
    total, count = torch.zeros(2), 0
    for wav, n in zip(wavs, lengths.tolist(), strict=True):
        student, frames = task.student(wav[None, :n])
        even = frames.item() // 2 * 2  # the official code trims the teacher to 2 * floor(L / 2)
        _, mse = hint_loss([s[:, :even] for s in student], [t[:, :even] for t in teacher(wav[None, :n])], None)
        total, count = total + mse * even, count + even
    torch.testing.assert_close(errors, total / count, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(loss, errors[1] + 0.1 * errors[0])


def test_the_teacher_sleeps_through_train(teacher):
    task = DistillationTask(make_student(), teacher).train()
    assert task.student.training and not any(m.training for m in task.teacher.modules())
    loss, _ = task(torch.randn(2, 8000))
    loss.backward()
    assert all(p.grad is not None for p in task.student.parameters())
    assert all(p.grad is None for p in task.teacher.parameters())


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"head_dim": 30}, ["expected width 30", "found 24", "set student.head_dim: 24"]),
        ({"num_layers": 3}, ["expected 3 layers", "found 2", "set student.num_layers: 2"]),
        ({"head_layers": [2]}, ["prediction head on every student layer"]),
    ],
)
def test_a_student_that_does_not_fit_its_teacher(teacher, changes, words):
    with pytest.raises(FitHubertError) as caught:
        DistillationTask(make_student(**changes), teacher)
    assert all(word in str(caught.value) for word in words), caught.value


def test_a_student_learns(teacher):
    task = DistillationTask(make_student(dropout=0.0), teacher).train()
    optimizer = torch.optim.AdamW(task.student.parameters(), lr=3e-3)
    wavs = torch.randn(4, 8000)
    first = task(wavs)[0].item()
    for _ in range(30):
        loss, _ = task(wavs)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss.item() < 0.8 * first

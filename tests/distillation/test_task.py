import pytest
import torch

from fithubert_upstream.checkpoints.student import save_fithubert
from fithubert_upstream.distillation.config import DistillationConfig
from fithubert_upstream.distillation.losses import hint_loss, prediction_loss
from fithubert_upstream.distillation.task import DistillationTask, Lesson
from fithubert_upstream.errors import FitHubertError
from fithubert_upstream.models.config import FitHubertConfig
from fithubert_upstream.models.fithubert import FitHubert
from fithubert_upstream.teachers.teachers import TransformersTeacher

from ..helpers.tiny import STUDENT, TWO_LAYER, make_teacher


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


@pytest.fixture
def kerpicci(tmp_path):
    folder = make_teacher(tmp_path / "t", layers=4)
    student = STUDENT | TWO_LAYER | {"head_layers": [1, 3]}
    return {"student": student, "teacher": {"model": str(folder)}, "init_from_teacher": True}


def test_a_student_begins_with_its_teachers_first_layers(kerpicci):
    task = DistillationTask.from_config(DistillationConfig.from_dict(kerpicci)).eval()
    wavs = torch.randn(2, 8000)
    torch.testing.assert_close(task.student.encode(wavs)[0], task.teacher(wavs, depth=1))
    with torch.no_grad():  # a copy, not the teacher's own
        task.student.layers[0].attention.qkv.weight.mul_(3)
    with pytest.raises(AssertionError):
        torch.testing.assert_close(task.student.encode(wavs)[0], task.teacher(wavs, depth=1))


def test_the_loss_of_prediction_heads_is_that_of_each_utterance_on_its_own(kerpicci):
    task = DistillationTask.from_config(DistillationConfig.from_dict(kerpicci)).eval()
    assert task.layers == (1, 3)
    wavs, lengths = torch.randn(2, 8000), torch.tensor([8000, 4321])
    loss, errors = task(wavs, lengths)
    total, count = torch.zeros(2), 0
    for wav, n in zip(wavs, lengths.tolist(), strict=True):
        hidden, frames = task.student.encode(wav[None, :n])
        heads = [task.student.heads[layer] for layer in ("1", "3")]
        by_hand = [head.linear(torch.nn.functional.gelu(head.hidden(hidden[-1]))) for head in heads]
        targets = task.teacher(wav[None, :n])
        _, terms = prediction_loss(by_hand, [targets[0], targets[2]], None)
        total, count = total + terms.detach() * frames, count + frames
    torch.testing.assert_close(errors, total / count, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(loss, errors.sum())


def test_distilhuberts_student(kerpicci):
    """The same without the norm behind the convolutions, whose gradient is a tenth (s3prl's feature_grad_mult)."""
    kerpicci["student"] |= {"feature_norm": False}
    gradients = []
    for changes in ({}, {"feature_grad_scale": 0.1}):
        torch.manual_seed(3)
        task = DistillationTask.from_config(DistillationConfig.from_dict(kerpicci | changes)).eval()
        first, there = task.student.layers[0].fc1.weight, task.teacher.model.layers[0].fc1.weight
        assert torch.equal(first, there)
        task(torch.randn(2, 8000))[0].backward()
        gradients.append(task.student.feature_extractor.convs[2].weight.grad)
    torch.testing.assert_close(gradients[1], 0.1 * gradients[0], atol=1e-9, rtol=1e-4)


def test_prediction_heads_all_learn(kerpicci):
    task = DistillationTask.from_config(DistillationConfig.from_dict(kerpicci)).train()
    task(torch.randn(2, 8000))[0].backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in task.student.heads.parameters())


@pytest.mark.parametrize(
    ("student", "words"),
    [
        (
            {"embed_dim": 32},
            ["feature_projection.weight of shape (32, 16)", "found (24, 16)", "init_from_teacher: false"],
        ),
        ({"num_layers": 5}, ["expected layers.4.", "no such weight"]),
        ({"head_layers": [1, 5]}, ["expected its layers (1, 5)", "found layers 1 to 4", "student.head_layers"]),
    ],
)
def test_a_student_that_cannot_begin_with_its_teacher(kerpicci, student, words):
    kerpicci["student"] |= student
    with pytest.raises(FitHubertError) as caught:
        DistillationTask.from_config(DistillationConfig.from_dict(kerpicci))
    assert all(word in str(caught.value) for word in words), caught.value


def test_wavlm_has_no_layers_to_begin_with(tmp_path, kerpicci):
    kerpicci["teacher"]["model"] = str(make_teacher(tmp_path / "w", "wavlm", layers=4))
    with pytest.raises(FitHubertError, match="expected HuBERT or wav2vec 2.0.*init_from_teacher: false"):
        DistillationTask.from_config(DistillationConfig.from_dict(kerpicci))


def test_heads_learn_the_layers_that_are_chosen_for_them(tmp_path):
    deep = TransformersTeacher(str(make_teacher(tmp_path / "t", layers=4)))
    task = DistillationTask(make_student(head_layers=[2]), Lesson(deep, (3,))).eval()
    wavs = torch.randn(2, 8000 - 320)
    (head,), frames = task.student(wavs)
    loss, errors = task(wavs)
    even = int(frames.max()) // 2 * 2
    torch.testing.assert_close(loss, torch.nn.functional.mse_loss(head[:, :even], deep(wavs)[2][:, :even]))
    assert task.error_names == ["layer_2"] and len(errors) == 1
    with pytest.raises(FitHubertError, match=r"one for each of the student's 1 heads \(2,\).*found \(3, 4\)"):
        DistillationTask(make_student(head_layers=[2]), Lesson(deep, (3, 4)))
    with pytest.raises(FitHubertError, match=r"expected its layers \(5,\) \(teacher.layers\), found layers 1 to 4"):
        DistillationTask(make_student(head_layers=[2]), Lesson(deep, (5,)))


def test_two_teachers_count_as_they_weigh(teacher, tmp_path):
    wide = TransformersTeacher(str(make_teacher(tmp_path / "wide", width=32)))
    lessons = Lesson(teacher, weight=0.5), Lesson(wide, weight=2.0)
    task = DistillationTask(make_student(), *lessons).train()
    wavs = torch.randn(2, 8000)
    loss, errors = task.eval()(wavs)
    assert task.error_names == ["layer_1", "layer_2", "teacher_2_layer_1", "teacher_2_layer_2"]
    (one, two, three, four) = errors
    torch.testing.assert_close(loss, 0.5 * (two + 0.1 * one) + 2.0 * (four + 0.1 * three))
    alone, _ = DistillationTask(task.student, teacher)(wavs)
    torch.testing.assert_close(alone, two + 0.1 * one)
    task.train()(wavs)[0].backward()
    assert all(p.grad.abs().sum() > 0 for p in task.learner.further.parameters())


def test_teachers_of_a_config(tmp_path):
    folder = make_teacher(tmp_path / "t")
    teachers = [{"model": str(folder)}, {"model": str(folder), "weight": 0.25}]
    config = DistillationConfig.from_dict({"student": STUDENT, "teachers": teachers})
    assert config.teacher == config.teachers[0] and config == DistillationConfig.from_dict(config.to_dict())
    task = DistillationTask.from_config(config)
    assert len(task.teachers) == 2 and task.weights == [1.0, 0.25]
    with pytest.raises(FitHubertError, match="expected teacher or teachers, found both"):
        DistillationConfig.from_dict({"teacher": {"model": "another"}, "teachers": teachers})
    with pytest.raises(FitHubertError, match="expected a weight above 0, found 0.0"):
        DistillationConfig.from_dict({"teacher": {"weight": 0}})


def test_a_student_begins_as_another(tmp_path, teacher):
    torch.manual_seed(3)
    other = make_student(head_dim=30)
    save_fithubert(other, tmp_path / "other.safetensors")
    config = {
        "student": STUDENT,
        "teacher": {"model": str(tmp_path / "t")},
        "init": str(tmp_path / "other.safetensors"),
    }
    student = DistillationTask.from_config(DistillationConfig.from_dict(config)).student
    for name, weight in other.state_dict().items():
        same = student.state_dict()[name].shape == weight.shape and torch.equal(student.state_dict()[name], weight)
        assert same or name.startswith("heads.")
    assert torch.equal(student.heads["1"].upsample.weight, other.heads["1"].upsample.weight)  # those that fit
    for changes, words in (
        ({"embed_dim": 16}, r"encoder_norm.bias \(32,\) there and \(16,\) here"),
        ({"num_layers": 1, "head_layers": [1]}, "layers.1.*there and none here"),
    ):
        wrong = config | {"student": STUDENT | changes, "teacher": {"model": str(tmp_path / "t"), "layers": [1]}}
        with pytest.raises(FitHubertError, match=words):
            DistillationTask.from_config(DistillationConfig.from_dict(wrong))
    with pytest.raises(FitHubertError, match="expected init or init_from_teacher, found both"):
        DistillationConfig.from_dict(config | {"init_from_teacher": True})

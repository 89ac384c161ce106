import pytest
import torch

from fithubert_upstream.errors import FitHubertError
from fithubert_upstream.models.config import FitHubertConfig
from fithubert_upstream.models.fithubert import FitHubert
from fithubert_upstream.pruning.gates import Gates
from fithubert_upstream.pruning.students import Maps, States, copy_of, teacher_model
from fithubert_upstream.pruning.task import PruningTask
from fithubert_upstream.teachers.teachers import HubertTeacher

from ..helpers.pruning import TEACHER, make_model, settle
from ..helpers.tiny import RELATIVES

ONE_RATE = {"embed_dim": 24, "time_reduction": 1, "num_layers": 2, "num_heads": 4, "ffn_dim": 16, "head_layers": []}


@pytest.mark.parametrize(
    ("config", "found"),
    [
        (RELATIVES["reused maps"], "reuse_attention"),
        (RELATIVES["relative positions"], "position_buckets"),
        (
            ONE_RATE
            | {
                "conv_layers": [[16, 10, 5], *[[16, 3, 2]] * 4, [16, 2, 2], [24, 2, 2]],
                "pos_conv_groups": 4,
                "feature_projection": False,
            },
            "feature_projection: false",
        ),
    ],
)
def test_teachers_with_other_parts_are_refused(config, found):
    model = FitHubert(FitHubertConfig.from_dict(config))
    with pytest.raises(FitHubertError, match=f"expected HuBERT or wav2vec 2.0, which can be pruned, found {found}"):
        teacher_model(HubertTeacher("odd", model))


def test_layer_0_is_what_goes_into_the_positional_convolution():
    model, wav = make_model(), torch.randn(1, 4000)
    with torch.no_grad():
        states, frames = States(model)(wav)
        torch.testing.assert_close(states[0], model.extract(wav)[0])
        torch.testing.assert_close(states[1:], model.encode(wav).layers)
    assert frames.tolist() == [states[0].size(1)]


def test_maps_begin_as_identity_and_are_shared_but_for_layer_0():
    maps, states = Maps((0, 1, 3), 4), list(torch.randn(4, 2, 5, 4))
    assert sum(p.numel() for p in maps.parameters()) == 2 * (4 * 4 + 4)
    for one, other in zip(maps(states, torch.tensor([5, 5])), (states[0], states[1], states[3]), strict=True):
        assert torch.equal(one, other)


def test_with_time_reduction_each_of_the_teachers_frames_has_a_map():
    maps, frames = Maps((0, 2), 4, time_reduction=2), torch.tensor([7, 4])
    with torch.no_grad():
        for linear in maps.parameters():
            linear.add_(torch.randn_like(linear))
    states = [torch.randn(2, 7, 4), torch.empty(0), torch.randn(2, 3, 4)]
    first, second = maps(states, frames)
    torch.testing.assert_close(first, states[0] @ maps.maps["projection"].weight.T + maps.maps["projection"].bias)
    weights, biases = maps.maps["layer"].weight.view(2, 4, 4), maps.maps["layer"].bias.view(2, 4)
    assert second.shape == (2, 7, 4) and not second[1, 4:].any()
    for item, count in enumerate(frames.tolist()):
        for frame in range(count):
            last = min(frame, count // 2 * 2 - 1)  # an odd last frame repeats the one before it
            expected = weights[last % 2] @ states[2][item, last // 2] + biases[last % 2]
            torch.testing.assert_close(second[item, frame], expected)


def test_time_reduction_begins_as_a_mean():
    teacher, wav = make_model(), torch.randn(1, 6000)
    student = copy_of(teacher, time_reduction=2)
    assert student.config.time_reduction == 2 and student.config.hidden_states == ("layers",)
    x = torch.randn(1, 7, teacher.config.embed_dim)
    torch.testing.assert_close(student.time_reduction(x), (x[:, 0:6:2] + x[:, 1:6:2]) / 2)
    with torch.no_grad():
        assert torch.equal(States(student)(wav)[0][0], States(copy_of(teacher))(wav)[0][0])


def test_a_student_is_a_copy():
    teacher = make_model()
    student = copy_of(teacher)
    with torch.no_grad():
        for weight in student.parameters():
            weight.zero_()
    assert all(weight.abs().sum() > 0 for weight in teacher.parameters())


def test_eval_follows_the_gates():
    """Nothing that was folded from the weights of other gates is kept."""
    model = make_model()
    student = copy_of(model)
    task = PruningTask(student, model, (0, 3), settle(Gates(student.config)))
    task.learner.eval()
    wav = torch.randn(2, 6000)
    with torch.no_grad():
        before = task.loss(task.learner, wav)[1]
        for gate in (*task.gates.convs, *task.gates.heads, *task.gates.ffns):
            gate.log_alpha.fill_(30.0)
        after = task.loss(task.learner, wav)[1]
    torch.testing.assert_close(after[:2], -torch.ones(2), atol=1e-3, rtol=0)  # as the teacher
    assert (before[:2] > after[:2] + 0.01).all()
    assert task.error_names == ["layer_0", "layer_3", "sparsity", "target_sparsity"]
    extra = TEACHER.conv_layers[-1][0]  # the factors of the last channels
    assert after[2].item() == pytest.approx(-extra / task.teacher_size, abs=1e-5)


def test_with_time_reduction_padding_changes_nothing():
    model = make_model()
    task = PruningTask(copy_of(model, time_reduction=2), model, (0, 3))
    waveforms, lengths = torch.randn(2, 8000), torch.tensor([8000, 5000])
    with torch.no_grad():
        batch = task.learner.eval()(waveforms, lengths)[0]
        alone = task.learner(waveforms[1:, :5000])[0]
    for one, other in zip(batch, alone, strict=True):
        torch.testing.assert_close(one[1:, :15], other, atol=1e-4, rtol=1e-4)
    loss, errors = task.loss(task.learner, waveforms, lengths)
    assert errors[0] < -0.999 and -0.999 < errors[1] < 0 and torch.isfinite(loss)


def test_padding_and_what_the_teacher_hears():
    model = make_model()
    student = copy_of(model)
    task = PruningTask(student, model, (0, 3))
    waveforms, lengths = torch.randn(2, 8000), torch.tensor([8000, 5000])
    waveforms[1, 5000:] = 0
    loss, errors = task.loss(task.learner.eval(), waveforms, lengths)
    torch.testing.assert_close(errors, -torch.ones(2), atol=1e-4, rtol=0)
    torch.testing.assert_close(loss, errors.mean())
    assert task.loss(task.learner, waveforms, lengths, clean=waveforms.flip(1))[0] > loss + 0.01
    singles = [task.loss(task.learner, torch.randn(1, n))[1] for n in (8000, 5000)]
    assert all(errors.shape == (2,) for errors in singles)
    assert task.frames(lengths).tolist() == [24, 15]

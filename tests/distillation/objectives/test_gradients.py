import copy
import pickle

import pytest
import torch

from fithubert_upstream.distillation.config import DistillationConfig
from fithubert_upstream.distillation.objectives.gradients import (
    scale_feature_gradient,
    scale_gradient,
    scale_layer_gradients,
)
from fithubert_upstream.errors import FitHubertError
from fithubert_upstream.models.config import FitHubertConfig
from fithubert_upstream.models.fithubert import FitHubert

from ...helpers.objectives import ONE_RATE, task_of
from ...helpers.tiny import STUDENT, TWO_LAYER, make_teacher
from ...helpers.training import NO_DROPOUT


def student() -> FitHubert:
    torch.manual_seed(1)
    return FitHubert(FitHubertConfig.from_dict(ONE_RATE | NO_DROPOUT | {"num_layers": 3})).train()


def gradients(model: FitHubert, weights=(1.0, 1.0, 1.0)) -> dict[str, torch.Tensor]:
    """Of a weighted sum of the heads' squares."""
    torch.manual_seed(2)
    model.zero_grad()
    heads, _ = model(torch.randn(2, 6000))
    sum(weight * head.square().mean() for weight, head in zip(weights, heads, strict=True)).backward()
    return {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


def test_only_the_gradient_is_scaled():
    x = torch.randn(3, requires_grad=True)
    y = scale_gradient(x, 0.25)
    assert torch.equal(x, y)
    y.sum().backward()
    assert torch.equal(x.grad, torch.full((3,), 0.25))


def test_the_convolutions_gradient():
    plain, scaled = student(), student()
    scale_feature_gradient(scaled, 0.1)
    expected, found = gradients(plain), gradients(scaled)
    for name, gradient in expected.items():
        factor = 0.1 if name.startswith("feature_extractor.") else 1.0
        torch.testing.assert_close(found[name], factor * gradient, atol=1e-9, rtol=1e-4)


def test_each_layer_follows_the_mean_of_the_heads_above_it():
    """Of N heads, each of those from l on counts 1 / (N - l + 1) in layer l."""
    plain, scaled = student(), student()
    scale_layer_gradients(scaled)
    alone = [gradients(plain, [float(n == head) for n in range(3)]) for head in range(3)]
    found = gradients(scaled)
    for name, gradient in found.items():
        first, _, rest = name.partition(".")
        if first == "heads":
            expected = alone[int(rest.split(".")[0]) - 1][name]  # what a head learns itself is not scaled
        else:
            layer = int(rest.split(".")[0]) if first == "layers" else 0  # counted from 0
            above = [one[name] for one in alone[layer:] if name in one]
            expected = sum(above) / len(above)
        torch.testing.assert_close(gradient, expected, atol=1e-7, rtol=1e-3, msg=lambda m, n=name: f"{n}: {m}")


def test_a_student_with_scaled_gradients_is_copied_and_pickled():
    model = student()
    scale_layer_gradients(model), scale_feature_gradient(model, 0.1)
    expected = gradients(model)
    for twin in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        for name, gradient in gradients(twin).items():
            assert torch.equal(gradient, expected[name])


def test_a_config_turns_them_on(tmp_path):
    folder = make_teacher(tmp_path / "t")
    wavs = torch.randn(2, 6000)
    found = {}
    for name, changes in {
        "plain": {},
        "features": {"feature_grad_scale": 0.5},
        "layers": {"layer_grad_scale": True},
    }.items():
        torch.manual_seed(4)
        task = task_of(folder, {"kind": "mse"}, **changes).train()
        loss, _ = task(wavs)
        loss.backward()
        found[name] = (loss.item(), task.student.feature_extractor.convs[0].weight.grad)
    assert found["plain"][0] == found["features"][0] == found["layers"][0]
    torch.testing.assert_close(found["features"][1], 0.5 * found["plain"][1], atol=1e-9, rtol=1e-4)
    torch.testing.assert_close(found["layers"][1], 0.5 * found["plain"][1], atol=1e-9, rtol=1e-3)  # the mean of two


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ({"layer_grad_scale": True, "student": STUDENT | {"head_layers": [2]}}, "a hint head on every layer"),
        ({"layer_grad_scale": True, "student": STUDENT | TWO_LAYER | {"head_layers": [1]}}, "a hint head on every"),
        (
            {"layer_grad_scale": True, "teachers": [{"model": "a"}, {"model": "b"}]},
            "one teacher with layer_grad_scale",
        ),
        ({"feature_grad_scale": 0}, "expected feature_grad_scale above 0, found 0.0"),
    ],
)
def test_what_cannot_be_scaled(content, words):
    with pytest.raises(FitHubertError, match=words):
        DistillationConfig.from_dict({"student": STUDENT} | content)

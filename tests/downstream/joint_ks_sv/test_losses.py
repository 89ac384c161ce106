import math

import pytest
import torch

from fithubert_upstream.downstream.joint_ks_sv.config import SpeakerLossConfig
from fithubert_upstream.downstream.joint_ks_sv.losses import AngularSoftmax, build_loss, psi


@pytest.mark.parametrize("margin", [1, 2, 3, 4, 5])
def test_psi_by_its_definition(margin):
    angles = torch.linspace(0.001, math.pi - 0.001, 400, dtype=torch.float64)
    expected = []
    for angle in angles.tolist():
        k = next(k for k in range(margin) if angle <= (k + 1) * math.pi / margin)
        expected.append((-1) ** k * math.cos(margin * angle) - 2 * k)
    values = psi(angles.cos(), margin)
    torch.testing.assert_close(values, torch.tensor(expected, dtype=torch.float64), atol=1e-9, rtol=0)
    assert (values.diff() < 0).all()  # falls all the way, in one piece
    assert values.diff().abs().max() < 0.1


def by_hand(name: str, x: torch.Tensor, weight: torch.Tensor, labels: list[int], margin: float, blend: float):
    total = 0.0
    for row, label in zip(x.tolist(), labels, strict=True):
        length = math.sqrt(sum(v * v for v in row))
        logits = []
        for speaker, w in enumerate(weight.tolist()):
            cosine = sum(a * b for a, b in zip(row, w, strict=True)) / length / math.sqrt(sum(v * v for v in w))
            if name == "am_softmax":
                logits.append(30.0 * (cosine - margin * (speaker == label)))
                continue
            if speaker == label:
                angle = math.acos(cosine)
                k = math.floor(margin * angle / math.pi)
                cosine = (blend * cosine + (-1) ** k * math.cos(margin * angle) - 2 * k) / (1 + blend)
            logits.append(length * cosine)
        total += math.log(sum(math.exp(v) for v in logits)) - logits[label]
    return total / len(labels)


@pytest.mark.parametrize(("name", "margin"), [("angular_softmax", 4.0), ("angular_softmax", 2.0), ("am_softmax", 0.2)])
def test_against_loops(name, margin):
    loss = build_loss(SpeakerLossConfig(name=name, margin=margin), dim=6, speakers=5)
    x, labels = torch.randn(7, 6, requires_grad=True), [0, 4, 2, 2, 1, 3, 0]
    first = loss(x, torch.tensor(labels))
    assert first.item() == pytest.approx(by_hand(name, x, loss.weight, labels, margin, 1000.0), rel=1e-4)
    first.backward()
    assert torch.isfinite(x.grad).all() and torch.isfinite(loss.weight.grad).all()


def test_the_margin_comes_in_with_the_updates():
    loss = AngularSoftmax(6, 5, margin=4, lambda_max=10.0, lambda_min=1.0)
    x, labels = torch.randn(7, 6), [0, 4, 2, 2, 1, 3, 0]
    target = torch.tensor(labels)
    for update in range(4):
        expected = by_hand("angular_softmax", x, loss.weight, labels, 4, 10 / (1 + 0.1 * update))
        assert loss(x, target).item() == pytest.approx(expected, rel=1e-4)
    loss.eval()
    assert loss(x, target) == loss(x, target)  # scoring is no update
    loss.updates.fill_(10**6)
    assert loss(x, target).item() == pytest.approx(by_hand("angular_softmax", x, loss.weight, labels, 4, 1.0), rel=1e-4)
    assert "updates" in loss.state_dict()  # or a resumed run would begin again


def test_an_embedding_on_its_speaker_or_opposite_has_finite_gradients():
    loss = AngularSoftmax(4, 3, margin=4, lambda_max=0.0, lambda_min=0.0)
    x = torch.stack([loss.weight[0], -loss.weight[1]]).detach().requires_grad_()
    loss(x, torch.tensor([0, 1])).backward()
    assert torch.isfinite(x.grad).all()

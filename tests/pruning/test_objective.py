import math

import pytest
import torch

from fithubert_upstream.pruning.objective import l1_minus_cosine, lagrangian, target_at


def test_l1_minus_cosine_by_loops():
    """facts: the mean of |t - s| over channels minus their cosine, valid frames only."""
    student, teacher, lengths = torch.randn(2, 2, 5, 4), torch.randn(2, 2, 5, 4), [5, 3]
    expected = []
    for layer in range(2):
        total = 0.0
        for b, frames in enumerate(lengths):
            for t in range(frames):
                s, f = student[layer, b, t].tolist(), teacher[layer, b, t].tolist()
                dot = sum(x * y for x, y in zip(s, f, strict=True))
                cosine = dot / math.sqrt(sum(x * x for x in s) * sum(y * y for y in f))
                total += sum(abs(x - y) for x, y in zip(s, f, strict=True)) / 4 - cosine
        expected.append(total / sum(lengths))
    found = l1_minus_cosine(list(student), list(teacher), torch.tensor(lengths))
    torch.testing.assert_close(found, torch.tensor(expected))
    full = l1_minus_cosine(list(student), list(teacher), None)
    torch.testing.assert_close(full, l1_minus_cosine(list(student), list(teacher), torch.tensor([5, 5])))
    torch.testing.assert_close(l1_minus_cosine(list(teacher), list(teacher), None), -torch.ones(2))


def test_the_lagrangian():
    multipliers = torch.tensor([2.0, 3.0], requires_grad=True)
    sparsity = torch.tensor(0.5, requires_grad=True)
    value = lagrangian(sparsity, 0.75, multipliers)
    assert value.item() == pytest.approx(2 * -0.25 + 3 * 0.0625)
    value.backward()
    assert multipliers.grad.tolist() == pytest.approx([-0.25, 0.0625])  # uphill, the second grows off the target
    assert sparsity.grad.item() == pytest.approx(2 + 2 * 3 * -0.25)


def test_the_target_rises_linearly():
    assert [target_at(n, 4, 0.8) for n in range(6)] == pytest.approx([0, 0.2, 0.4, 0.6, 0.8, 0.8])
    assert target_at(0, 0.0, 0.8) == 0.8

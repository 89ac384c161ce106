import math

import torch

from fithubert_upstream.distillation.losses import hint_loss, prediction_loss


def test_hint_loss_by_loops():
    """facts: MSE of the last layer + 0.1 * the sum of the others', valid frames only."""
    student, teacher = torch.randn(3, 2, 5, 4), torch.randn(3, 2, 5, 4)
    lengths = [5, 3]
    expected, layers = 0.0, []
    for layer in range(3):
        total, count = 0.0, 0
        for b, frames in enumerate(lengths):
            for t in range(frames):
                for d in range(4):
                    total += (student[layer, b, t, d] - teacher[layer, b, t, d]).item() ** 2
                    count += 1
        layers.append(total / count)
        expected += (1.0 if layer == 2 else 0.1) * total / count
    loss, errors = hint_loss(list(student), list(teacher), torch.tensor(lengths))
    torch.testing.assert_close(loss.item(), expected)
    torch.testing.assert_close(errors, torch.tensor(layers))


def test_without_padding_all_frames_count():
    student, teacher = torch.randn(2, 3, 5, 4), torch.randn(2, 3, 5, 4)
    full, _ = hint_loss(list(student), list(teacher), None)
    masked, _ = hint_loss(list(student), list(teacher), torch.tensor([5, 5, 5]))
    torch.testing.assert_close(full, masked)


def test_prediction_loss_by_loops():
    """facts 2.1: L1 / K - log sigmoid(cos), valid frames only, the mean of frames, the sum of layers."""
    student, teacher = torch.randn(2, 2, 5, 4), torch.randn(2, 2, 5, 4)
    lengths = [5, 3]
    layers = []
    for layer in range(2):
        total = 0.0
        for b, frames in enumerate(lengths):
            for t in range(frames):
                s, f = student[layer, b, t].tolist(), teacher[layer, b, t].tolist()
                dot = sum(x * y for x, y in zip(s, f, strict=True))
                cosine = dot / math.sqrt(sum(x * x for x in s) * sum(y * y for y in f))
                total += sum(abs(x - y) for x, y in zip(s, f, strict=True)) / 4 + math.log(1 + math.exp(-cosine))
        layers.append(total / sum(lengths))
    loss, errors = prediction_loss(list(student), list(teacher), torch.tensor(lengths))
    torch.testing.assert_close(loss.item(), sum(layers))
    torch.testing.assert_close(errors, torch.tensor(layers))
    full, _ = prediction_loss(list(student), list(teacher), None)
    torch.testing.assert_close(full, prediction_loss(list(student), list(teacher), torch.tensor([5, 5]))[0])


def test_hints_by_l1_and_cosine():
    """The terms of prediction heads, each weighted as the MSEs of hints are."""
    student, teacher = list(torch.randn(3, 2, 5, 4)), list(torch.randn(3, 2, 5, 4))
    lengths = torch.tensor([5, 3])
    _, terms = prediction_loss(student, teacher, lengths)
    loss, errors = hint_loss(student, teacher, lengths, hint_weight=0.3, kind="l1_cosine")
    torch.testing.assert_close(errors, terms)
    torch.testing.assert_close(loss, terms[2] + 0.3 * (terms[0] + terms[1]))

"""Against least squares on the rows themselves."""

import pytest
import torch

from fithubert_upstream.pruning.reconstruction import RIDGE, Moments, refit, removal_order


def rows(count=60, channels=8):
    """Inputs that depend on each other."""
    draw = torch.Generator().manual_seed(3)
    mixed = torch.randn(channels, channels, generator=draw)
    return torch.randn(count, channels, generator=draw).double() @ mixed.double() + 2.0


def weights(channels=8, outputs=5):
    return torch.randn(channels, outputs, generator=torch.Generator().manual_seed(4)).double()


def moments_of(x, centred=True):
    moments = Moments(x.size(1))
    for part in x.split(7):
        moments.add(part)
    return moments.second(centred)


def least_squares(x, weight, kept):
    """The best weights on the columns kept and the mean squared error, ridge and all, by lstsq on rows."""
    x = x - x.mean(0)
    ridge = RIDGE * x.square().mean()
    x = torch.cat([x / len(x) ** 0.5, ridge.sqrt() * torch.eye(x.size(1)).double()])
    found = torch.linalg.lstsq(x[:, kept], x @ weight).solution
    return found, float((x @ weight - x[:, kept] @ found).square().sum())


@pytest.mark.parametrize("centred", [True, False])
def test_moments(centred):
    x = rows()
    expected = torch.cov(x.T, correction=0) if centred else x.T @ x / len(x)
    ridge = RIDGE * expected.diagonal().mean() * torch.eye(8).double()
    torch.testing.assert_close(moments_of(x, centred), expected + ridge)


@pytest.mark.parametrize("size", [1, 2])
def test_the_cheapest_group_goes_each_time(size):
    x, weight = rows(), weights()
    order, errors = removal_order(moments_of(x), weight, size)
    assert sorted(order) == list(range(8 // size)) and errors[0] == 0
    left = list(range(8 // size))
    for group, error in zip(order, errors[1:], strict=True):
        tried = {}
        for without in left:
            kept = [g * size + n for g in left if g != without for n in range(size)]
            tried[without] = least_squares(x, weight, kept)[1]
        assert group == min(tried, key=tried.get)
        assert error == pytest.approx(tried[group], rel=1e-8)
        left.remove(group)


@pytest.mark.parametrize("kept", [[0, 3, 4], [1], []])
def test_refit(kept):
    x, weight = rows(), weights()
    found = refit(moments_of(x), weight, torch.tensor(kept, dtype=torch.long))
    torch.testing.assert_close(found[kept], least_squares(x, weight, kept)[0])
    assert not found[[n for n in range(8) if n not in kept]].any()


def test_what_goes_leaves_the_arguments_alone():
    moments, weight = moments_of(rows()), weights()
    before = moments.clone(), weight.clone()
    removal_order(moments, weight, 2)
    assert torch.equal(moments, before[0]) and torch.equal(weight, before[1])

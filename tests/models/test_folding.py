import copy

import torch
from torch import nn

from fithubert_upstream.models.folding import Folding


class Double(Folding):
    """Counts how often it folds."""

    def __init__(self):
        super().__init__()
        self.weight, self.folds = nn.Parameter(torch.ones(2)), 0

    def fold(self):
        self.folds += 1
        return 2 * self.weight


def test_it_folds_once_in_eval_without_gradients():
    layer = Double().eval()
    with torch.no_grad():
        assert layer.folded() is layer.folded() and layer.folds == 1
    with torch.inference_mode():
        layer.folded()
    assert layer.folds == 1
    assert layer.folded().requires_grad and layer.folds == 2
    with torch.no_grad():
        layer.train().folded(), layer.folded()
    assert layer.folds == 4


@torch.no_grad()
def test_it_follows_every_change_of_a_parameter():
    layer = Double().eval()

    def expect(value):
        assert layer.folded().tolist() == [2 * value] * 2

    expect(1.0)
    layer.weight.fill_(2.0)
    expect(2.0)
    layer.load_state_dict({"weight": torch.full((2,), 3.0)})
    expect(3.0)
    layer.load_state_dict({"weight": torch.full((2,), 4.0)}, assign=True)
    expect(4.0)
    assert layer.to(torch.float64).folded().dtype is torch.float64
    optimizer = torch.optim.SGD(layer.parameters(), lr=1.0)
    layer.weight.grad = torch.ones(2, dtype=torch.float64)
    optimizer.step()  # in eval all along
    expect(3.0)
    other = copy.deepcopy(layer)
    other.weight.fill_(5.0)
    expect(3.0)
    assert other.folded().tolist() == [10.0, 10.0]


def test_a_layer_made_in_inference_mode():
    with torch.inference_mode():
        layer = Double().eval()
        assert layer.folded() is layer.folded()

import math

import pytest
import torch

from fithubert_upstream.models.config import FitHubertConfig
from fithubert_upstream.pruning.gates import CLOSED_HEADS, Gates, HardConcrete, size_of
from fithubert_upstream.pruning.shrink import shrink
from fithubert_upstream.pruning.students import copy_of

from ..helpers.pruning import TEACHER, make_model, settle
from ..helpers.tiny import RELATIVES


def spread_out() -> HardConcrete:
    gate = HardConcrete(5, closed=0.5)
    with torch.no_grad():
        gate.log_alpha.copy_(torch.tensor([-6.0, -2.0, 0.0, 1.5, 6.0]))
    return gate


def test_the_probability_of_an_open_gate_by_sampling():
    gate = spread_out()
    with torch.no_grad():
        draws = torch.stack([gate() for _ in range(5000)])
    assert draws.min() == 0 and draws.max() == 1
    torch.testing.assert_close((draws > 0).float().mean(0), gate.logits.sigmoid(), atol=0.03, rtol=0)
    assert ((draws > 0) & (draws < 1)).any()


def test_a_draw_by_the_papers_formula():
    gate = spread_out()
    torch.manual_seed(3)
    drawn = gate()
    torch.manual_seed(3)
    for u, log_alpha, z in zip(
        torch.empty(5).uniform_(1e-6, 1 - 1e-6).tolist(), gate.log_alpha.tolist(), drawn.tolist(), strict=True
    ):
        s = 1 / (1 + math.exp(-(math.log(u) - math.log(1 - u) + log_alpha) / (2 / 3)))
        assert z == pytest.approx(min(1.0, max(0.0, s * 1.2 - 0.1)), abs=1e-5)


def test_fixed_gates_are_as_many_as_expected_and_near_the_mean():
    gate = spread_out()
    with torch.no_grad():
        mean = torch.stack([gate() for _ in range(5000)]).mean(0)
    fixed = gate.eval()()
    assert (fixed > 0).tolist() == [False, False, True, True, True]  # 2.9 are expected to be open
    assert torch.equal(fixed, gate())
    torch.testing.assert_close(fixed[2:], mean[2:], atol=0.1, rtol=0)
    assert not fixed.requires_grad


def test_where_gates_begin():
    gates = Gates(TEACHER)
    heads = torch.cat([gate.log_alpha for gate in gates.heads])
    assert heads.mean().item() == pytest.approx(math.log((1 - CLOSED_HEADS) / CLOSED_HEADS), abs=0.02)
    assert torch.cat([gate.log_alpha for gate in gates.ffns]).mean().item() == pytest.approx(0, abs=0.02)
    assert [len(mask) for mask in gates().convs] == [channels for channels, _, _ in TEACHER.conv_layers]


@pytest.mark.parametrize(
    "config", [TEACHER, FitHubertConfig.from_dict(RELATIVES["pruned layers"])], ids=["even", "uneven"]
)
def test_expected_size_by_counting_what_is_left_over_draws(config):
    """One channel of each convolution is always open, since a model without any cannot be built."""
    student = copy_of(make_model(config))
    gates = settle(Gates(student.config)).train() if config is TEACHER else Gates(student.config)
    with torch.no_grad():
        for gate in gates.convs:
            gate.log_alpha[0] = 30.0
        if config is TEACHER:
            gates.heads[0].log_alpha.fill_(-2.0)  # all of them closed now and then
        sizes = [sum(p.numel() for p in shrink(student, gates()).parameters()) for _ in range(60)]
        expected = gates.expected_size().item()
    sizes = torch.tensor(sizes, dtype=torch.float64)
    assert sizes.std() > 0
    assert abs(sizes.mean().item() - expected) < 4 * sizes.std().item() / math.sqrt(len(sizes))


@pytest.mark.parametrize("time_reduction", [1, 2])
def test_size_of_everything_is_the_whole_model(time_reduction):
    student = copy_of(make_model(), time_reduction)
    convs = [channels for channels, _, _ in TEACHER.conv_layers]
    size = size_of(student.config, convs, [4] * 3, [20] * 3, [1] * 3, [1] * 3)
    assert size == sum(weight.numel() for weight in student.parameters())


def test_gates_learn_by_the_expected_size():
    gates = Gates(TEACHER)
    gates.expected_size().backward()
    for gate in (*gates.convs, *gates.heads, *gates.ffns):
        assert (gate.log_alpha.grad > 0).all()


def test_gates_are_moved_to_a_size():
    student = copy_of(make_model())
    gates = settle(Gates(student.config))
    before = [log_alpha.clone() for log_alpha in gates.parameters()]
    whole = sum(weight.numel() for weight in student.parameters())
    for share in (0.4, 0.6, 0.8):
        moved = gates.moved_to(share * whole)
        size = sum(weight.numel() for weight in shrink(student, moved.eval()()).parameters())
        assert size == moved.fixed_size()
        assert size / whole == pytest.approx(share, abs=0.02)  # a head is 4 %
        shifts = torch.cat([now - was for now, was in zip(moved.parameters(), before, strict=True)])
        assert (shifts - shifts.mean()).abs().max() < 1e-4
    assert all(torch.equal(now, was) for now, was in zip(gates.parameters(), before, strict=True))

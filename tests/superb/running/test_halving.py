"""Successive halving: who is stopped follows from the curves alone."""

import pytest

from fithubert_upstream.downstream.tasks import ASR, KS
from fithubert_upstream.superb.running.halving import falls_behind


def kept_by_hand(own, others, evaluations):
    """After a quarter, a half, ... of the evaluations the better half of the rates that have come so far goes on."""
    rung = max(1, evaluations // 4)
    while rung <= len(own):
        reached = [max(values[:rung]) for values in (*others, own) if len(values) >= rung]
        if max(own[:rung]) < sorted(reached, reverse=True)[max(1, len(reached) // 2) - 1]:
            return False
        rung *= 2
    return True


@pytest.mark.parametrize(
    ("own", "others", "stops"),
    [
        ([10.0], [[50.0, 80.0], [40.0, 70.0]], True),
        ([60.0], [[50.0, 80.0], [40.0, 70.0]], False),
        ([0.0], [], False),  # nothing to compare it with
        ([0.0], [[], []], False),
        ([70.0, 10.0], [[50.0, 60.0]], False),  # its best checkpoint has 70
        ([55.0, 58.0], [[50.0, 60.0]], True),  # ahead at first, behind at the second
        ([70.0, 71.0, 1.0], [[50.0, 60.0, 90.0]], False),  # the third is no rung
    ],
)
def test_accuracy(own, others, stops):
    assert falls_behind(KS, own, others, 5) is stops
    assert kept_by_hand(own, others, 5) is not stops


def test_no_one_is_stopped_before_a_quarter_or_at_the_end():
    ahead = [[50.0] * 8]
    for count, stops in ((1, False), (2, True), (4, True), (8, False)):
        assert falls_behind(KS, [10.0] * count, ahead, 8) is stops
        assert kept_by_hand([10.0] * count, ahead, 8) is not stops or count == 8


def test_error_rate():
    assert not falls_behind(ASR, [40.0], [[50.0]], 5)
    assert falls_behind(ASR, [60.0], [[50.0]], 5)


def test_nothing_is_remembered():
    for _ in range(2):
        assert falls_behind(KS, [10.0], [[50.0], [40.0]], 5) and not falls_behind(KS, [60.0], [[50.0], [40.0]], 5)

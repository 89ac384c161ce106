"""The plan against a slow form that does not look ahead, and its promises."""

import numpy as np
import pytest

from fithubert_upstream.data import batches
from fithubert_upstream.data.batches import BatchPlan, BatchSampler


def lengths(count, seed=0):
    return np.random.default_rng(seed).uniform(1, 16, count).astype(np.float32)


def one_shard(seconds):
    return np.zeros(len(seconds), np.int32)


def slow_epoch(seconds, size, seed, epoch):
    """Consecutive groups of the utterances in rising length, in an order drawn for the epoch."""
    order = sorted(range(len(seconds)), key=lambda i: (seconds[i], i))
    groups = []
    while order:
        groups.append(order[:size])
        order = order[size:]
    return [groups[i] for i in np.random.default_rng([seed, epoch]).permutation(len(groups))]


def test_the_authors_batches_against_a_slow_form():
    seconds = lengths(50)
    plan = BatchPlan(seconds, one_shard(seconds), batch_size=7)
    assert len(plan) == 8
    expected = [batch for epoch in range(3) for batch in slow_epoch(seconds, 7, 5, epoch)]
    # One window's place among one is drawn too, from the same generator; it takes nothing from it.
    assert [plan.batch(5, number).tolist() for number in range(24)] == expected
    assert [plan.batch(5, number).tolist() for number in reversed(range(24))] == expected[::-1]


def as_sets(plan, seed, epoch):
    return sorted(sorted(batch.tolist()) for batch in plan.epoch(seed, epoch))


@pytest.mark.parametrize("longest", [float("inf"), 4.0])
def test_batches_by_seconds(longest):
    seconds = lengths(2000)
    plan = BatchPlan(seconds, one_shard(seconds), batch_seconds=60.0, num_buckets=30, longest=longest)
    clipped = np.minimum(seconds, longest)
    memberships = []
    for epoch in range(3):
        found = plan.epoch(3, epoch)
        assert len(found) == len(plan)
        assert sorted(np.concatenate(found).tolist()) == list(range(2000))  # each once
        assert all(len(batch) * clipped[batch].max() <= 60.0 + 1e-3 for batch in found)
        memberships.append(as_sets(plan, 3, epoch))
    assert memberships[0] != memberships[1]  # drawn anew
    # Little is lost to padding, or to cropping; and batches are nearly full.
    kept = [clipped[batch].min() / clipped[batch].mean() for batch in found]
    assert np.mean(kept) > 0.8
    assert clipped.sum() / (60.0 * len(plan)) > 0.8
    assert max(map(len, found)) > 2 * min(map(len, found)) or longest == 4.0  # short ones: more of them


def test_an_utterance_longer_than_a_batch_is_one():
    seconds = np.array([9.0, 1.0, 1.0], np.float32)
    plan = BatchPlan(seconds, one_shard(seconds), batch_seconds=2.0, num_buckets=1)
    assert as_sets(plan, 0, 0) == [[0], [1], [2]]
    plan = BatchPlan(seconds, one_shard(seconds), batch_seconds=2.0, num_buckets=1, longest=1.0)
    assert sorted(map(len, plan.epoch(0, 0))) == [1, 2]


@pytest.mark.parametrize("size", [{"batch_size": 6}, {"batch_seconds": 40.0}])
def test_a_stretch_of_batches_keeps_to_a_few_shards(monkeypatch, size):
    monkeypatch.setattr(batches, "WINDOW", 250)
    seconds, shards = lengths(1000), np.repeat(np.arange(20, dtype=np.int32), 50)
    plan = BatchPlan(seconds, shards, **size)
    orders = []
    for epoch in range(3):
        found = plan.epoch(1, epoch)
        assert len(found) == len(plan) and sorted(np.concatenate(found).tolist()) == list(range(1000))
        windows = [tuple(sorted({shard % 4 for shard in shards[batch].tolist()})) for batch in found]
        assert all(len(window) == 1 for window in windows)
        changes = [window for window, before in zip(windows, [None, *windows], strict=False) if window != before]
        assert sorted(changes) == [(0,), (1,), (2,), (3,)]  # each once
        orders.append(changes)
    assert len(set(map(tuple, orders))) > 1


def test_without_shuffling_all_epochs_rise_in_length():
    seconds = lengths(50)
    for size in ({"batch_size": 7}, {"batch_seconds": 30.0}):
        plan = BatchPlan(seconds, one_shard(seconds), shuffle=False, **size)
        first = [batch.tolist() for batch in plan.epoch(1, 0)]
        assert [batch.tolist() for batch in plan.epoch(2, 5)] == first
        assert sum(first, []) == np.argsort(seconds).tolist()


@pytest.mark.parametrize("world_size", [1, 2, 3, 11])
@pytest.mark.parametrize("consumed", [0, 3, 7, 8, 20])
def test_ranks_together_have_one_stretch_of_the_global_list(world_size, consumed):
    seconds = lengths(50)
    plan = BatchPlan(seconds, one_shard(seconds), batch_size=7)  # 8 batches
    samplers = [BatchSampler(plan, 1, rank, world_size) for rank in range(world_size)]
    for sampler in samplers:
        sampler.consumed = consumed
    shares = [[number for _, number in sampler] for sampler in samplers]
    assert len({len(share) for share in shares}) == 1
    together = sorted(sum(shares, []))
    end = consumed + 8 - consumed % 8  # the epoch's
    assert together == list(range(consumed, consumed + len(together)))
    assert end <= consumed + len(together) < end + world_size
    assert consumed or len(shares[0]) == len(samplers[0])
    for _ in shares[0]:
        samplers[0].note()
    assert samplers[0].consumed == consumed + len(together)


def test_long_utterances_come_as_often_as_their_crops_fit():
    seconds = np.array([0.5, 1.0, 2.5, 7.9, 4.0], np.float32)
    settings = {"batch_seconds": 2.0, "longest": 1.0}
    plan = BatchPlan(seconds, np.zeros(5, int), **settings, proportional=True)
    for epoch in range(3):
        counts = np.bincount(np.concatenate(plan.epoch(1, epoch)), minlength=5)
        assert counts.tolist() == [1, 1, 3, 8, 4]
    once = BatchPlan(seconds, np.zeros(5, int), **settings)
    assert np.bincount(np.concatenate(once.epoch(1, 0))).tolist() == [1] * 5

"""ABX errors against a slow form; fastabx needs Python 3.12."""

import itertools
import math
import sys
from fractions import Fraction

import numpy as np
import pytest
import torch

from fithubert_upstream.abx.score import abx_error, check_fastabx
from fithubert_upstream.corpora.items import Item
from fithubert_upstream.errors import FitHubertError


def angle(a, b):
    cosine = np.dot(a, b) / (np.linalg.norm(a) * np.linalg.norm(b))
    return math.acos(min(1.0, max(-1.0, cosine))) / math.pi


def warped(one, other):
    """The sum of angles along the cheapest path, over the path's length."""
    n, m = len(one), len(other)
    cost = np.array([[angle(a, b) for b in other] for a in one])
    total = np.full((n, m), np.inf)
    steps = np.zeros((n, m))
    for i, j in itertools.product(range(n), range(m)):
        places = ((i - 1, j - 1), (i - 1, j), (i, j - 1))
        before = [(total[place], steps[place]) for place in places if min(place) >= 0]
        best, count = min(before, key=lambda one: one[0], default=(0.0, 0))
        total[i, j], steps[i, j] = best + cost[i, j], count + 1
    return total[-1, -1] / steps[-1, -1]


def slow_error(items, frames, mode):
    """Over all pairs of phones: the mean over speakers of the mean over contexts of the error of triplets."""
    pairs = {}
    for a, b in itertools.permutations(sorted({item.phone for item in items}), 2):
        speakers = {}
        for context in sorted({(item.before, item.after) for item in items}):
            here = [n for n, item in enumerate(items) if (item.before, item.after) == context]
            for who in sorted({item.speaker for item in items}):
                same = [n for n in here if items[n].phone == a and items[n].speaker == who]
                others = [n for n in here if items[n].phone == b and items[n].speaker == who]
                xs = {who: same}
                if mode == "across":
                    xs = {
                        x: [n for n in here if items[n].phone == a and items[n].speaker == x]
                        for x in sorted({item.speaker for item in items} - {who})
                    }
                for asked in xs.values():
                    triplets = [(p, q, x) for p in same for q in others for x in asked if p != x]
                    wrong = []
                    for p, q, x in triplets:
                        to_a, to_b = warped(frames[p], frames[x]), warped(frames[q], frames[x])
                        wrong.append(0.5 if abs(to_a - to_b) < 1e-9 else float(to_a > to_b))
                    if wrong:
                        speakers.setdefault(who, {}).setdefault(context, []).append(np.mean(wrong))
        if speakers:
            pairs[a, b] = speakers
    return pairs


@pytest.fixture
def few():
    generator = np.random.default_rng(0)
    items, frames = [], []
    for speaker in "st":
        for phone, _ in itertools.product("eo", range(3)):
            items.append(Item("f", Fraction(0), Fraction(1), phone, "d", "n", speaker))
            centre = np.array([1.0, 0.2, 0.1] if phone == "e" else [0.3, 0.9, 0.2])
            count = generator.integers(2, 5)
            frames.append(np.abs(centre + 0.6 * generator.standard_normal((count, 3))).astype(np.float32))
    return items, frames


@pytest.mark.parametrize("mode", ["within", "across"])
def test_against_a_slow_form(few, mode):
    pytest.importorskip("fastabx", reason="fastabx needs Python 3.12 and the extra abx")
    items, frames = few
    slow = slow_error(items, frames, mode)
    expected = 100 * np.mean([np.mean([np.mean(c) for w in s.values() for c in w.values()]) for s in slow.values()])
    ends = list(np.cumsum([len(one) for one in frames]))
    found = abx_error(items, torch.from_numpy(np.concatenate(frames)), [int(end) for end in ends], mode)
    assert 0 < found < 50 and found == pytest.approx(expected, abs=1e-3)


def test_what_is_drawn_follows_from_the_seed():
    """polars joins cells in the order of its threads, so that other speakers were drawn each time."""
    pytest.importorskip("fastabx", reason="fastabx needs Python 3.12 and the extra abx")
    generator = np.random.default_rng(1)
    labels = [(phone, before, str(speaker)) for phone in "eoau" for before in "dnt" for speaker in range(12)]
    items = [Item("f", Fraction(0), Fraction(1), phone, before, "n", speaker) for phone, before, speaker in labels * 2]
    frames = torch.from_numpy(generator.random((3 * len(items), 8), dtype=np.float32))
    ends = list(range(3, 3 * len(items) + 1, 3))
    one, *others = [abx_error(items, frames, ends, "across", seed) for seed in (0, 0, 0, 0, 0, 1)]
    assert others[:-1] == pytest.approx([one] * 4, abs=1e-6) and others[-1] != pytest.approx(one, abs=1e-4)


def test_nothing_to_compare(few):
    pytest.importorskip("fastabx", reason="fastabx needs Python 3.12 and the extra abx")
    items, frames = few
    alone = [item._replace(before=str(number)) for number, item in enumerate(items)]
    ends = [int(end) for end in np.cumsum([len(one) for one in frames])]
    with pytest.raises(FitHubertError, match="expected two phones by one speaker in one context, found none"):
        abx_error(alone, torch.from_numpy(np.concatenate(frames)), ends, "within")


def test_an_older_python(monkeypatch):
    monkeypatch.setattr(sys, "version_info", (3, 11, 7))
    with pytest.raises(FitHubertError, match="expected Python 3.12 or newer, which fastabx needs, found 3.11"):
        check_fastabx()


def test_without_the_extra(monkeypatch):
    monkeypatch.setattr(sys, "version_info", (3, 12, 1))
    monkeypatch.setitem(sys.modules, "fastabx", None)
    with pytest.raises(FitHubertError, match=r"pip install 'fithubert-upstream\[abx\]'"):
        check_fastabx()

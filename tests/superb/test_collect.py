"""A cell of the table: the mean over folds and seeds."""

import pytest

from fithubert_upstream.superb.collect import collect


class Run:
    def __init__(self, seed, value, **more):
        self.identity = {"seed": seed}
        self._result = None if value is None else {"value": value, "note": "", **more}

    def result(self):
        return self._result


def test_folds_before_seeds():
    cell = collect([Run(1, 10.0), Run(1, 20.0), Run(2, 30.0), Run(2, 40.0)])
    assert (cell.value, cell.spread) == pytest.approx((25.0, 14.1421), abs=1e-4)  # of 15 and 35
    assert len(cell.results()) == 4


def test_a_seed_counts_when_all_its_folds_are_done():
    assert collect([Run(1, 10.0), Run(1, None)]) is None
    cell = collect([Run(1, 10.0), Run(1, 20.0), Run(2, 30.0), Run(2, None)])
    assert (cell.value, cell.spread) == (15.0, None)


def test_layers_notes_and_search():
    one = Run(1, 10.0, layer_weights=[0.2, 0.8], note="late", search=[{"lr": 1}])
    cell = collect([one, Run(2, 20.0, layer_weights=[0.4, 0.6], note="late")])
    assert cell.layers == pytest.approx([0.3, 0.7]) and cell.notes == ("late",) and cell.search == [{"lr": 1}]
    assert collect([Run(1, 5.0)]).results() == {"value": 5.0, "note": ""}


def test_further_numbers_have_mean_and_spread_too():
    runs = [Run(1, 10.0, more={"sf_cer": 30.0}), Run(2, 20.0, more={"sf_cer": 50.0})]
    numbers = collect(runs).numbers("sf")
    assert numbers["sf"] == pytest.approx((15.0, 7.0711), abs=1e-4)
    assert numbers["sf_cer"] == pytest.approx((40.0, 14.1421), abs=1e-4)
    assert collect(runs[:1]).numbers("sf") == {"sf": (10.0, None), "sf_cer": (30.0, None)}
    assert collect([Run(1, 5.0), *runs]).numbers("pr").keys() == {"pr"}  # of an older version

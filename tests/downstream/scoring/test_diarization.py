"""The error rate of speaker diarization, against counting in milliseconds and trying every assignment of speakers."""

from itertools import permutations

import numpy as np
import pytest

from fithubert_upstream import errors
from fithubert_upstream.corpora.layouts.librimix import Turn, read_rttm
from fithubert_upstream.downstream.scoring import diarization
from fithubert_upstream.downstream.scoring.diarization import error_rate, rttm, score, turns_of
from fithubert_upstream.errors import FitHubertError


def slow_errors(truth, found):
    """(missed, false and confused, of how many) milliseconds in which somebody speaks, in one recording."""
    last = max(turn.end for turn in (*truth, *found))

    def active(turns):
        speakers = sorted({turn.speaker for turn in turns})
        table = np.zeros((len(speakers), round(1000 * last)), dtype=bool)
        for start, end, speaker in turns:
            table[speakers.index(speaker), round(1000 * start) : round(1000 * end)] = True
        return table

    true, heard = active(truth), active(found)
    size = max(len(true), len(heard))
    true, heard = (np.pad(table, ((0, size - len(table)), (0, 0))) for table in (true, heard))
    right = max(
        sum((true[k] & heard[other]).sum() for k, other in enumerate(order)) for order in permutations(range(size))
    )
    return np.maximum(true.sum(0), heard.sum(0)).sum() - right, true.sum()


def random_turns(generator, speakers):
    turns = []
    for speaker in range(speakers):
        for start in generator.integers(0, 5000, size=generator.integers(1, 5)):
            turns.append(Turn(start / 1000, (start + generator.integers(20, 2000)) / 1000, f"s{speaker}"))
    return turns


def test_error_rate_is_that_of_counting():
    generator = np.random.default_rng(7)
    truth = {f"r{k}": random_turns(generator, 2 + k % 2) for k in range(12)}
    found = {name: random_turns(generator, 1 + k % 3) for k, name in enumerate(truth)}
    for name in truth:
        wrong, spoken = slow_errors(truth[name], found[name])
        assert error_rate({name: truth[name]}, found) == pytest.approx(wrong / spoken, rel=1e-6)
    counted = [slow_errors(truth[name], found[name]) for name in truth]
    total = sum(wrong for wrong, _ in counted) / sum(spoken for _, spoken in counted)
    assert error_rate(truth, found) == pytest.approx(total, rel=1e-6)


def test_error_rates_that_can_be_said_by_hand():
    truth = {"r": [Turn(0, 2, "a"), Turn(1, 3, "b")], "q": [Turn(0, 1, "a")]}
    assert error_rate(truth, {}) == error_rate(truth, {"r": []}) == 1
    assert error_rate(truth, {"r": [Turn(1, 3, "x"), Turn(0, 2, "y")], "q": [Turn(0, 1, "z")]}) == 0
    assert error_rate({"r": truth["r"]}, {"r": [Turn(0, 4, "x"), Turn(0, 4, "y")]}) == 1  # both always: 4 s too much
    assert error_rate({"q": truth["q"]}, {"q": [Turn(0, 4, "x")]}) == 3
    twice = {"r": [Turn(0, 2, "a"), Turn(1, 2, "a"), Turn(1, 3, "b")]}  # a speaker who overlaps himself
    assert error_rate(twice, {"r": [Turn(0, 2, "x")]}) == 0.5
    with pytest.raises(FitHubertError, match="expected turns of speakers to score by, found none"):
        error_rate({"r": []}, {})


def slow_turns(probabilities, shift, median, threshold):
    length, speakers = probabilities.shape
    turns = []
    for s in range(speakers):
        active = [bool(p > threshold) for p in probabilities[:, s]]
        half = median // 2
        padded = [False] * half + active + [False] * half
        active = [sorted(padded[i : i + median])[half] for i in range(length)]
        start = None
        for i, on in enumerate([*active, False]):
            if on and start is None:
                start = i
            elif not on and start is not None:
                turns.append(Turn(round(start * shift / 16000, 3), round(i * shift / 16000, 3), str(s)))
                start = None
    return turns


@pytest.mark.parametrize("shift", [160, 320, 640, 256])
@pytest.mark.parametrize("median", [1, 11])
def test_turns_are_those_of_a_loop(shift, median):
    generator = np.random.default_rng(shift)
    smooth = np.repeat(generator.random((30, 2), dtype=np.float32), 4, axis=0)  # so that a median leaves some
    for threshold in diarization.THRESHOLDS:
        turns = turns_of(smooth, shift, median, threshold)
        assert turns and turns == slow_turns(smooth, shift, median, threshold)
    assert turns_of(np.ones((3, 1)), shift, 1, 0.5) == [Turn(0, 3 * shift / 16000, "0")]
    assert turns_of(np.zeros((3, 2)), shift, median, 0.5) == [] == turns_of(np.zeros((0, 2)), shift, median, 0.5)


def test_rttm_files_hold_what_is_scored(tmp_path):
    turns = {"one": [Turn(0.0, 0.64, "0"), Turn(1.2, 2.016, "1")], "two.x": [Turn(3.0, 3.02, "1")]}
    (tmp_path / "rttm").write_text(rttm(turns))
    read = read_rttm(tmp_path / "rttm")
    assert list(read) == list(turns) and [turn.speaker for turn in read["one"]] == ["one_0", "one_1"]
    for name in turns:
        for one, other in zip(read[name], turns[name], strict=True):
            assert one[:2] == pytest.approx(other[:2])


def test_the_best_of_ten_ways(tmp_path):
    truth = {"r": [Turn(0, 1, "a"), Turn(0.5, 1.5, "b")]}
    probabilities = np.full((100, 2), 0.1)  # of 20 ms
    probabilities[:50, 0], probabilities[25:75, 1] = 0.65, 0.45
    probabilities[80, 0] = 0.45  # which a median takes away
    scores = score({"r": probabilities}, truth, 320, tmp_path)
    ders = {(one.median, one.threshold): one.der for one in scores}
    assert len(scores) == 10 and scores[0] == (11, 0.3, 0) and [s.der for s in scores] == sorted(s.der for s in scores)
    assert ders[11, 0.4] == 0 and ders[1, 0.4] == pytest.approx(0.02 / 2)
    assert ders[1, 0.5] == ders[11, 0.6] == 0.5 and ders[1, 0.7] == 1
    assert len(list(tmp_path.glob("hyp_0.*_1*.rttm"))) == 10
    assert (tmp_path / "hyp_0.5_11.rttm").read_text() == "SPEAKER r 1 0.000 1.000 <NA> <NA> r_0 <NA> <NA>\n"
    assert (tmp_path / "der.csv").read_text().splitlines()[:2] == ["median,threshold,DER %", "11,0.3,0.0000"]
    with pytest.raises(FitHubertError, match="expected the turns of q to score by, found none"):
        score({"q": probabilities}, truth, 320, tmp_path)


@pytest.mark.parametrize("package", ["h5py", "pyannote.metrics.diarization"])
def test_packages_of_an_extra(package, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, package, None)
    with pytest.raises(errors.MissingPackage, match=r"^speaker diarization needs .*fithubert-upstream\[superb\]"):
        diarization.check_conversations({}, ["test"])

"""The MTWV against a slow form, which tries every threshold in turn and counts."""

import math

import numpy as np
import pytest

from fithubert_upstream.corpora.layouts.quesst14 import Truth
from fithubert_upstream.downstream.query_by_example.mtwv import BETA, mtwv, read_scores
from fithubert_upstream.errors import FitHubertError


def slow_mtwv(scores, truth):
    """(value, threshold) by the definition: misses and false alarms of each query at each score that occurs."""
    queries = [query for query, targets in truth.targets.items() if targets]
    best = (0.0, math.inf)
    for threshold in sorted({score for row in scores.values() for score in row.values()}, reverse=True):
        terms = []
        for query in queries:
            found = {name for name, score in scores.get(query, {}).items() if score >= threshold} & truth.documents
            misses = len(truth.targets[query] - found)
            others = truth.documents - truth.targets[query]
            alarms = len(found & others) / len(others) if others else 0
            terms.append(misses / len(truth.targets[query]) + 12.49 * alarms)
        value = 1 - sum(terms) / len(terms)
        if value > best[0] + 1e-12:
            best = (value, threshold)
    return best


def trials(seed: int, queries: int = 7, documents: int = 40, digits: int = 1):
    """Scores with many equal ones, some queries without a document, some documents without scores."""
    generator = np.random.default_rng(seed)
    names = [f"d{k}" for k in range(documents)]
    targets = {f"q{k}": frozenset(generator.choice(names, generator.integers(0, 4), False)) for k in range(queries)}
    scores = {}
    for query, held in targets.items():
        scored = [name for name in names if generator.random() < 0.9]
        scores[query] = {n: round(float(generator.normal() + 2 * (n in held)), digits) for n in scored}
    return scores, Truth(targets, frozenset(names))


@pytest.mark.parametrize("seed", range(20))
def test_it_is_that_of_the_definition(seed):
    scores, truth = trials(seed, digits=seed % 3)
    best, (value, threshold) = mtwv(scores, truth), slow_mtwv(scores, truth)
    assert best.value == pytest.approx(value, abs=1e-9) and 0 <= best.value <= 1
    assert best.threshold == threshold


def test_costs():
    """At a prior of 0.0008, a miss costs 100 times what a false alarm does."""
    assert pytest.approx(12.49) == BETA
    truth = Truth({"q": frozenset("ab")}, frozenset(f"{chr(97 + k)}" for k in range(26)))
    one_alarm = {"q": {"a": 3.0, "z": 2.0, "b": 1.0}}
    assert mtwv(one_alarm, truth) == (0.5, 3.0)  # better than both and an alarm: 1 - 12.49 / 24
    documents = frozenset(f"d{k}" for k in range(98)) | {"a", "b"}
    alarm = mtwv({"q": {"a": 3.0, "d7": 2.0, "b": 1.0}}, Truth(truth.targets, documents))
    assert alarm == (pytest.approx(1 - 12.49 / 98), 1.0)
    assert mtwv({"q": {"a": 3.0, "b": 1.0, "z": 0.5}}, truth) == (1.0, 1.0)
    assert mtwv({"q": {"z": 3.0, "b": 1.0, "a": 1.0}}, Truth(truth.targets, frozenset("abz"))) == (0.0, math.inf)


def test_queries_without_scores_are_missed_and_those_that_are_said_nowhere_left_out():
    documents = frozenset(f"d{k}" for k in range(100))
    truth = Truth({"q": frozenset(["d1"]), "other": frozenset(["d2"]), "never": frozenset()}, documents)
    scores = {"q": {"d1": 1.0, "d2": 0.0}, "never": {"d1": 9.0}, "unlisted": {"d3": 9.0}}
    assert mtwv(scores, truth) == (0.5, 1.0)
    assert mtwv({"q": {"d1": 1.0, "elsewhere": 9.0}}, truth) == (0.5, 1.0)
    assert mtwv({}, truth) == (0.0, math.inf)


def test_a_document_of_every_query_alone():
    assert mtwv({"q": {"d": 0.0}}, Truth({"q": frozenset("d")}, frozenset("d"))) == (1.0, 0.0)


@pytest.mark.parametrize("score", [math.nan, math.inf])
def test_scores_that_are_no_numbers(score):
    truth = Truth({"q": frozenset("a")}, frozenset("ab"))
    with pytest.raises(FitHubertError, match="^query q, document b: expected a finite score, found (nan|inf); "):
        mtwv({"q": {"a": 1.0, "b": score}}, truth)


def test_nothing_to_find():
    with pytest.raises(FitHubertError, match="expected queries that are said in a document, found none"):
        mtwv({}, Truth({"q": frozenset()}, frozenset("a")))


def test_scores_are_read_from_s3prls_file(tmp_path):
    path = tmp_path / "benchmark.stdlist.xml"
    path.write_text(
        '<stdlist><detected_termlist termid="q"><term file="a" score="1.5000"/><term file="b" score="-0.2500"/>'
        '</detected_termlist><detected_termlist termid="r"/></stdlist>'
    )
    assert read_scores(path) == {"q": {"a": 1.5, "b": -0.25}, "r": {}}
    path.write_text("<stdlist>")
    with pytest.raises(FitHubertError, match="expected <detected_termlist> with scores, found: no element found"):
        read_scores(path)
    path.write_text('<stdlist><detected_termlist termid="q"><term file="a" score="x"/></detected_termlist></stdlist>')
    with pytest.raises(FitHubertError, match="could not convert"):
        read_scores(path)

"""The maximum term-weighted value (MTWV) of a search for spoken queries. Imports no torch."""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple
from xml.etree import ElementTree

import numpy as np

from ...corpora.layouts.quesst14 import Truth
from ...errors import FitHubertError

# Of QUESST's scoring script (`score-TWV-Cnxe.sh` of 2015, read in public copies; that of 2014 could not be seen).
P_TARGET, C_FALSE_ALARM, C_MISS = 0.0008, 1, 100
BETA = C_FALSE_ALARM / C_MISS * (1 / P_TARGET - 1)  # 12.49

Scores = Mapping[str, Mapping[str, float]]  # query -> document -> how likely the query is said there


class Best(NamedTuple):
    """The MTWV, as a share of 1, and the least score that counts as found there; infinity where nothing is found."""

    value: float
    threshold: float


def mtwv(scores: Scores, truth: Truth) -> Best:
    """The best term-weighted value of all thresholds.

    TWV(t) = 1 - mean over queries of (P_miss(t) + BETA * P_fa(t)), where a document is found for a query if its score
    is t or more, P_miss is the share of the documents with the query that are not found, and P_fa the share of
    those without that are. One t serves all queries; one that finds nothing has the value 0.

    The queries are those of the ground truth that are said anywhere, as in QUESST's own tool. A query or document
    without scores, such as those in other languages, which s3prl leaves out, is not found: the tool gives them the
    default score of its command (-10), which is below all.

    Sources: NIST, The Spoken Term Detection 2006 Evaluation Plan; the README of QUESST 2015's tool, in which each pair
    of a query and a document is a trial.

    Parameters
    ----------
    scores : mapping
        Query -> document -> score.
    truth : Truth

    Raises
    ------
    FitHubertError
        A score is no finite number, or no query is said anywhere.
    """
    said = {query: targets for query, targets in truth.targets.items() if targets}
    if not said:
        raise FitHubertError("expected queries that are said in a document, found none")
    values, gains = [], []
    for query, targets in said.items():
        found = 1 / len(targets)
        others = len(truth.documents) - len(targets)
        for document, score in scores.get(query, {}).items():
            if not math.isfinite(score):
                raise FitHubertError(
                    f"query {query}, document {document}: expected a finite score, found {score}; give another "
                    "dist_method with -o config.downstream_expert.dtwrc.dist_method=euclidean"
                )
            if document in truth.documents:
                values.append(score)
                gains.append(found if document in targets else -BETA / others)
    order = np.argsort(-np.array(values, dtype=float), kind="stable")
    ordered = np.array(values, dtype=float)[order]
    totals = np.cumsum(np.array(gains, dtype=float)[order]) / len(said)
    last = np.append(np.diff(ordered) != 0, True)[: len(ordered)]  # equal scores are found together
    totals, ordered = totals[last], ordered[last]
    if not len(totals) or totals.max() <= 0:
        return Best(0.0, math.inf)
    best = int(totals.argmax())
    return Best(float(totals[best]), float(ordered[best]))


def read_scores(path: str | Path) -> dict[str, dict[str, float]]:
    """What s3prl's `benchmark.stdlist.xml` holds: scores, normalised for each query, with four digits.

    Raises
    ------
    FitHubertError
        It cannot be read.
    """
    try:
        lists = list(ElementTree.parse(path).iter("detected_termlist"))
        return {
            str(one.get("termid")): {str(term.get("file")): float(term.get("score", "nan")) for term in one}
            for one in lists
        }
    except (OSError, ValueError, ElementTree.ParseError) as error:
        raise FitHubertError(f"{path}: expected <detected_termlist> with scores, found: {error}") from error

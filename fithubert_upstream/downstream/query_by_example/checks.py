"""What can be wrong with a run of query by example, and the packages that s3prl's expert needs for it."""

import contextlib
import io
from collections.abc import Mapping
from types import ModuleType
from typing import Any

import numpy as np

from ...corpora.layouts.quesst14 import check_quesst14
from ...corpora.problems import require
from ...errors import FitHubertError, from_extra

_WHERE = "config.downstream_expert"
_OWN_DISTANCES = ("cosine_exp", "cosine_neg_log")  # s3prl's, beside those of scipy


def import_dtw() -> ModuleType:
    """dtw-python, without the lines that it prints in an interactive session.

    Raises
    ------
    MissingPackage
        It, or lxml, is not installed.
    """
    with from_extra("superb", "query by example"), contextlib.redirect_stdout(io.StringIO()):
        import dtw
        import lxml.etree  # noqa: F401
    return dtw


def check_queries(expert: Mapping[str, Any]) -> None:
    """Raise FitHubertError unless the packages are there, the alignment can be made and the corpus is whole."""
    dtw, settings = import_dtw(), expert["dtwrc"]
    if expert["feature_normalization"] and settings["dist_method"] == "cosine_neg_log":
        raise FitHubertError(
            f"{_WHERE}.feature_normalization: expected False with dtwrc.dist_method cosine_neg_log, found True"
        )
    if settings["subsequence"] and settings["step_pattern"] != "asymmetric":
        raise FitHubertError(
            f"{_WHERE}.dtwrc.step_pattern: expected asymmetric with dtwrc.subsequence True, found "
            f"{settings['step_pattern']}"
        )
    _check_distance(settings["dist_method"])
    if not isinstance(getattr(dtw, settings["step_pattern"], None), dtw.StepPattern):
        known = ", ".join(name for name, kind in vars(dtw).items() if isinstance(kind, dtw.StepPattern))
        raise FitHubertError(
            f"{_WHERE}.dtwrc.step_pattern: expected a pattern of dtw-python, found {settings['step_pattern']}; it has "
            f"{known}"
        )
    require(check_quesst14(expert["datarc"]["dataset_root"]))


def _check_distance(name: str) -> None:
    from scipy.spatial import distance

    if name not in _OWN_DISTANCES:
        try:
            distance.cdist(np.eye(2), np.eye(2), name)
        except ValueError as error:
            raise FitHubertError(
                f"{_WHERE}.dtwrc.dist_method: expected {', '.join(_OWN_DISTANCES)} or a distance of scipy, found: "
                f"{error}"
            ) from None

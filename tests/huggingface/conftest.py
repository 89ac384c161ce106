"""A small student as a folder for transformers, without their bars."""

import pytest

from fithubert_upstream.huggingface.weights import from_student
from fithubert_upstream.models.fithubert import FitHubert

from ..helpers.tiny import SMALL


@pytest.fixture(autouse=True)
def quiet():
    from transformers.utils import logging

    logging.disable_progress_bar()


@pytest.fixture
def student():
    return FitHubert(SMALL).eval()


@pytest.fixture
def folder(student, tmp_path):
    from_student(student).save_pretrained(tmp_path / "small")
    return tmp_path / "small"

"""`register()` set filters of warnings and the level of a logger for the whole process, which are the user's."""

import logging
import os
import subprocess
import sys
import warnings

import pytest

import fithubert_upstream
from fithubert_upstream.compat import s3prl as s3prl_compat
from fithubert_upstream.downstream import run as run_downstream
from fithubert_upstream.errors import FitHubertError
from fithubert_upstream.pretrain import run as run_pretrain

from ..conftest import REPO

fithubert_upstream.register()  # libraries that are imported for the first time set filters of their own
LOGGER = logging.getLogger("s3prl.upstream.espnet_hubert.expert")


@pytest.fixture
def filters():
    """A filter of the user's; what stands in the lists before the test stands there after it."""
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message="the user's own")
        before = list(warnings.filters), LOGGER.level
        yield
        assert (list(warnings.filters), LOGGER.level) == before


def test_register(filters):
    fithubert_upstream.register()
    s3prl_compat.apply()


def test_a_run_that_fails(filters, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(FitHubertError):
        run_downstream.main(["-m", "train", "-u", "no_such_upstream", "-d", "ctc", "-c", "mini/pr.yaml", "-n", "x"])
    with pytest.raises(FitHubertError):
        flags = ["-g", "fithubert_mini.yaml", "-c", "fithubert_mini_runner.yaml", "-n", "x"]
        run_pretrain.main([*flags, "-o", f"config.pretrain_expert.datarc.train={tmp_path / 'none'}"])


@pytest.mark.slow
def test_the_import_is_quiet():
    code = (
        "import logging, warnings; logging.basicConfig()\n"
        "import fithubert_upstream; fithubert_upstream.register()\n"
        "print([entry for entry in map(str, warnings.filters) if 'deprecated' in entry])\n"
        "import sys; assert 'transformers' not in sys.modules"  # with it this takes more than twice as long
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=os.environ | {"PYTHONPATH": str(REPO)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == "[]" and "espnet" not in done.stderr.lower()

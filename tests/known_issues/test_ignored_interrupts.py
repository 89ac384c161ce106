"""In the background of a script the suite inherits an ignored SIGINT: one test waited for ever for a child to end."""

import os
import signal
import subprocess
import sys

import pytest

from ..conftest import REPO


@pytest.mark.skipif(os.name != "posix", reason="signals")
def test_children_of_a_suite_in_the_background_take_ctrl_c():
    code = "import signal, subprocess, sys, tests.conftest; subprocess.run([sys.executable, '-c', sys.argv[1]])"
    child = "import signal; print(signal.getsignal(signal.SIGINT) is signal.default_int_handler)"
    done = subprocess.run(
        [sys.executable, "-c", code, child],
        capture_output=True,
        text=True,
        cwd=REPO,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_IGN),
    )
    assert done.stdout == "True\n", done.stderr[-500:]

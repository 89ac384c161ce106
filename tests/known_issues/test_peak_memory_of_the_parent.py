"""On Linux the peak that `getrusage` tells counts in what the parent process held when it began this one."""

import subprocess
import sys

import pytest

CHILD = """
import torch
from fithubert_upstream.distillation.log import peak_memory

print(peak_memory(torch.device("cpu")))
"""
PARENT = """
import subprocess, sys

held = b"1" * 2**30
subprocess.run([sys.executable, "-c", sys.argv[1]], check=True)
"""


@pytest.mark.slow
def test_peak_memory_is_not_the_parents():
    done = subprocess.run([sys.executable, "-c", PARENT, CHILD], check=True, capture_output=True, text=True)
    assert 0.05 < float(done.stdout) < 0.9

import torch

from fithubert_upstream.benchmarks.machine import timer

CPU = torch.device("cpu")


def test_a_pass_is_timed_whole():
    calls = []
    assert timer(CPU)(lambda: calls.append(1)) >= 0 and calls == [1]

"""Replicas of torch.nn.DataParallel have no parameters(): the upstream asked them for its device and stopped."""

import pytest
import torch
from torch import nn

from fithubert_upstream.checkpoints.student import save_fithubert
from fithubert_upstream.distillation.task import DistillationTask
from fithubert_upstream.models.fithubert import FitHubert
from fithubert_upstream.teachers.teachers import HubertTeacher
from fithubert_upstream.upstream.expert import UpstreamExpert
from fithubert_upstream.upstream.feature_cache import CachedUpstream

from ..helpers.tiny import SMALL


def replica_of(network: nn.Module) -> nn.Module:
    """What torch.nn.parallel.replicate makes on a GPU."""
    copies = {module: module._replicate_for_data_parallel() for module in network.modules()}
    for module, copy in copies.items():
        for name, child in module._modules.items():
            setattr(copy, name, copies[child]) if child is not None else copy._modules.__setitem__(name, None)
        for name, value in module._parameters.items():
            setattr(copy, name, value.detach().clone()) if value is not None else None
        for name, value in module._buffers.items():
            copy._buffers[name] = value
    return copies[network]


@pytest.fixture
def upstream(tmp_path):
    save_fithubert(FitHubert(SMALL), tmp_path / "s.safetensors")
    return UpstreamExpert(tmp_path / "s.safetensors").eval()


@pytest.mark.parametrize("grad", [False, True])
def test_the_upstream(upstream, grad):
    wavs = [torch.randn(8000), torch.randn(5000)]
    with torch.set_grad_enabled(grad):
        for key, expected in upstream(wavs).items():
            torch.testing.assert_close(replica_of(upstream)(wavs)[key], expected, atol=1e-4, rtol=0)


def test_a_replica_of_a_cached_upstream_computes(upstream, tmp_path):
    cached = CachedUpstream(upstream, "last_hidden_state", tmp_path / "cache")
    wavs = [torch.randn(8000)]
    with torch.no_grad():
        found = replica_of(cached)(wavs)["last_hidden_state"]
        torch.testing.assert_close(found, upstream(wavs)["last_hidden_state"])
    assert not list((tmp_path / "cache").rglob("*.safetensors"))


def test_distillation():
    teacher = FitHubert(SMALL.from_dict(SMALL.to_dict() | {"time_reduction": 1, "head_layers": []}))
    student = FitHubert(SMALL.from_dict(SMALL.to_dict() | {"head_dim": SMALL.embed_dim}))
    task = DistillationTask(student, HubertTeacher("tiny", teacher)).eval()
    wavs, lengths = torch.randn(2, 8000), torch.tensor([8000, 6000])
    torch.testing.assert_close(replica_of(task)(wavs, lengths)[0], task(wavs, lengths)[0])

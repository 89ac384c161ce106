"""github glory20h/FitHuBERT#3: `hidden_states` held tuples, and s3prl's default weighted sum crashed."""

import pytest
import torch
from s3prl.upstream.interfaces import Featurizer

from fithubert_upstream.checkpoints.student import save_fithubert
from fithubert_upstream.models.fithubert import FitHubert
from fithubert_upstream.upstream.expert import UpstreamExpert
from fithubert_upstream.upstream.hubconf import fithubert_local

from ..helpers.family import ARM, DPHUBERT, write_distilhubert, write_dphubert, write_lightning
from ..helpers.tiny import SMALL


def test_default_features_can_be_summed_and_learned(tmp_path):
    save_fithubert(FitHubert(SMALL), tmp_path / "s.safetensors")
    upstream = UpstreamExpert(tmp_path / "s.safetensors").eval()
    featurizer = Featurizer(upstream, upstream_device="cpu")  # hidden_states, as without -s
    wavs = [torch.randn(16000), torch.randn(12000)]
    features = featurizer(wavs, upstream(wavs))
    assert [f.shape for f in features] == [(49, 32), (38, 32)]
    sum(f.square().mean() for f in features).backward()
    assert featurizer.weights.grad.abs().sum() > 0


@pytest.mark.parametrize(("name", "count", "width"), [("arm", 3, 48), ("distil", 6, 24), ("dp", 4, 32)])
def test_of_the_family_too(tmp_path, name, count, width):
    """`-u fithubert_local -k FILE -g YAML`: states that are no layers are summed with those that are."""
    if name == "arm":
        upstream = fithubert_local(*write_lightning(tmp_path, ARM)[:2])
    else:
        ckpt = write_distilhubert(tmp_path) if name == "distil" else write_dphubert(tmp_path, DPHUBERT)[0]
        upstream = fithubert_local(ckpt)
    featurizer = Featurizer(upstream, upstream_device="cpu")
    wavs = [torch.randn(16000), torch.randn(12000)]
    features = featurizer(wavs, upstream(wavs))
    assert featurizer.downsample_rate == 320 and featurizer.layer_num == count
    assert [f.shape for f in features] == [(49, width), (38, width)]

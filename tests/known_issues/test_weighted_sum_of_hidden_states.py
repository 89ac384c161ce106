"""github glory20h/FitHuBERT#3: `hidden_states` held tuples, and s3prl's default weighted sum crashed."""

import torch
from s3prl.upstream.interfaces import Featurizer

from fithubert_upstream.checkpoints.student import save_fithubert
from fithubert_upstream.models.fithubert import FitHubert
from fithubert_upstream.upstream.expert import UpstreamExpert

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

"""hidden_states_40ms was documented as zero past each utterance's end, and held what the padding had become."""

import torch

from fithubert_upstream.checkpoints.student import save_fithubert
from fithubert_upstream.models.fithubert import FitHubert
from fithubert_upstream.upstream.expert import UpstreamExpert

from ..helpers.tiny import SMALL


def test_frames_past_the_end_are_zero(tmp_path):
    save_fithubert(FitHubert(SMALL), tmp_path / "student.safetensors")
    upstream = UpstreamExpert(tmp_path / "student.safetensors").eval()
    features = upstream([torch.randn(16000), torch.randn(6400)])  # with gradients: one padded batch
    for layer in features["hidden_states_40ms"]:
        assert layer.size(1) == 24 and layer[1, :9].abs().sum() > 0
        assert not layer[1, 9:].any()

import torch

from fithubert_upstream.models import feature_extractor
from fithubert_upstream.models.config import FITHUBERT_CONV_LAYERS
from fithubert_upstream.models.feature_extractor import ConvFeatureExtractor
from fithubert_upstream.models.lengths import conv_frames


def test_blocks_change_nothing(monkeypatch):
    layers = [(dim // 16, kernel, stride) for dim, kernel, stride in FITHUBERT_CONV_LAYERS]
    extractor = ConvFeatureExtractor(layers).eval()
    monkeypatch.setattr(feature_extractor, "BLOCK", 7)
    for samples, lengths in ((400 + 320 * 6, None), (400 + 320 * 7, None), (9_999, None), (9_999, [9_999, 721])):
        waveforms = torch.randn(2, samples)
        lengths = None if lengths is None else torch.tensor(lengths)
        whole = extractor(waveforms, lengths)  # gradients are wanted
        with torch.no_grad():
            blocks = extractor(waveforms, lengths)
        assert blocks.shape == (2, conv_frames(samples, layers), 32) and not blocks.requires_grad
        torch.testing.assert_close(blocks, whole, atol=2e-5, rtol=1e-5)

import torch
from torch import nn

from fithubert_upstream.models import feature_extractor
from fithubert_upstream.models.config import FITHUBERT_CONV_LAYERS
from fithubert_upstream.models.feature_extractor import (
    ConvFeatureExtractor,
    Taps,
    frame_conv,
    frame_conv_in_pairs,
    norm_into_kernel,
    normed_conv,
    pair_taps,
    split_taps,
)
from fithubert_upstream.models.lengths import conv_frames


def test_normed_conv_is_conv_and_group_norm_of_each_utterance():
    conv, norm = nn.Conv1d(1, 5, 10, 5, bias=False), nn.GroupNorm(5, 5)
    nn.init.normal_(norm.weight), nn.init.normal_(norm.bias)
    wavs, lengths = torch.randn(3, 200) * 3 + 20, torch.tensor([39, 13, 2])  # far from zero mean

    def ours(wavs, lengths):
        return normed_conv(wavs, *norm_into_kernel(wavs, conv.weight, 5, norm, lengths), 5, norm.bias)

    y = ours(wavs, lengths)
    expected = [norm(conv(wav[None, None, : 5 * n + 5]))[0].T for wav, n in zip(wavs, lengths.tolist(), strict=True)]
    for i, n in enumerate(lengths.tolist()):
        torch.testing.assert_close(y[i, :n], expected[i], atol=3e-5, rtol=1e-5)
    torch.testing.assert_close(ours(wavs[:1], None)[0], y[0])
    y[:, :2].square().mean().backward()
    assert all(p.grad.abs().max() > 0 for p in (conv.weight, norm.weight, norm.bias))


def test_frame_conv_is_conv1d():
    for kernel, stride in [(1, 1), (3, 2), (2, 2), (10, 5), (8, 3), (2, 3), (3, 1)]:
        conv = nn.Conv1d(4, 6, kernel, stride, bias=False)
        taps = split_taps(conv.weight, stride)
        for frames in (10, 11, 12, 25):
            x = torch.randn(2, frames, 4)
            expected = conv(x.transpose(1, 2)).transpose(1, 2)
            torch.testing.assert_close(frame_conv(x, taps, stride), expected)
            with torch.no_grad():
                torch.testing.assert_close(frame_conv(x, taps, stride), expected)


@torch.no_grad()
def test_frame_conv_in_pairs_is_conv1d():
    conv = nn.Conv1d(4, 6, 3, 2, bias=False)
    taps = pair_taps(conv.weight)
    for frames in range(3, 13):
        x = torch.randn(1, frames, 4)
        expected = conv(x.transpose(1, 2)).transpose(1, 2)
        torch.testing.assert_close(frame_conv_in_pairs(x, taps), expected)
    assert Taps.of(conv.weight, 2).pairs is not None and Taps.of(conv.weight.bfloat16(), 2).pairs is None
    assert Taps.of(conv.weight, 1).pairs is None and Taps.of(torch.randn(6, 4, 2), 2).pairs is None


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

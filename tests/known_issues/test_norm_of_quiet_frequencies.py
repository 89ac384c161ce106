"""The variance of what a high-pass channel leaves of loud low frequencies was off: one long float32 sum."""

import torch
from torch import nn

from fithubert_upstream.models.kernels import norm_into_kernel, normed_conv


@torch.no_grad()
def test_a_high_pass_channel_of_low_speech():
    torch.manual_seed(0)
    time = torch.arange(160_000) / 16000
    waveforms = (1e-2 * torch.sin(2 * torch.pi * 150 * time) + 1e-3 * torch.randn(160_000))[None]
    conv, norm = nn.Conv1d(1, 4, 10, 5, bias=False), nn.GroupNorm(4, 4)
    slope = torch.linspace(-1, 1, 10)  # without what it has of a constant, a line, a parabola
    basis = torch.linalg.qr(torch.stack([slope**0, slope, slope**2, slope**3], 1))[0]
    kernel = torch.randn(4, 10)
    conv.weight.copy_((kernel - kernel @ basis @ basis.T)[:, None])
    expected = norm.double()(conv.double()(waveforms.double()[:, None])).transpose(1, 2)
    norm, conv = norm.float(), conv.float()
    found = normed_conv(waveforms, *norm_into_kernel(waveforms, conv.weight, 5, norm, None), 5, norm.bias)
    torch.testing.assert_close(found, expected.float(), atol=1e-5, rtol=0)

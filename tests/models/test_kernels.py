import torch
from torch import nn

from fithubert_upstream.models.kernels import (
    Dropout,
    Taps,
    frame_conv,
    frame_conv_in_pairs,
    norm_into_kernel,
    normed_conv,
    pair_taps,
    split_taps,
)


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


def test_dropout():
    dropout, x = Dropout(0.1), torch.ones(300, 301, requires_grad=True)
    y = dropout(x)
    assert abs((y == 0).float().mean() - 0.1) < 0.004  # four standard deviations
    torch.testing.assert_close(y[y != 0], torch.full_like(y[y != 0], 1 / 0.9))
    assert not torch.equal(y, dropout(x))
    y.sum().backward()
    torch.testing.assert_close(x.grad, y.detach())
    torch.manual_seed(0)
    first = dropout(x)
    torch.manual_seed(0)
    assert torch.equal(first, dropout(x))
    assert torch.equal(dropout.eval()(x), x)

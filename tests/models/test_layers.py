import torch
from torch import nn

from fithubert_upstream.models.layers import (
    FrameUpsample,
    HintHead,
    PositionalConv,
    TimeReduction,
    TransformerLayer,
)


def test_positional_conv_is_weight_normed_conv1d():
    for kernel in (8, 7):
        ours = PositionalConv(12, kernel, groups=3).eval()
        nn.init.normal_(ours.weight_g), nn.init.normal_(ours.bias)
        conv = nn.Conv1d(12, 12, kernel, padding=kernel // 2, groups=3)
        conv = nn.utils.parametrizations.weight_norm(conv, dim=2)
        conv.load_state_dict(
            {
                "bias": ours.bias,
                "parametrizations.weight.original0": ours.weight_g,
                "parametrizations.weight.original1": ours.weight_v,
            }
        )
        for frames in (1, 7, 8, 30):
            x = torch.randn(2, frames, 12)
            expected = nn.functional.gelu(conv(x.transpose(1, 2))[:, :, :frames]).transpose(1, 2)
            torch.testing.assert_close(ours(x), expected)
            with torch.no_grad():
                torch.testing.assert_close(ours(x), expected)
        (ours(x) ** 2).sum().backward(), (expected**2).sum().backward()
        torch.testing.assert_close(
            ours.weight_v.grad, conv.parametrizations.weight.original1.grad, rtol=1e-4, atol=1e-4
        )
        torch.testing.assert_close(
            ours.weight_g.grad, conv.parametrizations.weight.original0.grad, rtol=1e-4, atol=1e-4
        )


def test_time_reduction_is_a_strided_conv1d():
    for reduction in (2, 3):
        ours = TimeReduction(6, reduction)
        conv = nn.Conv1d(6, 6, reduction, reduction)
        conv.load_state_dict(ours.state_dict())
        for frames in (6, 7, 8):
            x = torch.randn(2, frames, 6)
            torch.testing.assert_close(ours(x), conv(x.transpose(1, 2)).transpose(1, 2))


def test_frame_upsample_is_a_strided_conv_transpose1d():
    for reduction in (2, 3):
        ours = FrameUpsample(6, reduction)
        conv = nn.ConvTranspose1d(6, 6, reduction, reduction)
        conv.load_state_dict(ours.state_dict())
        x = torch.randn(2, 5, 6)
        torch.testing.assert_close(ours(x), conv(x.transpose(1, 2)).transpose(1, 2))


def test_hint_head_is_upsampling_and_a_linear_layer():
    for reduction in (1, 2, 3):
        head = HintHead(6, 10, reduction).eval()
        x = torch.randn(2, 5, 6)
        expected = head.linear(head.upsample(x))
        torch.testing.assert_close(head(x), expected)
        with torch.no_grad():
            torch.testing.assert_close(head(x), expected)


def test_a_layer_without_attention_or_ffn_keeps_its_norms():
    x = torch.randn(2, 5, 8)
    layer = TransformerLayer(8, None, 0, 0.0, 0.0)
    nn.init.normal_(layer.attention_norm.weight), nn.init.normal_(layer.ffn_norm.bias)
    y, handed = layer(x, None, x)
    torch.testing.assert_close(y, layer.ffn_norm(layer.attention_norm(x)))
    assert handed is x  # goes on to a layer behind

    layer = TransformerLayer(8, None, 6, 0.0, 0.0)
    between = layer.attention_norm(x)
    expected = layer.ffn_norm(between + layer.fc2(nn.functional.gelu(layer.fc1(between))))
    torch.testing.assert_close(layer(x, None)[0], expected)

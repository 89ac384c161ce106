import torch
from torch import nn

from fithubert_upstream.models.layers import (
    FrameUpsample,
    HintHead,
    PositionalConv,
    SelfAttention,
    TimeReduction,
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


def test_attention_is_torchs_multihead_attention():
    ours = SelfAttention(8, 2, dropout=0.0)
    reference = nn.MultiheadAttention(8, 2, batch_first=True)
    reference.load_state_dict(
        {
            "in_proj_weight": ours.qkv.weight,
            "in_proj_bias": ours.qkv.bias,
            "out_proj.weight": ours.out.weight,
            "out_proj.bias": ours.out.bias,
        }
    )
    x = torch.randn(2, 7, 8)
    mask = torch.tensor([[True] * 7, [True] * 4 + [False] * 3])
    expected, _ = reference(x, x, x, key_padding_mask=~mask)
    torch.testing.assert_close(ours(x, mask[:, None, None]), expected)
    ours.dropout.p = 1e-9  # takes the way of dropout and drops nothing
    torch.testing.assert_close(ours(x, mask[:, None, None]), expected)

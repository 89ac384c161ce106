import torch
from torch import nn

from fithubert_upstream.layers import (
    FrameUpsample,
    MaskedGroupNorm,
    PositionalConv,
    SelfAttention,
    TimeReduction,
)


def test_masked_group_norm_is_group_norm_of_each_utterance():
    norm = MaskedGroupNorm(5)
    nn.init.normal_(norm.weight), nn.init.normal_(norm.bias)
    reference = nn.GroupNorm(5, 5)
    reference.load_state_dict(norm.state_dict())
    x, lengths = torch.randn(3, 5, 20) * 3 + 2, torch.tensor([20, 13, 2])
    y = norm(x, lengths)
    for i, n in enumerate(lengths.tolist()):
        torch.testing.assert_close(y[i, :, :n], reference(x[i : i + 1, :, :n])[0])
    torch.testing.assert_close(norm(x, None), reference(x))


def test_positional_conv_is_weight_normed_conv1d():
    ours = PositionalConv(12, kernel=8, groups=3).eval()
    nn.init.normal_(ours.weight_g), nn.init.normal_(ours.bias)
    conv = nn.Conv1d(12, 12, 8, padding=4, groups=3)
    conv = nn.utils.parametrizations.weight_norm(conv, dim=2)
    conv.load_state_dict(
        {
            "bias": ours.bias,
            "parametrizations.weight.original0": ours.weight_g,
            "parametrizations.weight.original1": ours.weight_v,
        }
    )
    x = torch.randn(2, 30, 12)
    expected = nn.functional.gelu(conv(x.transpose(1, 2))[:, :, :-1]).transpose(1, 2)
    torch.testing.assert_close(ours(x), expected)
    with torch.no_grad():
        torch.testing.assert_close(ours(x), expected)


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

import pytest
import torch
from torch import nn

from fithubert_upstream.models.attention import (
    RelativePositionAttention,
    RelativePositions,
    ReusedAttention,
    SelfAttention,
    SharedAttention,
)

from ..helpers.family import DPWAVLM, TORCHAUDIO
from ..helpers.slow_family import slow_bucket, slow_maps, slow_position_bias, softmax

MASK = torch.tensor([[True] * 7, [True] * 4 + [False] * 3])[:, None, None]
LENGTHS = (7, 4)


@pytest.mark.parametrize("kind", [SelfAttention, SharedAttention])
def test_attention_is_torchs_multihead_attention(kind):
    ours = kind(8, 2, dropout=0.0)
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
    expected, weights = reference(x, x, x, key_padding_mask=~MASK[:, 0, 0], average_attn_weights=False)
    y, handed = ours(x, MASK)
    torch.testing.assert_close(y, expected)
    assert handed is None if kind is SelfAttention else torch.allclose(handed, weights)
    ours.dropout.p = 1e-9  # takes the way of dropout and drops nothing
    torch.testing.assert_close(ours(x, MASK)[0], expected)


def state_of(attention) -> dict[str, torch.Tensor]:
    """Under fairseq's names."""
    state = {}
    for kind in ("weight", "bias"):
        parts = getattr(attention.qkv, kind).detach().chunk(3)
        state |= {f"a.{name}_proj.{kind}": part for name, part in zip("qkv", parts, strict=True)}
        state[f"a.out_proj.{kind}"] = getattr(attention.out, kind).detach()
    return state


def test_heads_whose_width_is_free():
    """Pruned layers: 3 heads of 5 channels in a model of 8."""
    ours = SelfAttention(8, 3, dropout=0.0, head_width=5)
    state = state_of(ours)
    x = torch.randn(2, 7, 8)
    y, _ = ours(x, MASK)
    for one, row, length in zip(y, x, LENGTHS, strict=True):
        row = row[:length]
        v = row @ state["a.v_proj.weight"].T + state["a.v_proj.bias"]
        parts = [m @ v[:, 5 * h : 5 * h + 5] for h, m in enumerate(slow_maps(state, row, "a", 3, 5))]
        expected = torch.cat(parts, 1) @ state["a.out_proj.weight"].T + state["a.out_proj.bias"]
        torch.testing.assert_close(one[:length], expected)


def test_a_map_is_used_again():
    shared, reused = SharedAttention(8, 2, 0.0), ReusedAttention(8, 2, 4)
    state = state_of(shared)
    x, y = torch.randn(2, 7, 8), torch.randn(2, 7, 8)
    _, handed = shared(x, MASK)
    out, again = reused(y, MASK, handed)
    assert again is handed
    for i, length in enumerate(LENGTHS):
        v = reused.v(y[i, :length])
        expected = []
        for h, one in enumerate(slow_maps(state, x[i, :length], "a", 2, 4)):
            expected.append(torch.stack([softmax(row) @ v[:, 4 * h : 4 * h + 4] for row in one]))
        torch.testing.assert_close(out[i, :length], reused.out(torch.cat(expected, 1)))


@pytest.mark.parametrize(("buckets", "farthest"), [(320, 800), (16, 20), (7, 9)])
def test_buckets_of_distances(buckets, farthest):
    ours = RelativePositions(buckets, farthest, 2)
    distances = torch.arange(-1000, 1001)
    assert ours.bucket(distances).tolist() == [slow_bucket(d, buckets, farthest) for d in distances.tolist()]


def test_wavlms_gated_bias():
    positions = RelativePositions(DPWAVLM.buckets, DPWAVLM.farthest, 4)
    ours = RelativePositionAttention(32, (1, 3), 0.0, 8)
    nn.init.normal_(ours.gate_scale)
    place = TORCHAUDIO.layer.format(0) + ".attention"
    state = state_of(ours) | {
        f"{place}.rel_attn_embed.weight": positions.embedding.weight.detach(),
        f"{place}.gru_rel_pos_linear.weight": ours.gate.weight.detach(),
        f"{place}.gru_rel_pos_linear.bias": ours.gate.bias.detach(),
        f"{place}.gru_rel_pos_const": ours.gate_scale.detach(),
    }
    x = torch.randn(2, 7, 32)
    handed = positions(7)
    y, again = ours(x, MASK, handed)
    assert again is handed
    for i, length in enumerate(LENGTHS):
        row = x[i, :length]
        bias = slow_position_bias(state, DPWAVLM, row, 0, TORCHAUDIO)
        v = row @ state["a.v_proj.weight"].T + state["a.v_proj.bias"]
        parts = [m @ v[:, 8 * h : 8 * h + 8] for h, m in enumerate(slow_maps(state, row, "a", 2, 8, bias))]
        torch.testing.assert_close(y[i, :length], ours.out(torch.cat(parts, 1)))
    ours.dropout.p = 1e-9
    torch.testing.assert_close(ours(x, MASK, handed)[0], y)

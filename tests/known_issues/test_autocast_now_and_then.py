"""What a head folded under autocast was kept in bf16, and the next call without autocast ended in a RuntimeError."""

import torch

from fithubert_upstream.models.fithubert import FitHubert

from ..helpers.tiny import SMALL


def test_a_call_after_one_under_autocast():
    model, wav = FitHubert(SMALL).eval(), 0.1 * torch.randn(1, 8000)
    with torch.no_grad():
        with torch.autocast("cpu", dtype=torch.bfloat16):
            mixed = model(wav)[0][-1]
        found = model(wav)[0][-1]
        expected = FitHubert(SMALL).eval()
        expected.load_state_dict(model.state_dict())
        assert torch.equal(found, expected(wav)[0][-1])
    assert float(torch.cosine_similarity(mixed.float(), found, dim=-1).min()) > 0.99

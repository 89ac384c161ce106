"""`target_modules="all-linear"` put LoRA on the heads' linear layers too, which the folded head of inference left out:
features were those without it."""

import pytest
import torch

from fithubert_upstream import load_fithubert
from fithubert_upstream.huggingface.weights import from_student
from fithubert_upstream.models.layers import HintHead


class Doubled(torch.nn.Module):
    """A layer around a linear one, which shows that one's weights as its own, as peft's do."""

    def __init__(self, base):
        super().__init__()
        self.base = base

    @property
    def weight(self):
        return self.base.weight

    @property
    def bias(self):
        return self.base.bias

    def forward(self, x):
        return 2 * self.base(x)


def test_a_wrapped_layer_is_called():
    head = HintHead(8, 6, 2).eval()
    x = torch.randn(1, 3, 8)
    with torch.no_grad():
        expected = 2 * head(x)
        head.linear = Doubled(head.linear)
        torch.testing.assert_close(head(x), expected)


@pytest.mark.slow
def test_all_linear_layers():
    peft = pytest.importorskip("peft")
    model = from_student(load_fithubert("fithubert_mini"))
    config = peft.LoraConfig(target_modules="all-linear", init_lora_weights=False)
    tuned = peft.get_peft_model(model, config).eval()
    wav = 0.1 * torch.randn(1, 8000)
    with torch.no_grad():
        found = tuned(wav).last_hidden_state
    assert any("heads" in name for name, _ in tuned.named_parameters() if "lora_A" in name)
    torch.testing.assert_close(found, tuned(wav).last_hidden_state.detach(), rtol=1e-3, atol=1e-3)

"""`keep_heads` of a layer without a head emptied the model, or changed it before it raised."""

import pytest
import torch

from fithubert_upstream.errors import FitHubertError
from fithubert_upstream.models.fithubert import FitHubert

from ..helpers.tiny import SMALL


@pytest.mark.parametrize("layers", [(9,), (1, 9)])
def test_a_layer_without_a_head_is_refused_and_nothing_changes(layers):
    model = FitHubert(SMALL)
    before = dict(model.state_dict())
    with pytest.raises(FitHubertError, match="expected heads among those of layers 1, 2, 3, found 9"):
        model.keep_heads(layers)
    assert model.state_dict().keys() == before.keys() and model.config == SMALL


def test_a_head_that_was_dropped_is_refused_too():
    model = FitHubert(SMALL).keep_heads((3,))
    with pytest.raises(FitHubertError, match="expected heads among those of layers 3, found 1"):
        model.keep_heads((1,))
    with pytest.raises(FitHubertError, match="of layers none, found 3"):
        model.keep_heads(()).keep_heads((3,))


def test_the_model_that_is_kept_shares_its_weights_and_mode():
    model = FitHubert(SMALL).eval()
    kept = model.keep_heads((2,))
    assert not kept.training and all(p.requires_grad for p in kept.parameters())
    assert kept.layers[0].fc1.weight.data_ptr() == model.layers[0].fc1.weight.data_ptr()
    wav = torch.randn(1, 8000)
    torch.testing.assert_close(kept(wav)[0][0], model(wav)[0][1])

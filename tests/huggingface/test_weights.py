"""Names of weights, both ways."""

import pytest
import torch

from fithubert_upstream import FitHubertForCTC
from fithubert_upstream.errors import FitHubertError
from fithubert_upstream.huggingface.weights import from_student, to_hub_names, to_our_names, to_student
from fithubert_upstream.models.config import FitHubertConfig
from fithubert_upstream.models.fithubert import FitHubert

from ..helpers.tiny import RELATIVES, SMALL


@pytest.mark.parametrize("kind", ["FitHuBERT", *RELATIVES])
def test_there_and_back(kind):
    student = FitHubert(FitHubertConfig.from_dict({"FitHuBERT": SMALL.to_dict(), **RELATIVES}[kind]))
    weights = student.state_dict()
    named = to_hub_names(weights)
    assert named.keys() == from_student(student).state_dict().keys()
    assert any(name.endswith("attention.qkv.q_proj.weight") for name in named)
    back = to_our_names(named)
    assert back.keys() == weights.keys() and all(torch.equal(back[name], weights[name]) for name in weights)


def test_the_student_of_a_fine_tuned_model(student, folder):
    model = FitHubertForCTC.from_pretrained(folder)
    with torch.no_grad():
        model.fithubert.student.layers[0].attention.qkv["v_proj"].weight.mul_(9)
    found = to_student(model)
    wav = torch.randn(1, 4000)
    with torch.no_grad():
        torch.testing.assert_close(found(wav)[0][-1], model.fithubert.eval()(wav).last_hidden_state)
        assert not torch.allclose(found(wav)[0][-1], student(wav)[0][-1], atol=1e-3)
    with pytest.raises(FitHubertError, match="expected a FitHubertModel or one with a head, found Linear"):
        to_student(torch.nn.Linear(1, 1))

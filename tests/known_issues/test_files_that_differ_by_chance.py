"""safetensors orders metadata at random: a student saved again had another digest, and its results were refused."""

import torch
from safetensors.torch import load, save

from fithubert_upstream.checkpoints.load import load_fithubert
from fithubert_upstream.checkpoints.student import save_fithubert, with_sorted_metadata
from fithubert_upstream.models.fithubert import FitHubert

from ..helpers.tiny import SMALL


def test_a_student_saved_again_is_the_same_file(tmp_path):
    model = FitHubert(SMALL)
    paths = [tmp_path / f"{i}.safetensors" for i in range(20)]
    for path in paths:
        save_fithubert(model, path)
    assert len({path.read_bytes() for path in paths}) == 1
    weights = load_fithubert(paths[0]).state_dict()
    assert all(weights[name].equal(tensor) for name, tensor in model.state_dict().items())


def test_the_tensors_stay_as_they_are():
    tensors = {"b": torch.arange(3.0), "a": torch.ones(2, 2, dtype=torch.float16)}
    metadata = {"z": "1", "a": '{"text": "caf\u00e9 \\"quoted\\" \u2013 and\\nmore"}', "m": ""}
    files = {with_sorted_metadata(save(tensors, metadata)) for _ in range(20)}
    (content,) = files
    loaded = load(content)
    assert loaded.keys() == tensors.keys() and all(loaded[name].equal(tensor) for name, tensor in tensors.items())
    assert with_sorted_metadata(content) == content


def test_a_file_without_metadata():
    content = with_sorted_metadata(save({"a": torch.zeros(1)}))
    assert load(content)["a"].equal(torch.zeros(1))

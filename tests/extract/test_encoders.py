import numpy as np
import pytest
import torch

from fithubert_upstream.checkpoints.student import save_fithubert
from fithubert_upstream.errors import FitHubertError
from fithubert_upstream.extract.encoders import encode_each, open_encoder
from fithubert_upstream.extract.selection import ALL, Selection, is_onnx, name_upstream, pick
from fithubert_upstream.extract.torch_encoder import TorchEncoder, by_length
from fithubert_upstream.models.config import FitHubertConfig
from fithubert_upstream.models.fithubert import FitHubert
from fithubert_upstream.superb.names import Upstream, parse_upstream

from ..helpers.tiny import STUDENT


def test_names_are_those_of_superb_and_paths(tmp_path):
    for text in ("fbank", "fithubert_mini@hidden_states", "mine=fithubert:a/student.safetensors@last_hidden_state"):
        assert name_upstream(text) == parse_upstream(text)
    path = tmp_path / "a student.safetensors"
    assert name_upstream(str(path)) == Upstream("a student", "fithubert_local", str(path))
    assert name_upstream(f"{path}@projected_states") == Upstream(
        "a student", "fithubert_local", str(path), "projected_states"
    )
    (tmp_path / "weights").write_bytes(b"")
    assert name_upstream(str(tmp_path / "weights")).name == "fithubert_local"
    assert is_onnx(name_upstream("x/student.onnx")) and is_onnx(name_upstream("fithubert:student.onnx"))
    assert not is_onnx(name_upstream("fithubert_mini")) and not is_onnx(name_upstream("student.safetensors"))
    with pytest.raises(FitHubertError, match="expected"):
        name_upstream("no such/thing")


UPSTREAM = Upstream("it", "it")


def test_pick():
    last, layers = np.zeros((2, 3)), [np.full((2, 3), i) for i in range(4)]
    features = {"last_hidden_state": last, "hidden_states": tuple(layers)}
    assert pick(features, UPSTREAM, None) == [last]
    assert pick(features, UPSTREAM, 2) == [layers[2]]
    assert pick(features, UPSTREAM, ALL) == layers
    assert pick({"hidden_states": layers}, UPSTREAM, None) == [layers[3]]
    assert pick(features, Upstream("it", "it", None, "hidden_states"), None) == [layers[3]]
    for layer in (-1, 4):
        with pytest.raises(FitHubertError, match=f"expected a layer from 0 to 3 .*found {layer}"):
            pick(features, UPSTREAM, layer)
    with pytest.raises(FitHubertError, match="with layers, found last_hidden_state"):
        pick(features, Upstream("it", "it", None, "last_hidden_state"), 1)
    with pytest.raises(FitHubertError, match="a feature named x, found last_hidden_state, hidden_states"):
        pick(features, Upstream("it", "it", None, "x"), None)
    with pytest.raises(FitHubertError, match=r"layers of one width, found \[2, 3\]"):
        pick({"hidden_states": [np.zeros((2, 2)), last]}, UPSTREAM, ALL)


def test_whatever_one_waveform_raises_the_others_are_encoded():
    class Odd(Exception):
        """As those of onnxruntime, which are below no common class."""

    def encoder(waveforms):
        if any(len(waveform) == 2 for waveform in waveforms):
            raise Odd("too short")
        return [(waveform, len(waveform)) for waveform in waveforms]

    first, second, third = encode_each(encoder, [np.zeros(3), np.zeros(2), np.zeros(4)])
    assert first[1] == 3 and third[1] == 4
    assert isinstance(second, Odd)


def test_by_length():
    assert by_length([5, 1, 4, 2, 9], 8) == [[1, 3], [2], [0], [4]]
    assert by_length([2] * 7, 8) == [[0, 1, 2, 3], [4, 5, 6]]


@pytest.fixture
def student(tmp_path):
    save_fithubert(FitHubert(FitHubertConfig.from_dict(STUDENT)), tmp_path / "student.safetensors")
    return name_upstream(str(tmp_path / "student.safetensors"))


@pytest.mark.parametrize("selection", [Selection(), Selection(1), Selection(ALL), Selection(ALL, "mean")])
def test_a_batch_gives_what_single_utterances_give(student, selection, monkeypatch):
    """As on a GPU: padded batches, of which each utterance gets its own frames back, in the order that was given."""
    encoder = TorchEncoder(student, selection, "cpu")
    draw = np.random.default_rng(0)
    waveforms = [draw.uniform(-0.5, 0.5, size).astype(np.float32) for size in (9000, 400, 16000, 8999, 1)]
    alone = encoder(waveforms)
    monkeypatch.setattr(type(encoder.model), "utterance_wise", False)
    encoder.batches = True
    monkeypatch.setattr("fithubert_upstream.extract.torch_encoder.BATCH_SECONDS", 2)
    for (mine, frames), (wanted, count) in zip(encoder(waveforms), alone, strict=True):
        assert frames == count and mine.shape == wanted.shape
        np.testing.assert_allclose(mine, wanted, rtol=1e-3, atol=1e-4)


def test_threads_are_left_as_they_were(student):
    encoder = open_encoder(student, Selection())
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        with encoder.running():
            assert torch.get_num_threads() == 1
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


def test_waveforms_that_cannot_be_written_to_are_read(student):
    waveform = np.zeros(2000, np.float32)
    waveform.flags.writeable = False
    assert open_encoder(student, Selection())([waveform])[0][0].shape == (6, 24)


def test_fbank_is_an_upstream_too():
    encoder = open_encoder(name_upstream("fbank"), Selection())
    ((features, frames),) = encoder([np.zeros(16000, np.float32)])
    assert features.shape == (frames, 240) and not encoder.parallel


def test_a_device_that_is_not_there_is_told(student):
    with pytest.raises(FitHubertError, match="--device mars"):
        open_encoder(student, Selection(), "mars")
    with pytest.raises(FitHubertError, match="an ONNX file runs on the CPU"):
        open_encoder(name_upstream("student.onnx"), Selection(), "cuda")

"""Features from numpy and onnxruntime alone."""

import subprocess
import sys

import numpy as np
import onnx
import pytest
import torch

from fithubert_upstream import OnnxFeatures
from fithubert_upstream.assets import JOINT_ONNX
from fithubert_upstream.errors import FitHubertError
from fithubert_upstream.export import onnx as export_module

from ..conftest import REPO
from ..helpers.onnx import make_student, trace_once, upstream_of


def test_without_torch():
    code = (
        "import sys\nfor name in ('torch', 'torchaudio', 's3prl', 'safetensors', 'yaml'): sys.modules[name] = None\n"
        "import numpy as np\nfrom fithubert_upstream import OnnxFeatures, StreamingEncoder\n"
        f"features = OnnxFeatures({str(JOINT_ONNX)!r})\n"
        "samples = np.zeros(16000, np.float32)\n"
        "found = features(samples)\nassert found['hidden_states'].shape == (12, 49, 144)\n"
        "assert StreamingEncoder(features).push(np.concatenate([samples] * 2)).shape[1] == 144\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=REPO)


def test_the_embedded_joint_model():
    features = OnnxFeatures(JOINT_ONNX)
    found = features(np.random.default_rng(0).normal(0, 0.1, 16000))  # float64 is taken, too
    assert set(found) == {"last_hidden_state", "hidden_states"}  # no head but those of the tasks
    np.testing.assert_array_equal(found["last_hidden_state"], found["hidden_states"][-1])
    assert (features.sample_rate, features.hop, features.metadata["precision"]) == (16000, 320, "int8")
    assert features.config["student"]["embed_dim"] == 144


@pytest.mark.slow
def test_the_same_as_the_upstream(tmp_path, monkeypatch):
    student = make_student("prediction heads")
    monkeypatch.setattr(export_module, "trace", lambda model: onnx.load_from_string(trace_once(model)))
    export_module.export(student, tmp_path / "s.onnx")
    upstream, features = upstream_of("prediction heads", tmp_path), OnnxFeatures(tmp_path / "s.onnx")
    for samples in (1, 400, 720, 16001):
        wav = torch.randn(samples)
        expected, found = upstream([wav]), features(wav.numpy())
        for key, value in found.items():
            value = torch.from_numpy(value)
            if key == "last_hidden_state":
                torch.testing.assert_close(value, expected[key][0], atol=1e-4, rtol=0)
            else:
                torch.testing.assert_close(value, torch.cat(expected[key]), atol=1e-4, rtol=0)
        assert set(found) == {"last_hidden_state", "hidden_states", "projected_states"}


def test_errors(tmp_path):
    (tmp_path / "text.onnx").write_text("no graph")
    for path, words in (("text.onnx", "damaged file or another format"), ("no.onnx", "nothing"), (".", "a folder")):
        with pytest.raises(FitHubertError, match=words):
            OnnxFeatures(tmp_path / path)
    features = OnnxFeatures(JOINT_ONNX)
    for waveform, words in (
        (np.zeros((2, 400), np.float32), r"found shape \(2, 400\)"),
        (np.zeros(0), "at least one sample"),
        (np.zeros(400, np.int16), "divide by 32768"),
        (np.full(400, np.inf), "NaN or infinite"),
        (torch.zeros(400), "found Tensor"),
    ):
        with pytest.raises(FitHubertError, match=words):
            features(waveform)

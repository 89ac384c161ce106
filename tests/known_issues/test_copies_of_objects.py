"""The copy of a compiled student computed with the first one's norm; copies of the ONNX expert: test_onnx_expert."""

import copy
import io
import pickle

import numpy as np
import pytest
import torch

from fithubert_upstream.checkpoints.student import save_fithubert
from fithubert_upstream.data.loader import DataConfig, open_corpus
from fithubert_upstream.distillation.config import DistillationConfig
from fithubert_upstream.distillation.optimizer import OptimizerConfig
from fithubert_upstream.distillation.recipe import TrainerConfig
from fithubert_upstream.errors import FitHubertError
from fithubert_upstream.joint.model import JointModel, JointModelConfig
from fithubert_upstream.models.config import FitHubertConfig
from fithubert_upstream.models.feature_extractor import compiled_convolve
from fithubert_upstream.models.fithubert import FitHubert
from fithubert_upstream.teachers.config import TeacherConfig
from fithubert_upstream.teachers.teachers import HubertTeacher
from fithubert_upstream.upstream.expert import UpstreamExpert
from fithubert_upstream.upstream.feature_cache import CachedUpstream

from ..helpers.tiny import SMALL, make_corpus


def through_torch_save(thing):
    file = io.BytesIO()
    torch.save(thing, file)
    file.seek(0)
    return torch.load(file, weights_only=False)  # what was written a line above


WAYS = {
    "deepcopy": copy.deepcopy,
    "pickle": lambda thing: pickle.loads(pickle.dumps(thing)),
    "torch.save of a parent": lambda thing: through_torch_save(torch.nn.Sequential(thing))[0],
}


def wavs():
    return [torch.randn(4000, generator=torch.Generator().manual_seed(1))]


@pytest.fixture(scope="module")
def student(tmp_path_factory):
    path = tmp_path_factory.mktemp("student") / "s.safetensors"
    save_fithubert(FitHubert(SMALL), path)
    return path


@pytest.mark.parametrize("way", WAYS)
def test_upstreams(student, tmp_path, way):
    plain = UpstreamExpert(student).eval()
    models = [plain, UpstreamExpert(student, precision="bf16").eval(), CachedUpstream(plain, "hidden_states", tmp_path)]
    for model in models:
        with torch.no_grad():
            for key, expected in model(wavs()).items():
                torch.testing.assert_close(WAYS[way](model)(wavs())[key], expected, rtol=0, atol=0)


@pytest.mark.parametrize("way", WAYS)
def test_models(way):
    config = JointModelConfig(SMALL, classes=("yes", "no"), embedding_dim=8)
    joint = JointModel(config).eval()
    answer = WAYS[way](joint)(wavs()[0])
    assert torch.equal(answer["embedding"], joint(wavs()[0])["embedding"])
    teacher = HubertTeacher("tiny", FitHubert(FitHubertConfig.from_dict(SMALL.to_dict() | {"time_reduction": 1})))
    batch = torch.stack(wavs())
    torch.testing.assert_close(WAYS[way](teacher)(batch), teacher(batch), rtol=0, atol=0)


def test_a_compiled_student_copies_its_own_weights(student, monkeypatch):
    monkeypatch.setattr(torch, "compile", lambda function, **options: function)
    compiled_convolve.cache_clear()
    upstream = UpstreamExpert(student, compile=True).eval()
    for twin in (copy.deepcopy(upstream), pickle.loads(pickle.dumps(upstream))):
        assert twin.model.feature_extractor.compiled
        assert all(layer._compiled_call_impl is not None for layer in twin.model.layers)
        with torch.no_grad():
            expected = upstream(wavs())["last_hidden_state"]
            assert torch.equal(twin(wavs())["last_hidden_state"], expected)
            twin.model.feature_extractor.norm.bias += 1
            assert not torch.equal(twin(wavs())["last_hidden_state"], expected)
            assert torch.equal(upstream(wavs())["last_hidden_state"], expected)


@pytest.mark.parametrize("way", ["deepcopy", "pickle"])
def test_configs_errors_and_corpora(tmp_path, way):
    things = [SMALL, DistillationConfig(), TeacherConfig(), OptimizerConfig(), TrainerConfig(steps=1)]
    for thing in things:
        assert WAYS[way](thing) == thing
    assert str(WAYS[way](FitHubertError("one line"))) == "one line"
    config = DataConfig(train=(str(make_corpus(tmp_path)),), batch_size=2)
    cuts = open_corpus(config.train, config)
    twin = WAYS[way](cuts)
    assert np.array_equal(twin.seconds, cuts.seconds) and twin.name(1) == cuts.name(1)

"""One pass, two answers: the numbers of s3prl's runner, without s3prl."""

import dataclasses
import json
import subprocess
import sys

import pytest
import torch
from s3prl.upstream.interfaces import Featurizer
from safetensors.torch import load_file, save_file

from fithubert_upstream.checkpoints.load import load_fithubert
from fithubert_upstream.checkpoints.student import save_fithubert
from fithubert_upstream.errors import FitHubertError
from fithubert_upstream.joint.model import load_joint, save_joint
from fithubert_upstream.models.fithubert import FitHubert
from fithubert_upstream.upstream.expert import UpstreamExpert

from ..conftest import REPO
from ..helpers.joint_models import CLASSES, TWO_LAYERS, make
from ..helpers.tiny import SMALL

SAMPLES = (161, 400, 480, 481, 799, 1120, 8000, 15999, 16000, 23456)


HEADLESS = dataclasses.replace(SMALL, head_layers=())
OF_LAYERS = [
    ("last_hidden_state", None, False),
    ("hidden_states", None, False),
    ("hidden_states", None, True),
    ("hidden_states", 1, False),
    ("hidden_states", -2, False),
]
OF_HEADS = [("projected_states", None, False), ("projected_states", None, True), ("projected_states", 0, False)]


@pytest.mark.parametrize(
    ("student", "feature", "layer", "normalize"),
    [(student, *choice) for student in (SMALL, TWO_LAYERS, HEADLESS) for choice in OF_LAYERS]
    + [(student, *choice) for student in (SMALL, TWO_LAYERS) for choice in OF_HEADS],
)
def test_the_heads_see_what_s3prls_featurizer_gives(tmp_path, student, feature, layer, normalize):
    model = make(student, feature=feature, layer=layer, normalize=normalize)
    save_fithubert(model.student, tmp_path / "s.safetensors")
    upstream = UpstreamExpert(tmp_path / "s.safetensors").eval()
    featurizer = Featurizer(upstream, feature, "cpu", layer, normalize)
    assert (model.layer_weights is not None) == hasattr(featurizer, "weights")
    if model.layer_weights is not None:
        featurizer.weights.data.normal_()
        model.layer_weights.copy_(featurizer.weights.data.softmax(0))
    for samples in SAMPLES:
        wav = torch.randn(samples)
        with torch.no_grad():
            frames = featurizer([wav], upstream([wav]))[0]
        mean = frames.sum(0) / len(frames)
        with torch.no_grad():
            torch.testing.assert_close(model.pool(wav), mean, atol=1e-5, rtol=0)
            answer = model(wav)
            odds = (model.ks_head.weight @ mean + model.ks_head.bias).exp()
            voice = model.sv_head.weight @ mean + model.sv_head.bias
        assert answer["keyword"] == CLASSES[int(odds.argmax())]
        assert answer["confidence"] == pytest.approx(float(odds.max() / odds.sum()), abs=1e-5)
        torch.testing.assert_close(answer["embedding"], voice / voice.square().sum().sqrt(), atol=1e-5, rtol=0)


def test_silence_is_cut_off_as_in_training():
    model, wav, silence = make(trim_db=25.0), torch.randn(4800), torch.zeros(8000)
    margins = [torch.cat([silence[:n], wav, silence[:n]]) for n in (800, 8000)]
    answers = [model(waveform)["embedding"] for waveform in margins]
    torch.testing.assert_close(*answers)


def test_a_list_gives_the_same_answers():
    model = make()
    wavs = [torch.randn(samples) for samples in (1, 100, 16000, 9000)]  # any length, below s3prl's least too
    alone = [model(wav) for wav in wavs]
    together = model(wavs)
    for one, other in zip(alone, together, strict=True):
        assert (one["keyword"], one["confidence"]) == (other["keyword"], other["confidence"])
        assert torch.equal(one["embedding"], other["embedding"]) and not one["embedding"].requires_grad
        assert one["embedding"].norm().item() == pytest.approx(1)


@pytest.mark.parametrize(
    ("missing", "tasks", "keys"),
    [({}, ("ks", "sv"), {"keyword", "confidence", "embedding"}),
     ({"classes": None}, ("sv",), {"embedding"}),
     ({"embedding_dim": None, "threshold": None}, ("ks",), {"keyword", "confidence"})],
)  # fmt: skip
def test_a_file_gives_back_the_model(tmp_path, missing, tasks, keys):
    model = make(feature="hidden_states", **missing)
    model.layer_weights.copy_(torch.tensor([0.5, 0.2, 0.3]))
    save_joint(model, tmp_path / "joint.safetensors")
    loaded = load_joint(tmp_path / "joint.safetensors")
    assert loaded.config == model.config and loaded.config.tasks == tasks and not loaded.training
    for (name, one), (other_name, other) in zip(model.state_dict().items(), loaded.state_dict().items(), strict=True):
        assert name == other_name and torch.equal(one, other)
    wav = torch.randn(5000)
    assert set(loaded(wav)) == keys
    for key, value in model(wav).items():
        if key == "keyword":
            assert loaded(wav)[key] == value
        else:
            torch.testing.assert_close(loaded(wav)[key], value, atol=1e-6, rtol=0)
    assert [path.name for path in tmp_path.iterdir()] == ["joint.safetensors"]


def rewrite(path, edit) -> None:
    model = make()
    save_joint(model, path)
    weights = load_file(path)
    metadata = {"format": "fithubert-joint", "version": "1", "config": json.dumps(dataclasses.asdict(model.config))}
    edit(weights, metadata)
    save_file(weights, path, metadata)


@pytest.mark.parametrize(
    ("edit", "words"),
    [
        (lambda weights, metadata: weights.pop("ks_head.bias"), ["1 (ks_head.bias) missing"]),
        (lambda weights, metadata: weights.pop("layer_weights"), ["layer_weights", "missing"]),
        (lambda weights, metadata: weights.update(extra=torch.ones(1)), ["1 (extra) unexpected"]),
        (lambda weights, metadata: weights.update({"sv_head.bias": torch.ones(6)}), ["sv_head.bias", "(5,)", "(6,)"]),
        (lambda weights, metadata: metadata.update(version="2"), ["version 1", "found 2", "update"]),
        (lambda weights, metadata: metadata.update(format="other"), ["joint model", "other weights"]),
        (lambda weights, metadata: metadata.update(format="fithubert"), ["joint model", "student without heads"]),
        (lambda weights, metadata: metadata.pop("config"), ["config"]),
        (lambda weights, metadata: metadata.update(config='{"feture": 1}'), ["unknown key 'feture'", "feature"]),
    ],
)
def test_files_that_do_not_fit(tmp_path, edit, words):
    path = tmp_path / "joint.safetensors"
    rewrite(path, edit)
    with pytest.raises(FitHubertError) as caught:
        load_joint(path)
    assert all(word in str(caught.value) for word in [str(path), *words]), caught.value
    assert "\n" not in str(caught.value)


def test_other_files(tmp_path):
    with pytest.raises(FitHubertError, match="found nothing"):
        load_joint(tmp_path / "no.safetensors")
    (tmp_path / "cut.safetensors").write_bytes(b"12345")
    with pytest.raises(FitHubertError, match="expected a joint model .* found a truncated"):
        load_joint(tmp_path / "cut.safetensors")
    save_fithubert(FitHubert(SMALL), tmp_path / "student.safetensors")
    with pytest.raises(FitHubertError, match="student without heads"):
        load_joint(tmp_path / "student.safetensors")
    save_joint(make(), tmp_path / "joint.safetensors")
    with pytest.raises(FitHubertError, match="not a FitHuBERT student"):
        load_fithubert(tmp_path / "joint.safetensors")


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ({"feature": "hidden_states_40ms"}, "expected feature .* found hidden_states_40ms"),
        ({"layer": 3}, r"layer in 0\.\.2 of hidden_states, found 3"),
        ({"classes": None, "embedding_dim": None}, "found neither"),
        ({"student": dataclasses.replace(SMALL, head_layers=()), "feature": "projected_states"}, "prediction heads"),
    ],
)
def test_configs_that_cannot_be(config, words):
    with pytest.raises(FitHubertError, match=words):
        make(**config)


@pytest.mark.parametrize(
    ("wav", "words"),
    [
        (torch.zeros(1, 8000), r"shape \(1, 8000\)"),
        (torch.zeros(0), r"shape \(0,\)"),
        (torch.zeros(800, dtype=torch.int16), "divide by 32768"),
        (torch.full((800,), float("nan")), "NaN"),
    ],
)
def test_bad_waveforms(wav, words):
    with pytest.raises(FitHubertError, match=words):
        make()(wav)


@pytest.mark.slow
def test_a_program_that_uses_it_needs_no_framework(tmp_path):
    save_joint(make(), tmp_path / "joint.safetensors")
    code = (
        "import sys, torch\n"
        "from fithubert_upstream.joint.model import load_joint\n"
        f"print(load_joint({str(tmp_path / 'joint.safetensors')!r})(torch.zeros(8000))['keyword'] in {CLASSES!r})\n"
        "names = {'s3prl', 'torchaudio', 'transformers', 'lightning_fabric', 'lhotse', 'soundfile'}\n"
        "print(sorted(names & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True, cwd=REPO)
    assert done.stdout.split("\n")[:2] == ["True", "[]"]

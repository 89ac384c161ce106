import pytest
import torch

from fithubert_upstream.checkpoints.student import save_fithubert
from fithubert_upstream.errors import FitHubertError
from fithubert_upstream.models import inference
from fithubert_upstream.models.feature_extractor import ConvFeatureExtractor, compiled_convolve
from fithubert_upstream.models.fithubert import FitHubert
from fithubert_upstream.models.inference import (
    INFERENCE_VARIABLES,
    collate,
    from_environment,
    prepare,
    stack_utterances,
)
from fithubert_upstream.upstream.expert import UpstreamExpert
from fithubert_upstream.upstream.hubconf import fithubert_local, fithubert_mini

from ..helpers.tiny import SMALL


@pytest.fixture(autouse=True)
def no_variables(monkeypatch):
    for name in INFERENCE_VARIABLES:
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def ckpt(tmp_path):
    save_fithubert(FitHubert(SMALL), tmp_path / "student.safetensors")
    return tmp_path / "student.safetensors"


def test_bf16_keeps_the_direction_of_every_frame(real_speech):
    wavs = [real_speech(4), real_speech(1)]
    with torch.no_grad():
        full = fithubert_mini()(wavs)
        low = fithubert_mini(precision="bf16")(wavs)
    for key in ("last_hidden_state", "hidden_states", "hidden_states_40ms"):
        for a, b in zip(*(f[key] if isinstance(f[key], list) else [f[key]] for f in (full, low)), strict=True):
            assert b.dtype is torch.float32 and not torch.equal(a, b)
            valid = a.norm(dim=-1) > 0
            assert torch.equal(valid, b.norm(dim=-1) > 0)
            assert torch.cosine_similarity(a[valid], b[valid], dim=-1).min() > 0.999


@pytest.mark.parametrize("native", [True, False])
def test_emulated_bf16_is_warned_of(monkeypatch, caplog, native):
    monkeypatch.setattr(inference, "bf16_is_native", lambda device: native)
    prepare(FitHubert(SMALL), "fp32")
    assert not caplog.messages
    prepare(FitHubert(SMALL), "bf16")
    assert [m for m in caplog.messages if "emulated" in m] == caplog.messages and bool(caplog.messages) is not native


def test_bf16_is_not_for_training(ckpt):
    upstream = fithubert_local(ckpt, precision="bf16")
    upstream([torch.randn(4000)])  # in eval
    upstream.train()
    with torch.no_grad():
        upstream([torch.randn(4000)])
    with pytest.raises(FitHubertError, match="training needs precision fp32; bf16 is for inference"):
        upstream([torch.randn(4000)])


def test_compiled_layers_give_the_same(monkeypatch):
    compiled = []

    def keep(function, **options):  # the compiler itself takes a minute, and only turns functions into faster ones
        compiled.append(function)
        return function

    monkeypatch.setattr(torch, "compile", keep)
    compiled_convolve.cache_clear()
    model = FitHubert(SMALL)
    wav = torch.randn(1, 20_000)
    with torch.no_grad():
        expected = model.eval()(wav)[0][-1]
        ready = prepare(model, compile=True)
        assert torch.equal(ready(wav)[0][-1], expected)
    assert ConvFeatureExtractor.convolve in compiled
    assert not ready.training and all(layer._compiled_call_impl is not None for layer in ready.layers)


def test_variables_stand_in_for_what_is_not_said(monkeypatch, ckpt):
    assert from_environment() == ("fp32", False, 0.0)
    for name, value in zip(INFERENCE_VARIABLES, ("bf16", "1", "30"), strict=True):
        monkeypatch.setenv(name, value)
    assert from_environment() == ("bf16", True, 30.0)
    assert from_environment("fp32", False, 0) == ("fp32", False, 0)
    for name in INFERENCE_VARIABLES:
        monkeypatch.setenv(name, "")
    assert from_environment() == ("fp32", False, 0.0)
    monkeypatch.setenv("FITHUBERT_PRECISION", "bf16")
    assert next(UpstreamExpert(ckpt).model.parameters()).dtype is torch.bfloat16


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("PRECISION", "fp8", "expected precision fp32 or bf16, found 'fp8'"),
        ("COMPILE", "yes", "FITHUBERT_COMPILE to be 0 or 1, found 'yes'"),
        ("CHUNK_SECONDS", "ten", "FITHUBERT_CHUNK_SECONDS to be a number, found 'ten'"),
        ("CHUNK_SECONDS", "0.5", "chunk_seconds of at least 1, or 0 for one piece, found 0.5"),
        ("CHUNK_SECONDS", "nan", "chunk_seconds of at least 1, or 0 for one piece, found nan"),
    ],
)
def test_wrong_settings_are_told(monkeypatch, ckpt, name, value, said):
    monkeypatch.setenv(f"FITHUBERT_{name}", value)
    with pytest.raises(FitHubertError, match=said):
        UpstreamExpert(ckpt)


def test_what_features_depend_on_names_the_caches_entries(ckpt):
    names = {fithubert_local(ckpt, **options).extra_repr() for options in ({}, {"chunk_seconds": 9}, {"compile": True})}
    assert len(names) == 3


def test_a_batch_and_back():
    wavs = [torch.randn(5), torch.randn(8, dtype=torch.float64)]
    batch, lengths = collate(wavs)
    assert batch.shape == (2, 8) and batch.dtype == torch.float32 and lengths.tolist() == [5, 8]
    assert all(torch.equal(batch[i, : len(wav)], wav.float()) for i, wav in enumerate(wavs))
    assert not batch[0, 5:].any()
    one, two = torch.randn(1, 2, 3), torch.randn(1, 4, 3)
    stacked = stack_utterances([one, two])
    assert torch.equal(stacked[0], torch.cat([one[0], torch.zeros(2, 3)])) and torch.equal(stacked[1], two[0])
    layers = stack_utterances([[one, one + 1], [two, two + 1]])
    assert torch.equal(layers[0], stacked) and torch.equal(layers[1][1], two[0] + 1)


def test_samples_that_are_finite_in_float64_only():
    with pytest.raises(FitHubertError, match="waveform 1: found NaN or infinite samples"):
        collate([torch.zeros(3), torch.full((3,), 1e300, dtype=torch.float64)])

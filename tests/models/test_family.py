"""Students whose layers differ in how they attend run in every way that FitHuBERT runs."""

import pickle

import pytest
import torch

from fithubert_upstream.checkpoints.student import save_fithubert
from fithubert_upstream.models import long_audio
from fithubert_upstream.models.config import FitHubertConfig
from fithubert_upstream.models.fithubert import FitHubert
from fithubert_upstream.models.long_audio import transform_windows
from fithubert_upstream.upstream.expert import UpstreamExpert

from ..helpers.tiny import RELATIVES

kinds = pytest.mark.parametrize("kind", RELATIVES)


def build(kind: str) -> FitHubert:
    return FitHubert(FitHubertConfig.from_dict(RELATIVES[kind])).eval()


def upstream_of(kind: str, folder, **options) -> UpstreamExpert:
    torch.manual_seed(0)
    save_fithubert(build(kind), folder / "student.safetensors")
    return UpstreamExpert(folder / "student.safetensors", **options)


@torch.no_grad()
@kinds
def test_windows_that_see_everything_give_the_same(monkeypatch, kind):
    model = build(kind)
    monkeypatch.setattr(long_audio, "CONTEXT", 10**6)
    waveforms = torch.randn(2, 48_320)
    expected, found = model.encode(waveforms), transform_windows(model, model.extract(waveforms)[0], 1.0)
    assert torch.equal(found.lengths, expected.lengths)
    for a, b in zip(found.layers, expected.layers, strict=True):
        torch.testing.assert_close(a, b, atol=1e-5, rtol=1e-5)


@torch.no_grad()
@kinds
def test_long_audio_has_every_hidden_state(tmp_path, kind):
    wav = torch.randn(60_000)
    whole, chunked = (upstream_of(kind, tmp_path, chunk_seconds=seconds)([wav]) for seconds in (0, 1))
    assert len(whole["hidden_states"]) == len(chunked["hidden_states"]) == (3 if kind == "reused maps" else 4)
    for a, b in zip(whole["hidden_states"], chunked["hidden_states"], strict=True):
        assert a.shape == b.shape and torch.cosine_similarity(a, b, dim=-1).mean() > 0.9


@torch.no_grad()
@kinds
def test_bf16_keeps_the_direction_of_every_frame(tmp_path, kind):
    wavs = [torch.randn(9000), torch.randn(4000)]
    full, low = (upstream_of(kind, tmp_path, precision=precision)(wavs) for precision in ("fp32", "bf16"))
    for a, b in zip(full["hidden_states"], low["hidden_states"], strict=True):
        assert b.dtype is torch.float32
        valid = a.norm(dim=-1) > 0
        assert torch.cosine_similarity(a[valid], b[valid], dim=-1).min() > 0.99


@kinds
def test_every_weight_learns(kind):
    """In training mode, which takes attention another way."""
    model = build(kind).train()
    layers = model.encode(torch.randn(2, 6000), torch.tensor([6000, 4000])).layers
    (sum(layer.square().sum() for layer in layers) + layers[-1][0, 0, 0]).backward()
    missing = [name for name, p in model.named_parameters() if p.grad is None and not name.startswith("heads.")]
    assert missing == []


@torch.no_grad()
@kinds
def test_a_pickled_upstream_gives_the_same(tmp_path, kind):
    upstream = upstream_of(kind, tmp_path)
    twin = pickle.loads(pickle.dumps(upstream))
    wav = torch.randn(5000)
    assert torch.equal(upstream([wav])["last_hidden_state"], twin([wav])["last_hidden_state"])


@torch.no_grad()
@kinds
def test_layers_compile_in_one_graph(kind):
    """Without the code generator, which takes a minute and only turns graphs into faster ones."""
    model = build(kind)
    waveforms, lengths = torch.randn(2, 6000), torch.tensor([6000, 4000])
    expected = model.encode(waveforms, lengths).layers
    for layer in model.layers:
        layer.compile(dynamic=True, fullgraph=True, backend="eager")
    for a, b in zip(model.encode(waveforms, lengths).layers, expected, strict=True):
        torch.testing.assert_close(a, b)

import pytest
import torch
from s3prl.upstream.interfaces import Featurizer

from fithubert_upstream.checkpoints.student import save_fithubert
from fithubert_upstream.errors import FitHubertError
from fithubert_upstream.models.fithubert import FitHubert
from fithubert_upstream.upstream.expert import UpstreamExpert

from ..helpers.tiny import SMALL

KEYS = ["last_hidden_state", "hidden_states", "projected_states", "hidden_states_40ms"]


@pytest.fixture
def ckpt(tmp_path):
    save_fithubert(FitHubert(SMALL), tmp_path / "student.safetensors")
    return tmp_path / "student.safetensors"


@pytest.fixture
def upstream(ckpt):
    return UpstreamExpert(ckpt).eval()


def test_every_key_has_its_documented_shape(upstream):
    features = upstream([torch.randn(16000), torch.randn(8000)])
    assert set(features) == set(KEYS)
    assert features["last_hidden_state"].shape == (2, 49, 40)
    assert [f.shape for f in features["hidden_states"]] == [(2, 49, 32)] * 3
    assert [f.shape for f in features["projected_states"]] == [(2, 49, 40)] * 3
    assert [f.shape for f in features["hidden_states_40ms"]] == [(2, 24, 32)] * 3
    torch.testing.assert_close(features["last_hidden_state"], features["projected_states"][-1])
    assert {key: upstream.get_downsample_rates(key) for key in KEYS} == dict.fromkeys(KEYS[:3], 320) | {KEYS[3]: 640}


def test_a_fresh_upstream_is_in_eval_mode(ckpt):
    fresh = UpstreamExpert(ckpt)
    assert not any(module.training for module in fresh.modules())
    assert all(module.training for module in fresh.train().modules())


def test_hidden_states_repeat_each_40_ms_frame(upstream):
    features = upstream([torch.randn(16000), torch.randn(9000)])
    for fine, coarse in zip(features["hidden_states"], features["hidden_states_40ms"], strict=True):
        for t in range(48):
            torch.testing.assert_close(fine[0, t], coarse[0, t // 2])
        torch.testing.assert_close(fine[0, 48], coarse[0, 23])


def test_stripped_checkpoints_have_what_they_kept(tmp_path):
    for heads, keys in [((3,), {"last_hidden_state"}), ((), {"last_hidden_state"})]:
        save_fithubert(FitHubert(SMALL).keep_heads(heads), tmp_path / "s.safetensors")
        features = UpstreamExpert(tmp_path / "s.safetensors")([torch.randn(4000)])
        assert set(features) == {"hidden_states", "hidden_states_40ms"} | keys
        assert features["last_hidden_state"].size(2) == (40 if heads else 32)


def test_alone_and_in_any_batch(upstream):
    wavs = [torch.randn(n) for n in (1, 700, 5000, 16000, 12345)]
    with torch.no_grad():
        together = upstream(wavs)
        for i, wav in enumerate(wavs):
            alone = upstream([wav])
            for key in KEYS:
                one, many = alone[key], together[key]
                one, many = (one, many) if isinstance(one, list) else ([one], [many])
                for a, b in zip(one, many, strict=True):
                    torch.testing.assert_close(b[i, : a.size(1)], a[0], atol=1e-4, rtol=0)


def test_without_gradients_a_batch_changes_no_bit(upstream):
    wavs = [torch.randn(n) for n in (1, 700, 5000, 16000, 12345)]
    with torch.no_grad():
        together, reverse = upstream(wavs), upstream(wavs[::-1])
        assert upstream.utterance_wise
    assert not upstream.utterance_wise
    padded = upstream(wavs)  # with gradients: one padded batch
    for key in KEYS:
        layers = [f[key] if isinstance(f[key], list) else [f[key]] for f in (together, reverse, padded)]
        for one, other, batch in zip(*layers, strict=True):
            assert torch.equal(one, other.flip(0))
            torch.testing.assert_close(one, batch, atol=1e-4, rtol=0)


@pytest.mark.parametrize("key", KEYS)
def test_s3prls_featurizer_takes_every_key(upstream, key):
    featurizer = Featurizer(upstream, key, upstream_device="cpu")
    assert featurizer.output_dim == (32 if key.startswith("hidden") else 40)
    wavs = [torch.randn(n) for n in (16000, 800, 23456)]
    features = featurizer(wavs, upstream(wavs))
    rate = upstream.get_downsample_rates(key)
    for wav, feature in zip(wavs, features, strict=True):
        assert abs(len(feature) - len(wav) / rate) < 1.5 and torch.isfinite(feature).all()


def test_s3prl_upstream_accepts_it(ckpt):
    from fithubert_upstream import register

    register()
    from s3prl.nn import Featurizer as NnFeaturizer
    from s3prl.nn import S3PRLUpstream

    model = S3PRLUpstream("fithubert", path_or_url=str(ckpt)).eval()
    assert model.num_layers == 3 and set(model.hidden_sizes) == {32} and set(model.downsample_rates) == {320}
    for lengths in ([16000, 8000], [800, 200]):
        wavs = torch.randn(2, max(lengths))
        states, frames = NnFeaturizer(model)(*model(wavs, torch.tensor(lengths)))
        assert states.size(1) == frames.max() and torch.isfinite(states).all()


@pytest.mark.parametrize("key", KEYS)
def test_forward_and_backward_at_50_ms(ckpt, key):
    upstream = UpstreamExpert(ckpt).train()
    features = upstream([torch.randn(800), torch.randn(640)])[key]
    features = features if isinstance(features, list) else [features]
    sum(f.square().mean() for f in features).backward()
    grads = [p.grad for p in upstream.parameters() if p.grad is not None]
    assert len(grads) > 30 and all(torch.isfinite(g).all() for g in grads)


@pytest.mark.parametrize(
    ("wavs", "words"),
    [
        ([torch.randn(1, 8000)], ["waveform 0", "1-D", "(1, 8000)"]),
        (torch.randn(2, 1, 8000), ["waveform 0", "1-D"]),
        ([torch.randn(100), torch.full((100,), float("nan"))], ["waveform 1", "NaN"]),
        ([torch.tensor([0.0, float("inf")])], ["waveform 0", "infinite"]),
        ([torch.zeros(100, dtype=torch.int16)], ["waveform 0", "float", "int16"]),
        ([torch.zeros(0)], ["waveform 0", "at least one sample"]),
        ([[0.1, 0.2]], ["waveform 0", "list"]),
        ([], ["empty list"]),
    ],
)
def test_bad_waveforms(upstream, wavs, words):
    with pytest.raises(FitHubertError) as caught:
        upstream(wavs)
    assert all(word in str(caught.value) for word in words), caught.value
    assert "\n" not in str(caught.value)

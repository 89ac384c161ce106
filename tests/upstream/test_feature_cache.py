"""The feature cache gives what the upstream gives, to the last bit, and spares its forward passes."""

from dataclasses import replace

import pytest
import torch
from torch import nn

from fithubert_upstream.checkpoints.student import save_fithubert
from fithubert_upstream.errors import FitHubertError
from fithubert_upstream.models.fithubert import FitHubert
from fithubert_upstream.upstream.expert import UpstreamExpert
from fithubert_upstream.upstream.feature_cache import CachedUpstream, is_utterance_wise

from ..helpers.tiny import SMALL

WAVS = [torch.randn(n, generator=torch.Generator().manual_seed(n)) for n in (9000, 16000, 4000)]


class Counting(nn.Module):
    """Counts an upstream's forward passes and waveforms."""

    def __init__(self, upstream):
        super().__init__()
        self.upstream, self.passes, self.waveforms = upstream, 0, 0
        self.eval()

    @property
    def utterance_wise(self):
        return is_utterance_wise(self.upstream)

    def get_downsample_rates(self, key):
        return self.upstream.get_downsample_rates(key)

    def forward(self, wavs):
        self.passes += 1
        self.waveforms += len(wavs)
        return self.upstream(wavs)


class Padding(nn.Module):
    """Features that depend on the padding, as HuBERT's do."""

    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(2.0))

    def forward(self, wavs):
        longest = max(map(len, wavs))
        return {"hidden_states": [torch.ones(len(wavs), longest // 320, 3) * longest * self.scale for _ in range(2)]}


@pytest.fixture
def student(tmp_path):
    save_fithubert(FitHubert(SMALL), tmp_path / "student.safetensors")
    return UpstreamExpert(tmp_path / "student.safetensors").eval()


def fbank():
    from fithubert_upstream import register

    register()
    from s3prl import hub

    return hub.fbank().eval()


def equal(a, b) -> bool:
    a, b = (x if isinstance(x, list) else [x] for x in (a, b))
    return len(a) == len(b) and all(torch.equal(x, y) for x, y in zip(a, b, strict=True))


@pytest.mark.parametrize("feature", ["last_hidden_state", "hidden_states", "projected_states"])
@torch.no_grad()
def test_bits_are_those_of_the_upstream(student, tmp_path, feature):
    counting = Counting(student)
    for wavs in (WAVS, WAVS[::-1], WAVS[:1], WAVS[1:]):
        for cache in (CachedUpstream(counting, feature, tmp_path / "cache") for _ in range(2)):
            assert equal(cache(wavs)[feature], student(wavs)[feature])
            assert cache.get_downsample_rates(feature) == 320
    assert counting.waveforms == 3  # each utterance once, in whatever batch it came


@torch.no_grad()
def test_fbank_is_kept_by_utterance(tmp_path):
    upstream = fbank()
    cache = CachedUpstream(Counting(upstream), "hidden_states", tmp_path)
    for wavs in (WAVS, WAVS[::-1]):
        assert equal(cache(wavs)["hidden_states"], upstream(wavs)["hidden_states"])
    assert cache.upstream.waveforms == 3 and (cache.found, cache.asked) == (3, 6)
    assert "3 of 6 from disk" in cache.summary()


@torch.no_grad()
def test_features_that_depend_on_the_batch_are_kept_by_batch(tmp_path):
    upstream = Counting(Padding())
    cache = CachedUpstream(upstream, "hidden_states", tmp_path)
    for wavs in (WAVS, WAVS[:1], WAVS, WAVS[:1], WAVS[::-1]):
        assert equal(cache(wavs)["hidden_states"], upstream.upstream(wavs)["hidden_states"])
    assert upstream.passes == 3


@torch.no_grad()
def test_what_never_comes_again_is_not_kept(tmp_path):
    upstream = Counting(Padding())
    cache = CachedUpstream(upstream, "hidden_states", tmp_path, keep_from=2)
    for wavs in (WAVS, WAVS[:1], WAVS, WAVS, WAVS[::-1], WAVS):
        assert equal(cache(wavs)["hidden_states"], upstream.upstream(wavs)["hidden_states"])
    assert upstream.passes == 4 and cache.found == 2 and len(list(tmp_path.rglob("*.safetensors"))) == 1


@torch.no_grad()
def test_other_weights_or_identity_are_other_entries(tmp_path):
    upstream = Counting(Padding())
    wavs = WAVS[:1]
    CachedUpstream(upstream, "hidden_states", tmp_path)(wavs)
    CachedUpstream(upstream, "hidden_states", tmp_path, identity=["another config"])(wavs)
    upstream.upstream.scale.fill_(3.0)
    assert equal(
        CachedUpstream(upstream, "hidden_states", tmp_path)(wavs)["hidden_states"],
        upstream.upstream(wavs)["hidden_states"],
    )
    assert upstream.passes == 3


@torch.no_grad()
def test_a_full_folder_takes_no_more(tmp_path):
    upstream = Counting(Padding())
    one = CachedUpstream(upstream, "hidden_states", tmp_path)
    one(WAVS[:1])
    full = CachedUpstream(upstream, "hidden_states", tmp_path, limit=one.bytes + 10)
    assert full.bytes == one.bytes == sum(path.stat().st_size for path in tmp_path.rglob("*.safetensors"))
    full(WAVS[1:2]), full(WAVS[1:2]), full(WAVS[:1])
    assert upstream.passes == 3 and full.bytes <= full.limit


@torch.no_grad()
def test_a_damaged_entry_is_computed_anew(tmp_path):
    upstream = Counting(Padding())
    first = CachedUpstream(upstream, "hidden_states", tmp_path)(WAVS[:1])["hidden_states"]
    (entry,) = tmp_path.rglob("*.safetensors")
    entry.write_bytes(entry.read_bytes()[:-5])
    for _ in range(2):
        assert equal(CachedUpstream(upstream, "hidden_states", tmp_path)(WAVS[:1])["hidden_states"], first)
    assert upstream.passes == 2


def test_training_and_gradients_pass_by(student, tmp_path):
    cache = CachedUpstream(student, "last_hidden_state", tmp_path)
    assert cache(WAVS)["last_hidden_state"].requires_grad
    cache.train()
    with torch.no_grad():
        assert set(cache(WAVS)) > {"hidden_states", "last_hidden_state"}
    assert cache.asked == 0


@torch.no_grad()
@pytest.mark.parametrize("kind", [tuple, lambda layers: dict(enumerate(layers))])
def test_tuples_and_dicts_of_layers_are_kept_too(tmp_path, kind):
    class Layers(Padding):
        def forward(self, wavs):
            return {"hidden_states": kind(super().forward(wavs)["hidden_states"])}

    expected = Padding()(WAVS)["hidden_states"]
    cache = CachedUpstream(Layers().eval(), "hidden_states", tmp_path)
    assert all(equal(cache(WAVS)["hidden_states"], expected) for _ in range(2)) and cache.found == 1


@torch.no_grad()
def test_an_unknown_feature_is_refused(tmp_path):
    with pytest.raises(FitHubertError, match="-s no_such_key: .* it has hidden_states"):
        CachedUpstream(Padding().eval(), "no_such_key", tmp_path)(WAVS)
    assert not list(tmp_path.rglob("*.safetensors"))


@torch.no_grad()
def test_a_folder_that_cannot_be_written_is_told(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(FitHubertError, match="feature cache .*file"):
        CachedUpstream(Padding().eval(), "hidden_states", tmp_path / "file")(WAVS[:1])


@torch.no_grad()
def test_equal_weights_with_other_heads_are_other_entries(tmp_path):
    """A config says what no weight does; without it in the key, the second student got the first one's features."""
    state = FitHubert(SMALL).state_dict()
    found = []
    for heads in (2, 4):
        model = FitHubert(replace(SMALL, num_heads=heads))
        model.load_state_dict(state)
        save_fithubert(model, tmp_path / f"{heads}.safetensors")
        upstream = UpstreamExpert(tmp_path / f"{heads}.safetensors").eval()
        feature = CachedUpstream(upstream, "hidden_states", tmp_path / "cache")(WAVS[:1])["hidden_states"]
        assert equal(feature, upstream(WAVS[:1])["hidden_states"])
        found.append(feature)
    assert not equal(*found)

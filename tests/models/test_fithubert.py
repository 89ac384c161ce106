import pytest
import torch
from torch.nn.utils.rnn import pad_sequence

from fithubert_upstream.distillation.config import DistillationConfig
from fithubert_upstream.models.config import FitHubertConfig
from fithubert_upstream.models.fithubert import FitHubert, fit_frames
from fithubert_upstream.models.lengths import conv_frames
from fithubert_upstream.settings.files import find_config

from ..helpers.tiny import SMALL


def count(model) -> int:
    return sum(p.numel() for p in model.parameters())


def test_exact_parameter_counts():
    model = FitHubert()
    assert count(model) == 31_168_352
    assert count(model.feature_extractor) == 2_000_384
    kept = model.keep_heads((12,))
    assert count(kept) == 22_030_784 and kept.config.head_layers == (12,)
    assert count(model) == 31_168_352 and model.config.head_layers == tuple(range(1, 13))
    assert count(FitHubert(FitHubertConfig(head_layers=(12,)))) == 22_030_784


def test_exact_parameter_counts_of_kerpiccis_student():
    """facts 2.1: DistilHuBERT's 23.49 M and its heads' 3.54 M; every part counted by hand."""
    model = FitHubert(DistillationConfig.from_yaml(find_config("kerpicci.yaml")).student)
    convs = 512 * 10 + 4 * 512 * 512 * 3 + 2 * 512 * 512 * 2 + 2 * 512  # and the first norm
    front = 2 * 512 + 512 * 768 + 768 + 768 * 48 * 128 + 128 + 768 + 2 * 768
    layer = 4 * (768 * 768 + 768) + 2 * 768 * 3072 + 3072 + 768 + 4 * 768
    head = 2 * (768 * 768 + 768)
    assert count(model.heads) == 3 * head == 3_543_552
    assert count(model) == convs + front + 2 * layer + 3 * head == 27_035_776
    assert round(count(model.keep_heads(())) / 1e6, 2) == 23.49
    mini = FitHubert(DistillationConfig.from_yaml(find_config("kerpicci_mini.yaml")).student)
    assert count(mini) == 2_421_056


@pytest.mark.parametrize("size", ["small", "full"])
def test_features_are_the_same_alone_and_in_any_batch(size):
    model = FitHubert(SMALL if size == "small" else FitHubertConfig()).eval()
    lengths = [1, 100, 399, 400, 719, 720, 721, 1039, 1040, 1359, 1360, 5000, 8000, 8123, 16000]
    wavs = [torch.randn(n) for n in lengths]
    with torch.no_grad():
        batch, frames = model(pad_sequence(wavs, batch_first=True), torch.tensor(lengths))
        for i, wav in enumerate(wavs):
            single, own = model(wav[None])
            assert own.tolist() == [frames[i]] == [max(1, conv_frames(len(wav), model.config.conv_layers))]
            for one, many in zip(single, batch, strict=True):
                torch.testing.assert_close(many[i, : frames[i]], one[0], atol=1e-4, rtol=0)
                assert (many[i, frames[i] :] == 0).all()


def test_padding_may_hold_anything():
    model = FitHubert(SMALL).eval()
    wavs, lengths = torch.randn(2, 8000), torch.tensor([8000, 5000])
    dirty = wavs.clone()
    dirty[1, 5000:] = float("nan")
    with torch.no_grad():
        for clean, other in zip(model(wavs, lengths)[0], model(dirty, lengths)[0], strict=True):
            torch.testing.assert_close(clean, other)


def test_an_odd_last_frame_repeats_the_one_before():
    model = FitHubert(SMALL).eval()
    with torch.no_grad():
        layers, frames = model(torch.randn(1, 16000))
    assert frames.item() == 49
    for layer in layers:
        assert layer.shape == (1, 49, 40)
        torch.testing.assert_close(layer[:, 48], layer[:, 47])


def test_gradients_reach_every_parameter_and_are_finite():
    model = FitHubert(SMALL).train()
    layers, _ = model(torch.randn(2, 800), torch.tensor([800, 500]))  # 0.05 s
    sum(layer.square().mean() for layer in layers).backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None and torch.isfinite(parameter.grad).all(), name


def test_folded_weight_norm_follows_the_weights():
    model = FitHubert(SMALL).eval()
    wav = torch.randn(1, 4000)
    with torch.no_grad():
        before = model(wav)[0][-1]
        torch.testing.assert_close(model(wav)[0][-1], before)  # from the fold
    model.train()
    with torch.no_grad():
        model.pos_conv.weight_g.data.mul_(3)
    model.eval()
    with torch.no_grad():
        after = model(wav)[0][-1]
    with torch.enable_grad():
        unfolded = model(wav)[0][-1].detach()
    assert (after - before).abs().max() > 1e-3
    torch.testing.assert_close(after, unfolded)


def test_without_time_reduction():
    config = FitHubertConfig.from_dict(SMALL.to_dict() | {"time_reduction": 1})
    model = FitHubert(config).eval()
    with torch.no_grad():
        layers, frames = model(torch.randn(1, 16000))
    assert layers[0].shape == (1, 49, 40) and frames.item() == 49


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_autocast(dtype):
    model = FitHubert(SMALL).eval()
    wavs, lengths = torch.randn(2, 4000), torch.tensor([4000, 3000])
    with torch.no_grad():
        full = model(wavs, lengths)[0][-1]
        with torch.autocast("cpu", dtype):
            low = model(wavs, lengths)[0][-1]
    assert torch.nn.functional.cosine_similarity(full[0], low[0].float(), dim=-1).min() > 0.99


def test_fit_frames_against_a_loop():
    x = torch.randn(4, 6, 2)
    valid, frames = torch.tensor([6, 4, 2, 6]), torch.tensor([7, 5, 1, 3])
    fitted = fit_frames(x, valid, frames)
    assert fitted.shape == (4, 7, 2)
    for b in range(4):
        for t in range(7):
            expected = x[b, min(t, int(valid[b]) - 1)] if t < frames[b] else torch.zeros(2)
            torch.testing.assert_close(fitted[b, t], expected)

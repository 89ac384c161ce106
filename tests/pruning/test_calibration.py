"""A model whose units are there twice loses half of them and gives what it gave."""

from dataclasses import replace

import pytest
import torch

from fithubert_upstream.data.batches import Batch
from fithubert_upstream.errors import FitHubertError
from fithubert_upstream.models.fithubert import FitHubert
from fithubert_upstream.pruning import reconstruction
from fithubert_upstream.pruning.calibration import prune_at_once
from fithubert_upstream.pruning.students import copy_of

from ..helpers.pruning import TEACHER, make_model, size


def batches(count=2, lengths=(16000, 12000, 9000)):
    draw = torch.Generator().manual_seed(5)
    for _ in range(count):
        waveforms = torch.randn(len(lengths), max(lengths), generator=draw)
        for waveform, length in zip(waveforms, lengths, strict=True):
            waveform[length:] = 0
        yield Batch(waveforms, torch.tensor(lengths))


def counts(model: FitHubert):
    return (
        [c for c, _, _ in model.config.conv_layers],
        list(model.config.layer_heads),
        list(model.config.layer_ffn_dims),
    )


@pytest.fixture
def twice():
    """A model in which every second channel, head and FFN unit does what the one before it does, and its small self."""
    small = make_model()
    width = small.config.width_of_head
    convs = [*((2 * c, k, s) for c, k, s in small.config.conv_layers[:-1]), small.config.conv_layers[-1]]
    config = replace(
        small.config, conv_layers=tuple(convs), num_heads=2 * small.config.num_heads, head_width=width, ffn_dim=40
    )
    state = small.state_dict()
    for i in range(len(convs)):
        name = f"feature_extractor.convs.{i}.weight"
        weight = state[name]  # (D, C, K)
        if i:  # what two channels give is halved
            weight = weight.repeat_interleave(2, 1) / 2
        state[name] = weight.repeat_interleave(2, 0) if i < len(convs) - 1 else weight
    for part in ("weight", "bias"):
        state[f"feature_extractor.norm.{part}"] = state[f"feature_extractor.norm.{part}"].repeat_interleave(2, 0)
    for i in range(small.config.num_layers):
        place = f"layers.{i}"
        for part in ("weight", "bias"):
            qkv = state[f"{place}.attention.qkv.{part}"].unflatten(0, (3, -1, width)).repeat_interleave(2, 1)
            state[f"{place}.attention.qkv.{part}"] = qkv.flatten(0, 2)
            state[f"{place}.fc1.{part}"] = state[f"{place}.fc1.{part}"].repeat_interleave(2, 0)
        out = state[f"{place}.attention.out.weight"].unflatten(1, (-1, width)).repeat_interleave(2, 1) / 2
        state[f"{place}.attention.out.weight"] = out.flatten(1)
        state[f"{place}.fc2.weight"] = state[f"{place}.fc2.weight"].repeat_interleave(2, 1) / 2
    model = FitHubert(config).eval()
    model.load_state_dict(state)
    return model, small


def test_what_is_there_twice_goes_and_nothing_changes(twice, monkeypatch):
    monkeypatch.setattr(reconstruction, "RIDGE", 1e-9)
    model, small = twice
    wav = torch.randn(1, 16000, generator=torch.Generator().manual_seed(6))
    with torch.no_grad():
        expected = model.encode(wav).layers
        torch.testing.assert_close(small.encode(wav).layers, expected, atol=1e-4, rtol=0)  # as was meant
        student = copy_of(model)
        pruned = prune_at_once(student, batches(), size(copy_of(small)))
        assert counts(pruned) == counts(small) and not pruned.training
        torch.testing.assert_close(pruned.encode(wav).layers, expected, atol=2e-3, rtol=0)


@pytest.mark.parametrize("time_reduction", [1, 2])
@pytest.mark.parametrize("share", [0.8, 0.5])
def test_size(share, time_reduction):
    student = copy_of(make_model(), time_reduction)
    wanted = share * size(student)
    pruned = prune_at_once(student, batches(), wanted)
    unit = 2 * TEACHER.embed_dim + 1
    assert wanted - unit < size(pruned) <= wanted


def test_refitting_keeps_more_than_leaving_out(monkeypatch):
    teacher = make_model()
    wanted = 0.7 * size(copy_of(teacher))
    refitted = prune_at_once(copy_of(teacher), batches(), wanted)
    monkeypatch.setattr(
        "fithubert_upstream.pruning.calibration.refit",
        lambda _, weight, kept: torch.zeros_like(weight).index_copy(0, kept, weight[kept]),
    )
    left_out = prune_at_once(copy_of(teacher), batches(), wanted)
    assert counts(refitted) == counts(left_out)
    wav = torch.randn(1, 16000, generator=torch.Generator().manual_seed(7))
    with torch.no_grad():
        last = teacher.encode(wav).layers[-1]
        errors = [float((model.encode(wav).layers[-1] - last).square().mean()) for model in (refitted, left_out)]
    assert errors[0] < 0.8 * errors[1]


def test_padding_says_nothing():
    """Three utterances of one batch, or one at a time."""
    alone = [
        Batch(batch.waveforms[i : i + 1, :length], batch.lengths[i : i + 1])
        for batch in batches()
        for i, length in enumerate(batch.lengths.tolist())
    ]
    teacher = make_model()
    wanted = 0.7 * size(copy_of(teacher))
    together, apart = (prune_at_once(copy_of(teacher), b, wanted, 1.0) for b in (batches(), alone))
    assert counts(together) == counts(apart)
    for (name, weight), other in zip(together.state_dict().items(), apart.state_dict().values(), strict=True):
        torch.testing.assert_close(weight, other, atol=1e-3, rtol=1e-3, msg=name)


def test_time_weight_takes_channels_rather_than_units():
    teacher = make_model()
    wanted = 0.7 * size(copy_of(teacher))
    slow, fast = (prune_at_once(copy_of(teacher), batches(), wanted, weight) for weight in (0.0, 1.0))
    assert sum(counts(fast)[0]) < sum(counts(slow)[0]) and sum(counts(fast)[2]) > sum(counts(slow)[2])
    assert counts(fast)[0][-1] == TEACHER.conv_layers[-1][0]  # the last convolution stays


def test_a_layer_may_go_and_a_convolution_keeps_a_channel():
    student = copy_of(make_model())
    small = prune_at_once(student, batches(1), 0.25 * size(student), 1.0)
    assert min(counts(small)[0]) >= 1 and (0 in counts(small)[1] or 0 in counts(small)[2])
    with torch.no_grad():
        assert small.encode(torch.randn(1, 16000)).layers[-1].isfinite().all()


def test_too_small_is_an_error():
    with pytest.raises(
        FitHubertError, match="expected a size of at least .* which always stay, found 1; set a lower model.sparsity"
    ):
        prune_at_once(copy_of(make_model()), batches(1), 1)


def test_an_utterance_below_one_frame_is_heard_padded():
    wanted = 0.7 * size(copy_of(make_model()))
    pruned = prune_at_once(copy_of(make_model()), batches(1, (16000, 100)), wanted)
    assert size(pruned) <= wanted

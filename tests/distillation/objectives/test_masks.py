import numpy as np
import pytest
import torch

from fithubert_upstream.distillation.objectives.masks import MaskConfig, draw_mask, overlapping_spans, separate_spans
from fithubert_upstream.errors import FitHubertError


def test_separate_spans_have_the_sizes_that_were_drawn_and_a_frame_between_them():
    config, sizes_seen = MaskConfig(0.6, 4), set()
    for seed in range(300):
        draw = np.random.default_rng(seed)
        count = int(draw.integers(1, 60))
        starts, sizes = separate_spans(count, config, draw)
        assert len(starts) == len(sizes) >= 1 and starts[0] >= 0
        assert starts[-1] + sizes[-1] <= count
        assert all(a + n < b for a, n, b in zip(starts[:-1], sizes[:-1], starts[1:], strict=True))
        sizes_seen |= set(sizes.tolist())
    assert sizes_seen == set(range(1, 9))  # evenly from 0 to 8; those of 0 are none


def test_spans_start_anywhere():
    config = MaskConfig(0.2, 2)
    found = [separate_spans(10, config, np.random.default_rng(seed)) for seed in range(400)]
    covered = {n for starts, sizes in found for a, size in zip(starts, sizes, strict=True) for n in range(a, a + size)}
    assert covered == set(range(10))


@pytest.mark.parametrize("overlap", [False, True])
def test_the_share_that_is_hidden(overlap):
    """Separate spans hide about `probability`, overlapping ones 1 - exp(-probability)."""
    config = MaskConfig(0.5, 10, overlap)
    mask = draw_mask(torch.full((200,), 500), config, np.random.default_rng(0))
    expected = 1 - np.exp(-0.5) if overlap else 0.5
    assert mask.float().mean().item() == pytest.approx(expected, abs=0.03)


def test_overlapping_spans_are_of_one_size_and_start_at_different_places():
    for seed in range(100):
        draw = np.random.default_rng(seed)
        count = int(draw.integers(1, 40))
        starts, sizes = overlapping_spans(count, MaskConfig(0.8, 5, True), draw)
        assert set(sizes.tolist()) == {min(5, count)} and len(set(starts.tolist())) == len(starts) >= 1
        assert starts.min() >= 0 and (starts + sizes).max() <= count


@pytest.mark.parametrize("overlap", [False, True])
def test_nothing_is_hidden_past_the_end_and_something_before_it(overlap):
    frames = torch.tensor([1, 2, 3, 30, 49])
    for seed in range(50):
        mask = draw_mask(frames, MaskConfig(0.8, 10, overlap), np.random.default_rng(seed))
        assert mask.shape == (5, 49) and mask.dtype == torch.bool
        for row, count in zip(mask, frames.tolist(), strict=True):
            assert row[:count].any() and not row[count:].any()


def test_a_mask_is_drawn_from_torchs_generator():
    frames = torch.tensor([100, 80])
    state = torch.get_rng_state()
    first, second = draw_mask(frames, MaskConfig()), draw_mask(frames, MaskConfig())
    torch.set_rng_state(state)
    assert torch.equal(draw_mask(frames, MaskConfig()), first) and not torch.equal(first, second)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"probability": 0.0}, r"expected mask.probability in \(0, 1\], found 0.0"),
        ({"probability": 1.5}, "mask.probability"),
        ({"length": 0}, "expected mask.length of at least 1, found 0"),
    ],
)
def test_masks_that_cannot_be(values, words):
    with pytest.raises(FitHubertError, match=words):
        MaskConfig(**values)

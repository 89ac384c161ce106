import torch

from fithubert_upstream.models.config import FITHUBERT_CONV_LAYERS
from fithubert_upstream.models.lengths import conv_frames, shortest_input, valid_mask

HUBERT_CONV_LAYERS = [(512, 10, 5)] + [(512, 3, 2)] * 4 + [(512, 2, 2)] * 2


def count_by_sliding(samples: int, layers) -> int:
    """Slide each kernel over a row of that many positions and count the places where it fits."""
    for _, kernel, stride in layers:
        samples = sum(1 for start in range(0, samples, stride) if start + kernel <= samples)
    return samples


def test_frames_by_sliding_each_kernel():
    for samples in [0, 1, 399, 400, 719, 720, 1039, 1040, 15999, 16000, 16001]:
        assert conv_frames(samples, FITHUBERT_CONV_LAYERS) == count_by_sliding(samples, FITHUBERT_CONV_LAYERS)


def test_frame_count_is_huberts():
    samples = torch.arange(0, 5000)
    ours = conv_frames(samples, FITHUBERT_CONV_LAYERS)
    assert torch.equal(ours, conv_frames(samples, HUBERT_CONV_LAYERS))
    assert conv_frames(16000, FITHUBERT_CONV_LAYERS) == 49


def test_shortest_input_is_the_shortest():
    for frames in (1, 2, 3, 50):
        shortest = shortest_input(FITHUBERT_CONV_LAYERS, frames)
        assert conv_frames(shortest, FITHUBERT_CONV_LAYERS) == frames
        assert conv_frames(shortest - 1, FITHUBERT_CONV_LAYERS) == frames - 1


def test_valid_mask():
    mask = valid_mask(torch.tensor([1, 3, 0]), 3)
    assert mask.tolist() == [[True, False, False], [True, True, True], [False, False, False]]

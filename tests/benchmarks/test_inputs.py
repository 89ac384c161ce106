import pytest
import torch

from fithubert_upstream.benchmarks.inputs import lengths_alone, mixed_lengths

CPU = torch.device("cpu")


def test_the_ways_of_a_batch_hold_the_same_audio():
    one, by_length, alone = mixed_lengths(8, (2, 17), CPU)
    seconds = sorted(length / 16000 for _, lengths in alone.batches for length in lengths.tolist())
    assert len(seconds) == 8 and 2 <= seconds[0] < 6 and 12 < seconds[-1] <= 17
    for work in (one, by_length, alone):
        assert work.seconds == pytest.approx(sum(seconds)) and work.utterances == 8
    assert one.padded_seconds == pytest.approx(8 * seconds[-1])
    assert by_length.padded_seconds == pytest.approx(4 * seconds[3] + 4 * seconds[7])
    assert alone.padded_seconds == pytest.approx(sum(seconds))
    assert [len(work.batches) for work in (one, by_length, alone)] == [1, 2, 8]
    waveforms, lengths = one.batches[0]
    for waveform, length in zip(waveforms, lengths.tolist(), strict=True):
        assert bool((waveform[length:] == 0).all()) and waveform[:length].std() > 0.05
    again, _, _ = mixed_lengths(8, (2, 17), CPU)
    assert torch.equal(again.batches[0][0], waveforms)
    [single] = lengths_alone([0.5], CPU)
    assert single.name == "0.5 s" and single.seconds == single.padded_seconds == 0.5 and single.utterances == 1

import numpy as np
import pytest
import soundfile
import torch

from fithubert_upstream.audio import find_audio, load_waveform
from fithubert_upstream.data import DataConfig, build_dataloader
from fithubert_upstream.errors import FitHubertError

from .tiny import make_corpus


def test_cropped_batches_are_pieces_of_their_files(tmp_path):
    loader = build_dataloader(DataConfig(str(make_corpus(tmp_path)), 3), seed=1)
    wholes = [load_waveform(path) for path in find_audio(tmp_path)]
    seen = 0
    for waveforms, lengths in loader:
        assert (lengths == waveforms.size(1)).all()
        for wav in waveforms:
            assert any(
                torch.equal(whole[s : s + len(wav)], wav)
                for whole in wholes
                for s in range(len(whole) - len(wav) + 1)
                if whole[s] == wav[0]
            )
            seen += 1
    assert seen == 8


def test_crops_are_no_longer_than_asked(tmp_path):
    loader = build_dataloader(DataConfig(str(make_corpus(tmp_path)), 3, crop_seconds=0.55), seed=1)
    assert {waveforms.size(1) for waveforms, _ in loader} == {8800}


def test_uncropped_batches_hold_each_file_once(tmp_path):
    loader = build_dataloader(DataConfig(str(make_corpus(tmp_path)), 3, crop="none"), seed=1)
    got = sorted(int(n) for _, lengths in loader for n in lengths)
    assert got == sorted(len(load_waveform(path)) for path in find_audio(tmp_path))
    for waveforms, lengths in loader:
        for wav, n in zip(waveforms, lengths, strict=True):
            assert (wav[n:] == 0).all()


@pytest.mark.parametrize("workers", [0, 2])
def test_goes_on_where_it_stopped(tmp_path, workers):
    config = DataConfig(str(make_corpus(tmp_path)), 2, num_workers=workers)

    def take(loader, count):
        batches = []
        while len(batches) < count:
            for waveforms, _ in loader:
                batches.append(waveforms)
                if len(batches) == count:
                    break
        return batches

    unbroken = take(build_dataloader(config, seed=7), 10)  # 4 batches an epoch
    for stop in (3, 4, 6):
        resumed = build_dataloader(config, seed=7)
        resumed.sampler.consumed = stop
        for one, other in zip(unbroken[stop:], take(resumed, 10 - stop), strict=True):
            assert torch.equal(one, other)
    assert not all(torch.equal(a, b) for a, b in zip(unbroken[:4], unbroken[4:8], strict=True))


def test_epochs_differ_and_seeds_differ(tmp_path):
    config = DataConfig(str(make_corpus(tmp_path)), 1)
    orders = [list(build_dataloader(config, seed).sampler) for seed in (1, 2)]
    assert [g for _, g in orders[0]] != [g for _, g in orders[1]]


def test_the_global_generator_is_left_alone(tmp_path):
    """Dropout draws from it: whoever resumes must find it as it was."""
    loader = build_dataloader(DataConfig(str(make_corpus(tmp_path)), 2), seed=1)
    before = torch.get_rng_state()
    list(loader)
    assert torch.equal(before, torch.get_rng_state())


def write(path, samples, rate=16000):
    soundfile.write(path, samples, rate, subtype="FLOAT" if path.suffix == ".wav" else None)


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("a.wav", np.zeros(100), ["0.5 to 35.0 s"]),
        ("a.flac", np.zeros((9000, 2)), ["a.flac", "2 channel"]),
        ("a.txt", b"no audio", [".flac or .wav"]),
        ("a.flac", b"not a flac", ["a.flac", "expected an audio file"]),
        ("a.wav", b"", ["a.wav", "expected an audio file"]),
    ],
)
def test_a_corpus_that_cannot_be_used(tmp_path, name, content, words):
    path = tmp_path / name
    path.write_bytes(content) if isinstance(content, bytes) else write(path, content)
    with pytest.raises(FitHubertError) as caught:
        build_dataloader(DataConfig(str(tmp_path), 2), seed=0)
    assert all(word in str(caught.value) for word in words), caught.value


def test_another_rate_and_a_missing_folder(tmp_path):
    make_corpus(tmp_path / "slow", rate=8000)
    with pytest.raises(FitHubertError, match="flac: expected mono at 16000 Hz, found 1 channel.* at 8000 Hz"):
        build_dataloader(DataConfig(str(tmp_path / "slow"), 2), seed=0)
    with pytest.raises(FitHubertError, match="dev: expected a folder of audio.* train"):
        build_dataloader(DataConfig(str(tmp_path / "slow"), 2, sets=("dev",)), seed=0)


@pytest.mark.parametrize(
    ("samples", "rate", "words"),
    [
        (np.array([0.0, np.nan]), 16000, "NaN"),
        (np.zeros(9), 8000, "expected 16000 Hz, found 8000 Hz"),
        (np.zeros((9, 2)), 16000, "found 2 channels"),
        (np.zeros(0), 16000, "empty"),
    ],
)
def test_load_waveform_says_what_is_wrong(tmp_path, samples, rate, words):
    write(tmp_path / "x.wav", samples, rate)
    with pytest.raises(FitHubertError, match=words):
        load_waveform(tmp_path / "x.wav")

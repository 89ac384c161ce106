import numpy as np
import pytest
import soundfile
import soxr
import torch

from fithubert_upstream.audio.walk import find_audio
from fithubert_upstream.audio.waveforms import load_waveform
from fithubert_upstream.data.loader import DataConfig, build_dataloader
from fithubert_upstream.errors import FitHubertError
from fithubert_upstream.settings.files import from_dict

from ..helpers.tiny import make_corpus


def data(source, batch_size=3, **config) -> DataConfig:
    if "batch_seconds" in config:
        batch_size = None
    return DataConfig((str(source),), (str(source),), batch_size=batch_size, **config)


def take(loader, count):
    """The first `count` batches, over as many epochs as it takes."""
    batches = []
    while len(batches) < count:
        for waveforms, *_ in loader:
            batches.append(waveforms)
            if len(batches) == count:
                break
    return batches


def same(one, other):
    return len(one) == len(other) and all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


def write(path, samples, rate=16000):
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, samples, rate, subtype="FLOAT" if path.suffix == ".wav" else None)
    return path


def test_cropped_batches_are_pieces_of_their_files(tmp_path):
    loader = build_dataloader(data(make_corpus(tmp_path)), seed=1)
    wholes = [load_waveform(path) for path in find_audio(tmp_path)]
    seen = 0
    for waveforms, lengths, *_ in loader:
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
    loader = build_dataloader(data(make_corpus(tmp_path), crop_seconds=0.55), seed=1)
    assert {waveforms.size(1) for waveforms, *_ in loader} == {8800}


@pytest.mark.parametrize("size", [{"batch_size": 3}, {"batch_seconds": 2.1}])
def test_uncropped_batches_hold_each_file_once(tmp_path, size):
    loader = build_dataloader(data(make_corpus(tmp_path), crop="none", **size), seed=1)
    batches = list(loader)
    got = sorted(int(n) for _, lengths, *_ in batches for n in lengths)
    assert got == sorted(len(load_waveform(path)) for path in find_audio(tmp_path))
    for waveforms, lengths, *_ in batches:
        for wav, n in zip(waveforms, lengths, strict=True):
            assert (wav[n:] == 0).all() and wav[:n].any()
        assert "batch_seconds" not in size or waveforms.numel() <= 2.1 * 16000


@pytest.mark.parametrize("workers", [0, 2])
def test_goes_on_where_it_stopped(tmp_path, workers):
    config = data(make_corpus(tmp_path), 2, num_workers=workers)  # 4 batches an epoch
    unbroken = take(build_dataloader(config, seed=7), 10)
    for stop in (3, 4, 6):
        first = build_dataloader(config, seed=7)
        assert same(unbroken[:stop], take(first, stop))
        assert first.sampler.state_dict() == {"consumed": stop, "seed": 7}  # whatever workers have fetched ahead
        resumed = build_dataloader(config, seed=8)
        resumed.sampler.load_state_dict(first.sampler.state_dict())
        assert same(unbroken[stop:], take(resumed, 10 - stop))
    assert not same(unbroken[:4], unbroken[4:8])


def test_processes_share_the_batches_of_one(tmp_path):
    """3 of them over epochs of 4 batches; then 2 go on where they stopped."""
    config = data(make_corpus(tmp_path), 2)
    unbroken = take(build_dataloader(config, seed=7), 26)
    loaders = [build_dataloader(config, seed=7, rank=rank, world_size=3) for rank in range(3)]
    start = 0
    for expected in (6, 3, 3, 6):  # 4 and 2 of the next epoch; 2 left and 1; 3 left; again
        rounds = [list(loader) for loader in loaders]
        merged = [waveforms for together in zip(*rounds, strict=True) for waveforms, *_ in together]
        assert len(merged) == expected and same(merged, unbroken[start : start + expected])
        start += expected
    assert {loader.sampler.consumed for loader in loaders} == {start}
    others = [build_dataloader(config, seed=7, rank=rank, world_size=2) for rank in range(2)]
    for loader in others:
        loader.sampler.consumed = start
    merged = [wav for together in zip(*(take(loader, 3) for loader in others), strict=True) for wav in together]
    assert same(merged, unbroken[start : start + 6])


@pytest.mark.parametrize("world_size", [1, 3])
def test_validation_is_the_same_each_time_and_whole(tmp_path, world_size):
    config = data(make_corpus(tmp_path), 2, crop="none")
    loaders = [
        build_dataloader(config, seed=7, split="valid", rank=r, world_size=world_size) for r in range(world_size)
    ]
    once = [list(loader) for loader in loaders]
    assert [len(batches) for batches in once] == [len(loader) for loader in loaders]
    got = sorted(int(n) for batches in once for _, lengths, *_ in batches for n in lengths)
    assert got == sorted(len(load_waveform(path)) for path in find_audio(tmp_path))
    for batches, loader in zip(once, loaders, strict=True):
        assert same([wav for wav, *_ in batches], [wav for wav, *_ in loader])


def test_epochs_differ_and_seeds_differ(tmp_path):
    config = data(make_corpus(tmp_path), 1)
    one, other = (take(build_dataloader(config, seed), 16) for seed in (1, 2))
    assert not same(one[:8], one[8:]) and not same(one[:8], other[:8])


def test_the_global_generator_is_left_alone(tmp_path):
    """Dropout draws from it: whoever resumes must find it as it was."""
    loader = build_dataloader(data(make_corpus(tmp_path), 2), seed=1)
    before = torch.get_rng_state()
    list(loader)
    assert torch.equal(before, torch.get_rng_state())


def test_other_rates_and_channels_become_mono_at_16_khz(tmp_path):
    time = np.arange(8000) / 8000
    left, right = np.sin(2 * np.pi * 440 * time), 0.5 * np.sin(2 * np.pi * 300 * time)
    write(tmp_path / "a.wav", np.stack([left, right], axis=1).astype(np.float32), 8000)
    ((waveforms, lengths, *_),) = build_dataloader(data(tmp_path), seed=0)
    expected = soxr.resample(((left + right) / 2).astype(np.float32), 8000, 16000)
    assert lengths.tolist() == [16000]
    np.testing.assert_allclose(waveforms[0], expected, atol=1e-6)


def spoil(corpus, kind, *names):
    """Make files of `make_corpus` unusable, each in the same way."""
    for path in find_audio(corpus):
        if path.stem in names:
            if kind == "no header":
                path.write_bytes(b"not a flac")
            elif kind == "cut short":
                path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
            elif kind == "silent":
                write(path, np.zeros(11000))


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize(
    ("kind", "words"), [("no header", "audio file"), ("cut short", "."), ("silent", "all samples are zero")]
)
def test_bad_files_are_named_counted_and_skipped(tmp_path, capsys, kind, words, workers):
    spoil(make_corpus(tmp_path), kind, "2", "5")
    good = sorted(len(load_waveform(path)) for path in find_audio(tmp_path) if path.stem not in "25")
    for split in ("train", "valid"):
        loader = build_dataloader(data(tmp_path, crop="none", num_workers=workers), seed=1, split=split)
        for _ in range(2):
            assert sorted(int(n) for _, lengths, *_ in loader for n in lengths) == good
        told = [line for line in capsys.readouterr().out.splitlines() if line.startswith("[data] skipped ")]
        assert len(told) == len(loader.bad) == 2 and loader.bad.total == 8
        for name, line in zip(sorted(loader.bad.reasons), sorted(told), strict=True):
            assert name in line and words in line, line


def test_a_batch_without_anything_good_is_replaced_by_the_next(tmp_path):
    spoil(make_corpus(tmp_path), "silent", "3")
    loader = build_dataloader(data(tmp_path, 1, crop="none"), seed=1)
    batches = take(loader, 9)  # 8 an epoch
    files = [loader.dataset.corpus.name(*loader.dataset.plan.batch(1, number)) for number in range(9)]
    place = files.index(str(tmp_path / "train" / "1" / "3.flac"))
    for number, file in enumerate(files):
        assert torch.equal(batches[number][0], load_waveform(files[place + 1] if number == place else file))
    resumed = build_dataloader(data(tmp_path, 1, crop="none"), seed=1)
    resumed.sampler.consumed = place
    assert same(take(resumed, 2), batches[place : place + 2])


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("kind", ["no header", "cut short", "silent"])
def test_too_many_bad_files_stop_the_run(tmp_path, kind, workers):
    spoil(make_corpus(tmp_path), kind, "0", "1", "2")
    with pytest.raises(FitHubertError) as caught:
        list(build_dataloader(data(tmp_path, max_bad=0.3, num_workers=workers), seed=1))
    message = str(caught.value)
    del caught  # a cycle through the loader; workers that only the garbage collector finds take 5 s to end
    assert "at most 30.0% (max_bad)" in message and "found 3 of 8" in message and ".flac: " in message
    assert "\n" not in message
    assert len(list(build_dataloader(data(tmp_path, max_bad=0.4), seed=1))) == (2 if kind == "no header" else 3)


@pytest.mark.parametrize("workers", [0, 2])
def test_nothing_but_silence(tmp_path, workers):
    spoil(make_corpus(tmp_path, utterances=2), "silent", "0", "1")
    with pytest.raises(FitHubertError, match="10 batches in a row, found 2 of 2 so far; the first: .*zero"):
        list(build_dataloader(data(tmp_path, num_workers=workers), seed=1))


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("a.wav", np.zeros(100), ["0.5 to 35.0 s", "none among 1"]),
        ("a.txt", b"no audio", [".flac/.wav/.ogg/.opus/.mp3"]),
        ("a.flac", b"not a flac", ["none among 1", "1 unreadable", "a.flac", "expected an audio file"]),
        ("a.wav", b"", ["a.wav", "expected an audio file"]),
    ],
)
def test_a_corpus_that_cannot_be_used(tmp_path, name, content, words):
    path = tmp_path / name
    path.write_bytes(content) if isinstance(content, bytes) else write(path, content)
    with pytest.raises(FitHubertError) as caught:
        build_dataloader(data(tmp_path), seed=0)
    assert all(word in str(caught.value) for word in words), caught.value


def test_a_source_that_is_not_there(tmp_path):
    corpus = make_corpus(tmp_path)
    for source, words in [
        (corpus / "dev", "dev: expected a folder of audio.* train"),
        (corpus / "dev.jsonl", "dev.jsonl: expected a lhotse cuts file, found no such file"),
        (corpus / "train" / "0" / "0.flac", "0.flac: expected a folder of audio, a cuts file"),
    ]:
        with pytest.raises(FitHubertError, match=words):
            build_dataloader(data(source), seed=0)
    with pytest.raises(FitHubertError, match="expected valid: at least one folder"):
        build_dataloader(DataConfig((str(corpus),), batch_size=1), seed=0, split="valid")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"batch_size": None}, "expected batch_size or batch_seconds"),
        ({"batch_seconds": 9.0}, "expected batch_size or batch_seconds"),
        ({"batch_size": 0}, "batch_size of at least 1"),
        ({"batch_size": "three"}, "batch_size: expected int, found 'three'"),
        ({"batch_size": 2.5}, "batch_size: expected int, found 2.5"),
        ({"batch_size": None, "batch_seconds": 0}, "batch_seconds above 0"),
        ({"train": []}, "train: at least one"),
        ({"train": [3.5]}, "train: expected str, found 3.5"),
        ({"train": 3}, "train: expected a list of words"),
        ({"min_seconds": -1}, "min_seconds from 0 to max_seconds"),
        ({"crop_seconds": float("nan")}, "crop_seconds: expected float, found nan"),
        ({"crop": "longest"}, "crop shortest, proportional or none"),
        ({"crop_seconds": 0.1}, "crop_seconds of at least min_seconds"),
        ({"max_bad": 3.0}, r"max_bad in \[0, 1\]"),
        ({"libri_root": "/x"}, "unknown key 'libri_root'"),
        ({"train_batch_size": 3}, "did you mean 'batch_size'"),
    ],
)
def test_a_config_that_cannot_be_meant(change, words):
    with pytest.raises(FitHubertError, match=words):
        from_dict(DataConfig, {"train": ["a"], "batch_size": 3} | change, "data")


def test_one_source_needs_no_list():
    assert from_dict(DataConfig, {"train": "a b", "batch_size": 3}, "data").train == ("a b",)


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

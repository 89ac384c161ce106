"""Cuts files, and folders of audio, as sources."""

import gzip
import json

import numpy as np
import pytest
import soundfile
from lhotse import CutSet, Recording

from fithubert_upstream.audio.walk import find_audio
from fithubert_upstream.audio.waveforms import load_waveform
from fithubert_upstream.data.cuts import CutsFile, load_cut
from fithubert_upstream.data.loader import DataConfig, build_dataloader
from fithubert_upstream.data.sources import AudioFolder, Corpus
from fithubert_upstream.errors import FitHubertError

from ..helpers.tiny import make_corpus


@pytest.fixture
def corpus(tmp_path):
    return make_corpus(tmp_path / "corpus")


def cut_set(corpus):
    return CutSet.from_cuts(Recording.from_file(path).to_cut() for path in find_audio(corpus))


@pytest.mark.parametrize("suffix", [".jsonl", ".jsonl.gz"])
def test_a_cuts_file_gives_the_batches_of_its_folder(tmp_path, corpus, suffix):
    path = tmp_path / f"cuts{suffix}"
    cut_set(corpus).to_file(path)
    loaders = [build_dataloader(DataConfig((str(s),), batch_size=3, num_workers=1), 4) for s in (corpus, path)]
    for one, other in zip(*loaders, strict=True):
        assert all(map(np.array_equal, one, other))


def test_pieces_mixes_and_other_rates(tmp_path, corpus):
    """What a manifest says of a recording is done: a piece of it, at another rate, with another one added."""
    first, second, *_ = cut_set(corpus)
    piece = first.truncate(offset=0.1, duration=0.4)
    low = tmp_path / "low.wav"
    soundfile.write(low, np.random.default_rng(0).uniform(-0.5, 0.5, 8000), 8000)
    made = CutSet.from_cuts([piece, first.mix(second), Recording.from_file(low).to_cut()])
    path = tmp_path / "cuts.jsonl"
    made.to_file(path)
    source = CutsFile(path)
    np.testing.assert_allclose(source.seconds, [0.4, max(first.duration, second.duration), 1.0], rtol=1e-6)
    wholes = [load_waveform(cut.recording.sources[0].source) for cut in (first, second)]
    got = [load_cut(source.cut(i)) for i in range(3)]
    assert np.array_equal(got[0], wholes[0][1600:8000])
    mixed = np.zeros(max(map(len, wholes)), np.float32)
    for whole in wholes:
        mixed[: len(whole)] += whole.numpy()
    np.testing.assert_allclose(got[1], mixed, atol=1e-6)
    assert got[2].shape == (16000,)


def test_a_changed_cuts_file_is_read_anew(tmp_path, corpus):
    for suffix in (".jsonl", ".jsonl.gz"):
        path = tmp_path / f"cuts{suffix}"
        cuts = list(cut_set(corpus))
        CutSet.from_cuts(cuts).to_file(path)
        assert len(CutsFile(path).seconds) == len(CutsFile(path).seconds) == 8
        CutSet.from_cuts(cuts[:5]).to_file(path)
        assert len(CutsFile(path).seconds) == 5


def test_a_manifest_runs_no_command(tmp_path, corpus):
    cut = next(iter(cut_set(corpus)))
    cut.recording.sources[0].type = "command"
    cut.recording.sources[0].source = f"touch {tmp_path}/ran"
    with pytest.raises(FitHubertError, match="a shell command, which is not run"):
        load_cut(cut)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"no json\n", "line 1"),
        (b'{"type": "Recording"}\n', "line 1"),
        (b'{"id": "a", "type": "MonoCut", "duration": 1}\n[]\n', "line 2"),
        (b"", "none among 0"),
    ],
)
def test_a_file_that_holds_no_cuts(tmp_path, content, words):
    path = tmp_path / "cuts.jsonl"
    path.write_bytes(content)
    with pytest.raises(FitHubertError, match=words):
        build_dataloader(DataConfig((str(path),), batch_size=3), 0)


def test_half_a_gzip(tmp_path, corpus):
    path = tmp_path / "cuts.jsonl.gz"
    path.write_bytes(gzip.compress(json.dumps({}).encode() * 99)[:20])
    with pytest.raises(FitHubertError, match="expected to unpack it"):
        CutsFile(path)


def test_several_sources_and_only_some_lengths(tmp_path, corpus):
    cut_set(corpus).to_file(tmp_path / "cuts.jsonl")
    cuts = Corpus([AudioFolder(corpus / "train" / "0"), CutsFile(tmp_path / "cuts.jsonl")], 0.7, 0.9)
    paths = [*find_audio(corpus / "train" / "0"), *find_audio(corpus)]
    expected = [n for n in (len(load_waveform(path)) for path in paths) if 0.7 * 16000 <= n <= 0.9 * 16000]
    assert [len(cuts.load(i)) for i in range(len(cuts))] == expected and len(expected) < cuts.found == 12
    assert [round(s * 16000) for s in cuts.seconds.tolist()] == expected
    assert cuts.name(0).endswith(".flac") and "cuts.jsonl: " in cuts.name(len(cuts) - 1)


def test_lengths_of_a_folder_are_remembered(corpus, monkeypatch):
    first = AudioFolder(corpus)
    monkeypatch.setattr(soundfile, "info", None)  # would fail
    assert np.array_equal(AudioFolder(corpus).seconds, first.seconds)

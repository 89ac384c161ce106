"""A Shar folder that lhotse wrote, against what lhotse reads from it."""

import numpy as np
import pytest
import torch
from lhotse import CutSet, Recording
from lhotse.audio import audio_backend

from fithubert_upstream.audio.walk import find_audio
from fithubert_upstream.data import batches
from fithubert_upstream.data.cuts import load_cut
from fithubert_upstream.data.loader import DataConfig, build_dataloader
from fithubert_upstream.data.shar import SharFolder
from fithubert_upstream.errors import FitHubertError

from ..helpers.tiny import make_corpus


@pytest.fixture(scope="module")
def shar(tmp_path_factory):
    """20 utterances in shards of 6."""
    folder = tmp_path_factory.mktemp("shar")
    files = find_audio(make_corpus(folder / "corpus", utterances=20))
    cuts = CutSet.from_cuts(Recording.from_file(path).to_cut() for path in files)
    (folder / "shar").mkdir()
    cuts.to_shar(folder / "shar", fields={"recording": "flac"}, shard_size=6)
    return folder / "shar"


def test_utterances_are_those_that_lhotse_reads(shar):
    source = SharFolder(shar)
    source.keep = 2  # shards are let go of and taken up again
    expected = list(CutSet.from_shar(in_dir=shar))
    assert source.shards.tolist() == [0] * 6 + [1] * 6 + [2] * 6 + [3] * 2
    for index in np.random.default_rng(0).permutation(20).tolist():
        cut = source.cut(index)
        assert cut.id == expected[index].id and abs(source.seconds[index] - cut.duration) < 1e-6
        with audio_backend("LibsndfileBackend"):
            samples = expected[index].load_audio()[0]
        assert torch.equal(load_cut(cut), torch.from_numpy(samples))
        assert len(source.open) <= 2


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("size", [{"batch_size": 2}, {"batch_seconds": 2.0}])
def test_batches_resume_and_are_shared_among_processes(shar, size, workers, monkeypatch):
    monkeypatch.setattr(batches, "WINDOW", 10)  # two shards at a time
    config = DataConfig((str(shar),), num_workers=workers, **size)
    loader = build_dataloader(config, seed=3)
    unbroken = [waveforms for _ in range(2) for waveforms, *_ in loader]
    assert len(unbroken) == 2 * len(loader) and sum(map(len, unbroken)) == 40
    resumed = build_dataloader(config, seed=3)
    resumed.sampler.consumed = 7
    assert all(map(torch.equal, unbroken[7 : len(loader)], (waveforms for waveforms, *_ in resumed)))
    ranks = [build_dataloader(config, seed=3, rank=rank, world_size=2) for rank in range(2)]
    merged = [waveforms for together in zip(*ranks, strict=True) for waveforms, *_ in together]
    assert all(map(torch.equal, unbroken, merged)) and len(merged) >= len(loader)


def test_a_shard_that_is_cut_short_is_bad_utterances(shar, tmp_path):
    folder = tmp_path / "shar"
    folder.mkdir()
    for path in shar.iterdir():
        content = path.read_bytes()
        (folder / path.name).write_bytes(content[:30000] if path.name == "recording.000001.tar" else content)
    loader = build_dataloader(DataConfig((str(folder),), batch_size=4, max_bad=0.5), seed=0)
    assert sum(len(lengths) for _, lengths, *_ in loader) == 20 - len(loader.bad) and 1 <= len(loader.bad) <= 6
    assert all("recording.000001.tar: utterance" in reason for reason in loader.bad.reasons.values())
    with pytest.raises(FitHubertError, match="recording.000001.tar"):
        list(build_dataloader(DataConfig((str(folder),), batch_size=4), seed=0))


def test_a_manifest_without_its_recordings(shar, tmp_path):
    (tmp_path / "cuts.000000.jsonl.gz").write_bytes((shar / "cuts.000000.jsonl.gz").read_bytes())
    with pytest.raises(FitHubertError, match="a recording.*tar for each cuts.*jsonl, found 0 for 1"):
        build_dataloader(DataConfig((str(tmp_path),), batch_size=3), 0)

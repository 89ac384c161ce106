import dataclasses
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from fithubert_upstream.downstream.joint_ks_sv.clips import Clip, read_corpora
from fithubert_upstream.downstream.joint_ks_sv.config import JointConfig
from fithubert_upstream.downstream.joint_ks_sv.loader import (
    Part,
    TrainBatches,
    TrainLoader,
    read,
    score_loader,
    train_parts,
)

from ...helpers.small_corpora import joint_block, noise, words


@pytest.fixture
def joint(tmp_path):
    config = JointConfig.from_dict(joint_block(words(tmp_path / "words")))
    return config, *read_corpora(config)


def part(count: int, batch_size: int, labels: list[int] | None = None) -> Part:
    clips = [Clip(Path(f"{i}.flac"), "x") for i in range(count)]
    return Part(clips, labels or [0] * count, batch_size, 0.0, 0.0, labels is not None)


def test_each_clip_once_an_epoch_in_an_order_of_its_own():
    speakers = part(10, 4)
    drawn = np.concatenate([speakers.draw(7, n) for n in range(5)])  # two epochs
    assert sorted(drawn[:10]) == sorted(drawn[10:]) == list(range(10))
    assert list(drawn[:10]) != list(drawn[10:])
    assert not np.array_equal(np.concatenate([speakers.draw(8, n) for n in range(5)]), drawn)


def test_classes_are_drawn_evenly():
    labels = [0] * 90 + [1] * 10
    drawn = np.concatenate([part(100, 8, labels).draw(0, n) for n in range(200)])
    assert np.mean(drawn >= 90) == pytest.approx(0.5, abs=0.05)


def test_tasks_take_turns_and_batches_depend_on_their_number_alone(joint):
    config, keywords, speakers = joint
    batches = TrainBatches(train_parts(config, keywords, speakers), seed=3)
    assert batches.epoch == 6  # 12 clips of each, 4 in a batch, in turn
    loader = TrainLoader(batches, 0, 0, lambda: None)
    found = list(loader)
    assert [task for _, task, _ in found] == ["ks", "sv"] * 3
    for wavs, task, labels in found:
        assert len(wavs) == len(labels) == 4 and all(len(wav) == 3200 and wav.dtype == np.float32 for wav in wavs)
        assert set(labels) <= set(range(3 if task == "ks" else 2))
    later = list(TrainLoader(batches, 8, 0, lambda: None))  # from the middle of the second epoch
    assert len(later) == 4
    for (wavs, task, labels), n in zip(later, range(8, 12), strict=True):
        again = batches[n]
        assert (task, labels) == again[1:] and all(np.array_equal(*pair) for pair in zip(wavs, again[0], strict=True))
    assert [labels for _, _, labels in found] != [labels for _, _, labels in later]


def test_processes_share_the_batches(joint):
    parts = train_parts(*joint)
    one = TrainBatches(parts, seed=3)
    two = [TrainBatches(parts, seed=3, rank=rank, world_size=2) for rank in range(2)]
    assert two[0].epoch == 4
    for turn in range(2):
        for place in range(2):
            together = [b[2 * turn + place] for b in two]
            alone = [one[2 * (2 * turn + rank) + place] for rank in range(2)]
            assert [t[1:] for t in together] == [a[1:] for a in alone]  # all of one task at a time


def test_the_generators_are_left_alone(joint):
    """Dropout of a resumed run must find them as they were."""
    before = torch.get_rng_state()
    list(TrainLoader(TrainBatches(train_parts(*joint), 0), 0, 0, lambda: None))
    list(score_loader("dev", *joint))
    assert torch.equal(torch.get_rng_state(), before)


def test_every_recording_is_scored_once_and_whole(joint):
    scored = list(score_loader("test", *joint))
    assert [labels for _, task, labels in scored if task == "ks"] == [[w] for w in (0, 0, 2, 2, 1, 1)] * 2
    paths = [labels[0] for _, task, labels in scored if task == "sv"]
    assert len(paths) == len(set(paths)) == 12
    assert {len(wavs[0]) for wavs, _, _ in scored} == {4800, 4960}


def test_a_second_of_a_long_recording(tmp_path):
    path = noise(tmp_path / "hiss.wav", 3.2, seed=0)
    assert np.array_equal(read(Clip(path, "_silence_", 1.5)), read(Clip(path, "x"))[24000:40000])


def test_silence_at_the_ends_is_cut_off_where_the_config_says(joint):
    config, *corpora = joint
    clip = corpora[0].test[0]
    samples, _ = soundfile.read(clip.path)
    soundfile.write(clip.path, np.concatenate([np.zeros(8000), samples, np.zeros(8000)]), 16000)
    lengths = {
        decibels: len(next(iter(score_loader("test", dataclasses.replace(config, trim_db=decibels), *corpora)))[0][0])
        for decibels in (0.0, 30.0)
    }
    assert lengths == {0.0: 16000 + len(samples), 30.0: 1600 + len(samples)}

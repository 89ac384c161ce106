"""s3prl's speaker identification pickled the list of its recordings inside site-packages, under the split's name alone:
a second corpus was trained and tested on the files of the first, without a word."""

import pickle
import random

import numpy as np
import pytest

from fithubert_upstream.compat import s3prl as s3prl_compat
from fithubert_upstream.downstream.repairs.datasets import IdentifiedClips, own_datasets

from ..helpers import small_corpora
from ..helpers.audio import noise

SPLITS = {"train": 6, "dev": 3, "test": 3}


@pytest.fixture
def theirs(tmp_path, monkeypatch):
    """s3prl's own class, whose pickles go to a folder of the test."""
    s3prl_compat.apply()
    from s3prl.downstream.voxceleb1 import dataset

    monkeypatch.setattr(dataset, "CACHE_PATH", str(tmp_path / "pickles"))
    return dataset.SpeakerClassifiDataset


def corpora(tmp_path):
    first = small_corpora.voxceleb1(tmp_path / "first")
    second = small_corpora.voxceleb1(tmp_path / "second")
    return [(root, str(root / "veri_test_class.txt")) for root in (first, second)]


def test_each_corpus_has_its_own_list(tmp_path, theirs, monkeypatch):
    first, second = corpora(tmp_path)
    assert theirs("train", *first).dataset == theirs("train", *second).dataset  # so it was
    for module in ("dump", "load"):
        monkeypatch.setattr(pickle, module, None)
    for root, listed in (first, second):
        for split, count in SPLITS.items():
            data = IdentifiedClips(split, root, listed)
            assert len(data) == count and all(path.startswith(f"{root}/") for path in data.dataset)


def test_a_list_that_was_edited_is_read_again(tmp_path):
    (root, listed), _ = corpora(tmp_path)
    assert len(IdentifiedClips("dev", root, listed)) == 3
    path = root / "veri_test_class.txt"
    path.write_text(path.read_text().replace("2 id10001", "1 id10001"))
    assert [len(IdentifiedClips(split, root, listed)) for split in SPLITS] == [7, 2, 3]


@pytest.mark.parametrize("longest", [None, 8000])
def test_items_are_those_of_s3prl(tmp_path, theirs, longest):
    (root, listed), _ = corpora(tmp_path)
    for split in SPLITS:
        mine, other = (data(split, root, listed, longest) for data in (IdentifiedClips, theirs))
        assert (mine.dataset, mine.label, mine.speaker_num) == (other.dataset, other.label, other.speaker_num)
        for i in range(len(mine)):
            items = []
            for data in (mine, other):
                random.seed(i)
                items.append(data[i])
            assert np.array_equal(items[0][0], items[1][0]) and items[0][1:] == items[1][1:]
            assert longest is None or len(items[0][0]) == longest


def test_the_expert_gets_it(tmp_path, theirs):
    from s3prl.downstream.voxceleb1 import expert

    with own_datasets("voxceleb1"):
        assert expert.SpeakerClassifiDataset is IdentifiedClips
        assert expert.SpeakerClassifiDataset.label2speaker([0, 1250]) == ["id10001", "id11251"]
    assert expert.SpeakerClassifiDataset is theirs


def test_names_with_dots_and_other_formats(tmp_path):
    root = small_corpora.voxceleb1(tmp_path)
    noise(root / "dev" / "wav" / "id10009" / "j.s" / "1.a.FLAC", samples=8000)
    path = root / "veri_test_class.txt"
    path.write_text(path.read_text() + "3 id10009/j.s/1.a.FLAC\n")
    waveform, label, name = IdentifiedClips("test", root, str(path))[3]
    assert (len(waveform), label, name) == (8000, 8, "id10009-j.s-1.a")

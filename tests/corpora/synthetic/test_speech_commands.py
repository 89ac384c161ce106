"""The layout, read with s3prl's own split."""

import ast
import hashlib
import re
from collections import Counter
from importlib.util import find_spec
from pathlib import Path
from typing import Union  # noqa: UP035

import numpy as np
import pytest
import soundfile

from fithubert_upstream.corpora.layouts.speech_commands import COMMANDS, TEST_CLASSES
from fithubert_upstream.corpora.synthetic.espeak import all_voices
from fithubert_upstream.corpora.synthetic.run import synthesise
from fithubert_upstream.corpora.synthetic.speech_commands import OTHER_WORDS, WORDS, clip_name, plan_speech_commands
from fithubert_upstream.errors import FitHubertError

from ...helpers.folders import contents

MINUTES = {"train": 1.5, "test": 0.1}  # 3 speakers, 2 speakers


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    return synthesise("speech_commands", tmp_path_factory.mktemp("corpus") / "c", MINUTES, jobs=1, progress=False)


@pytest.fixture(scope="module")
def split_dataset():
    """s3prl's function, taken out of a file whose other imports (catalyst) need not be there."""
    file = Path(find_spec("s3prl").submodule_search_locations[0], "downstream", "speech_commands", "expert.py")
    functions = [node for node in ast.parse(file.read_text()).body if getattr(node, "name", "") == "split_dataset"]
    names = {"Path": Path, "re": re, "hashlib": hashlib, "Union": Union, "List": list, "Tuple": tuple}
    exec(compile(ast.Module(functions, []), str(file), "exec"), names)
    return names["split_dataset"]


def speakers(paths):
    return {re.search(r"[0-9a-f]{8}(?=_nohash_)", path.name)[0] for path in paths}


def test_the_words_of_the_first_version():
    assert len(set(WORDS)) == 30 and len(set(TEST_CLASSES)) == 12 and not set(COMMANDS) & set(OTHER_WORDS)


def test_s3prl_splits_it_into_train_and_dev(corpus, split_dataset):
    train, dev = split_dataset(corpus / "train")
    assert Counter(word for word, _ in train) == dict.fromkeys(WORDS, 2)
    assert Counter(word for word, _ in dev) == dict.fromkeys(WORDS, 1)
    groups = [speakers(path for _, path in part) for part in (train, dev)]
    groups.append(speakers((corpus / "test").glob("*/*_nohash_*.wav")))
    assert [len(group) for group in groups] == [2, 1, 2]
    assert len(set.union(*groups)) == 5


def test_no_two_speakers_share_a_name():
    names = {clip_name(voice, part, 0) for voice in all_voices() for part in ("train", "dev", "left out")}
    assert len(names) == 3 * len(all_voices())
    assert all(re.fullmatch(r"[0-9a-f]{8}_nohash_0", name) for name in names)


def test_clips(corpus):
    clips = [*corpus.glob("train/[a-z]*/*.wav"), *corpus.glob("test/*/*.wav")]
    seconds = []
    for path in clips:
        audio, rate = soundfile.read(path)
        info = soundfile.info(path)
        assert (rate, info.channels, info.subtype) == (16000, 1, "PCM_16")
        assert 0 < np.abs(audio).max() <= 1
        seconds.append(len(audio) / rate)
    assert 0.74 < min(seconds) < max(seconds) == 1
    assert 0.02 < np.mean(np.array(seconds) < 1) < 0.2


def test_the_test_set_has_twelve_classes_alike(corpus):
    clips = Counter(path.parent.name for path in corpus.glob("test/*/*.wav"))
    assert clips == dict.fromkeys(TEST_CLASSES, 2)
    unknown = [path.name.split("_")[0] for path in (corpus / "test" / "_unknown_").iterdir()]
    assert set(unknown) <= set(OTHER_WORDS)


def test_background_noise(corpus):
    noises = list((corpus / "train" / "_background_noise_").iterdir())
    assert len(noises) == 6
    assert {(soundfile.info(path).duration, soundfile.info(path).samplerate) for path in noises} == {(30, 16000)}


# (10: as documented; more than 72 voices would be wanted: fewer, and more takes)
@pytest.mark.parametrize(("minutes", "train", "test"), [(10, 20, 5), (36, 58, 14), (200, 58, 14)])
def test_minutes_give_speakers_and_clips(minutes, train, test):
    corpus = plan_speech_commands({"train": minutes, "test": minutes / 5})
    assert [len(corpus.speakers[split]) for split in ("train", "test")] == [train, test]
    assert sum(piece.seconds for piece in corpus.pieces) - 6 * 30 == pytest.approx(60 * minutes * 1.2, rel=0.01)


def test_same_files_whatever_the_jobs(corpus, tmp_path):
    again = synthesise("speech_commands", tmp_path / "again", MINUTES, jobs=2, progress=False)
    assert contents(again) == contents(corpus)


def test_other_splits(tmp_path):
    with pytest.raises(FitHubertError, match="train and test, found dev"):
        synthesise("speech_commands", tmp_path / "c", {"dev": 1})
    assert list(tmp_path.iterdir()) == []


def test_the_same_layout_as_the_real_one(corpus, real_data):
    real = real_data / "speech_commands"
    for split in ("train", "test"):
        folders = {path.name for path in (real / split).iterdir() if path.is_dir()}
        assert folders <= {path.name for path in (corpus / split).iterdir()}
    pattern = re.compile(r"([a-z]+_)?[0-9a-f]{8}_nohash_\d+\.wav")
    for root in (real, corpus):
        clips = [path for path in root.glob("*/*/*.wav") if path.parent.name not in ("_background_noise_", "_silence_")]
        assert clips and all(pattern.fullmatch(path.name) for path in clips)

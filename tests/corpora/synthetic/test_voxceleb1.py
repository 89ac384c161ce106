import re

import numpy as np
import pytest
import soundfile
from librosa.util import find_files

from fithubert_upstream.corpora.layouts.voxceleb1 import IDENTIFICATION, check_identification, read_identification
from fithubert_upstream.corpora.synthetic.run import synthesise
from fithubert_upstream.corpora.synthetic.voxceleb1 import plan_voxceleb1
from fithubert_upstream.errors import FitHubertError

from ...helpers.folders import contents

MINUTES = {"dev": 1.1, "test": 0.1}  # 3 speakers x 5 utterances, 2 x 4


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    return synthesise("voxceleb1", tmp_path_factory.mktemp("corpus") / "c", MINUTES, jobs=1, progress=False)


def active_seconds(audio):
    """What no trimming of silence may take: 20 ms pieces 10 dB above its threshold, 0.1 % after a gain of -3 dB."""
    pieces = audio[: len(audio) // 320 * 320].reshape(-1, 320) * 10 ** (-3 / 20)
    return 0.02 * ((pieces**2).mean(1) > 0.00316**2).sum()


def test_layout(corpus):
    for split, speakers, utterances in (("dev", 3, 5), ("test", 2, 4)):
        wav = corpus / split / "wav"
        assert len(list(wav.iterdir())) == speakers
        paths = find_files(wav)  # as s3prl finds them
        assert len(paths) == speakers * utterances
        for speaker in wav.iterdir():
            assert len(list(speaker.iterdir())) == 2
            assert len(list(speaker.glob("*/*.wav"))) == utterances
        for path in paths:
            assert re.search(r"/id1\d{4}/\w+/0000\d\.wav$", path)


def test_recordings_stay_longer_than_two_seconds_without_silence(corpus):
    for path in corpus.rglob("*.wav"):
        info = soundfile.info(path)
        assert (info.samplerate, info.channels, info.subtype) == (16000, 1, "PCM_16")
        assert 3 <= info.duration <= 6
        audio, _ = soundfile.read(path)
        assert 0.1 < np.abs(audio).max() <= 1
        assert active_seconds(audio) > 2.1


def test_speakers_are_disjoint(corpus):
    dev, test = ({path.name for path in (corpus / split / "wav").iterdir()} for split in ("dev", "test"))
    assert not dev & test


@pytest.mark.parametrize("split", ["dev", "test"])
def test_trials(corpus, split):
    trials = [line.split() for line in (corpus / f"{split}_trials.txt").read_text().splitlines()]
    assert len({tuple(pair) for _, *pair in trials}) == len(trials) >= 16
    labels = [label for label, _, _ in trials]
    assert labels.count("1") == labels.count("0") == len(trials) / 2
    for label, *pair in trials:
        assert all((corpus / split / "wav" / path).is_file() for path in pair)
        (speaker, session, _), (other, other_session, _) = (path.split("/") for path in pair)
        assert (speaker == other) == (label == "1")
        assert label == "0" or session != other_session


def test_each_speaker_is_in_all_parts_of_identification(corpus):
    assert check_identification(corpus, corpus / IDENTIFICATION, progress=False).problems == []
    parts = read_identification(corpus, corpus / IDENTIFICATION)
    speakers = {part: [path.parts[-3] for path in paths] for part, paths in parts.items()}
    assert sorted(speakers["dev"]) == sorted(speakers["test"]) == sorted({*speakers["train"]})
    assert len(speakers["test"]) == 3 and len(speakers["train"]) == 9
    listed = {path for paths in parts.values() for path in paths}
    assert listed == set((corpus / "dev" / "wav").rglob("*.wav"))


def test_sessions_of_a_speaker_differ_in_level(corpus):
    within, across = [], []
    for speaker in corpus.glob("*/wav/*"):
        one, other = ([np.abs(soundfile.read(p)[0]).max() for p in session.iterdir()] for session in speaker.iterdir())
        within += [np.ptp(one), np.ptp(other)]
        across.append(abs(np.mean(one) - np.mean(other)))
    assert np.mean(across) > 3 * np.mean(within)


@pytest.mark.parametrize(("minutes", "dev", "test"), [(15, 40, 8), (20, 53, 11), (200, 60, 12)])
def test_minutes_give_speakers(minutes, dev, test):
    corpus = plan_voxceleb1({"dev": minutes, "test": minutes / 5})
    assert [len(corpus.speakers[split]) for split in ("dev", "test")] == [dev, test]
    assert sum(piece.seconds for piece in corpus.pieces) == pytest.approx(60 * minutes * 1.2, rel=0.03)


def test_same_files_whatever_the_jobs(corpus, tmp_path):
    again = synthesise("voxceleb1", tmp_path / "again", MINUTES, jobs=2, progress=False)
    assert contents(again) == contents(corpus)


def test_other_splits(tmp_path):
    with pytest.raises(FitHubertError, match="dev and test, found train"):
        synthesise("voxceleb1", tmp_path / "c", {"train": 1})

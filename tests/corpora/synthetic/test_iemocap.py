from collections import defaultdict

import numpy as np
import pytest
import soundfile

from fithubert_upstream.corpora.layouts.iemocap import SESSIONS, check_iemocap, prepare_iemocap, read_iemocap
from fithubert_upstream.corpora.synthetic.espeak import WOMEN
from fithubert_upstream.corpora.synthetic.iemocap import STYLES, plan_iemocap
from fithubert_upstream.corpora.synthetic.run import synthesise
from fithubert_upstream.errors import FitHubertError

from ...helpers.folders import contents

MINUTES = {"all": 0.1}  # two dialogues in each session


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    return synthesise("iemocap", tmp_path_factory.mktemp("corpus") / "c", MINUTES, jobs=1, progress=False)


def test_it_is_sound_and_every_speaker_has_every_mood(corpus):
    report = check_iemocap(corpus, progress=False)
    assert report.problems == [] and report.counts["recordings"] == 80
    for session in read_iemocap(corpus)[0].values():
        moods = defaultdict(int)
        for path, label in session.utterances:
            moods[path.rpartition("_")[2][0], label] += 1
        assert moods == {(speaker, label): 2 for speaker in "FM" for label in ("neu", "hap", "ang", "sad")}


def test_excited_is_one_of_them(corpus):
    lines = [line for path in corpus.rglob("*.txt") for line in path.read_text().splitlines() if line.startswith("[")]
    labels = [line.split("\t")[2] for line in lines]
    assert set(labels) == set(STYLES) and labels.count("exc") == labels.count("hap") == 10
    times = [float(part) for part in lines[0].split("]")[0].strip("[").split(" - ")]
    name = lines[0].split("\t")[1]
    (path,) = corpus.rglob(f"{name}.wav")
    assert soundfile.info(path).duration == pytest.approx(times[1] - times[0], abs=1e-3)


def test_moods_differ_in_loudness_and_rate(corpus):
    levels, samples = defaultdict(list), defaultdict(list)
    for session in read_iemocap(corpus)[0].values():
        for path, label in session.utterances:
            audio, rate = soundfile.read(corpus / path)
            assert rate == 16000 and 1 < len(audio) / rate < 6
            levels[label].append(np.abs(audio).max())
            samples[label].append(len(audio))
    assert max(levels["sad"]) < 0.3 < min(levels["neu"]) < max(levels["neu"]) < min(levels["ang"])
    assert np.mean(samples["sad"]) > 1.1 * np.mean(samples["neu"]) > 1.15 * np.mean(samples["ang"])


def test_each_session_has_a_woman_and_a_man():
    corpus = plan_iemocap({"all": 20})
    assert tuple(corpus.speakers) == SESSIONS
    voices = [voice.name.partition("+")[2] in WOMEN for pair in corpus.speakers.values() for voice in pair]
    assert voices == [True, False] * 5
    assert len({voice.speaker for pair in corpus.speakers.values() for voice in pair}) == 10
    assert sum(piece.seconds for piece in corpus.pieces) == pytest.approx(1200, rel=0.05)


@pytest.mark.slow
def test_same_files_whatever_the_jobs_and_kept_once_prepared(corpus, tmp_path):
    again = synthesise("iemocap", tmp_path / "again", MINUTES, jobs=2, progress=False)
    assert contents(again) == contents(corpus)
    prepare_iemocap(again, progress=False)
    assert synthesise("iemocap", again, MINUTES, jobs=1, progress=False) == again


def test_other_splits(tmp_path):
    with pytest.raises(FitHubertError, match="expected minutes of all, found train"):
        synthesise("iemocap", tmp_path / "c", {"train": 1})

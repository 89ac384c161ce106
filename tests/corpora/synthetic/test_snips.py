from collections import Counter

import pytest
import soundfile

from fithubert_upstream.corpora.layouts.snips import SLOTS, TABLE, read_slots, read_table
from fithubert_upstream.corpora.layouts.snips_check import SKIPPED, UNKNOWN, check_snips
from fithubert_upstream.corpora.synthetic.run import synthesise
from fithubert_upstream.corpora.synthetic.snips import REQUESTS, SENTENCES, VALUES, plan_snips
from fithubert_upstream.errors import FitHubertError

from ...helpers.folders import contents

MINUTES = {"train": 0.1, "valid": 0.1, "test": 0.1}  # 2 speakers each, who have one round


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    return synthesise("snips", tmp_path_factory.mktemp("corpus") / "c", MINUTES, jobs=1, progress=False)


@pytest.mark.slow
def test_it_is_sound(corpus):
    report = check_snips(corpus, progress=False)
    assert report.problems == [] and [report.counts[name] for name in (UNKNOWN, SKIPPED)] == [0, 0]
    for folder in ("train", "valid", "test"):
        assert [report.counts[f"{folder} {what}"] for what in ("sentences", "speakers")] == [2 * SENTENCES, 2]
    speakers = {name.partition("-")[0] for name in read_table(corpus).sentences}
    assert len(speakers) == 6  # none in two splits
    assert {*read_slots(corpus / SLOTS)} == VALUES.keys()


@pytest.mark.slow
def test_every_intent_is_asked_equally_often_and_slots_are_filled(corpus):
    lines = (corpus / TABLE).read_text(encoding="utf-8").splitlines()
    assert Counter(line.split()[-1] for line in lines) == dict.fromkeys(REQUESTS, 6 * SENTENCES // len(REQUESTS))
    values = {slot: {value.upper() for value in found} for slot, found in VALUES.items()}
    for sentence in read_table(corpus).sentences.values():
        for slot in {*sentence.slots} - {"O"}:
            said = " ".join(word for word, its in zip(sentence.words, sentence.slots, strict=True) if its == slot)
            assert said in values[slot]
    assert len({line.partition(" ")[2] for line in lines}) > 100  # not one way of asking each


@pytest.mark.slow
def test_recordings(corpus):
    found = [soundfile.info(path) for path in corpus.rglob("*.wav")]
    assert {(info.samplerate, info.channels, info.subtype) for info in found} == {(16000, 1, "PCM_16")}
    lengths = [info.duration for info in found]
    assert len(lengths) == 144 and 0.8 < min(lengths) and max(lengths) < 5
    assert sum(lengths) == pytest.approx(sum(piece.seconds for piece in plan_snips(MINUTES).pieces), rel=0.1)


@pytest.mark.slow
def test_same_files_whatever_the_jobs(corpus, tmp_path):
    again = synthesise("snips", tmp_path / "again", MINUTES, jobs=2, progress=False)
    assert contents(again) == contents(corpus)


@pytest.mark.parametrize(("minutes", "speakers"), [(20, [5, 2, 23]), (200, [11, 6, 55])])
def test_minutes_give_speakers(minutes, speakers):
    corpus = plan_snips({"train": minutes, "valid": minutes / 10, "test": minutes / 5})
    assert [len(corpus.speakers[name]) for name in ("test", "valid", "train")] == speakers
    assert sum(piece.seconds for piece in corpus.pieces) == pytest.approx(60 * minutes * 1.3, rel=0.03)


def test_words_are_characters_of_the_vocabulary():
    words = [word for found in (*VALUES.values(), *REQUESTS.values()) for text in found for word in text.split()]
    assert all(word.isalpha() for word in words if not word.startswith("{"))


def test_other_splits(tmp_path):
    with pytest.raises(FitHubertError, match="expected minutes of train, valid, test, found train"):
        synthesise("snips", tmp_path / "c", {"train": 1})

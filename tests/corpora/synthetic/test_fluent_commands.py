import csv
from collections import Counter

import pytest
import soundfile

from fithubert_upstream.corpora.layouts.fluent_commands import check_fluent_commands, read_table, table_of
from fithubert_upstream.corpora.synthetic.fluent_commands import INTENTS, plan_fluent_commands
from fithubert_upstream.corpora.synthetic.run import synthesise
from fithubert_upstream.errors import FitHubertError

from ...helpers.folders import contents

MINUTES = {"train": 0.1, "valid": 0.1, "test": 0.1}  # 2 speakers each, who say all intents once
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    return synthesise("fluent_commands", tmp_path_factory.mktemp("corpus") / "c", MINUTES, jobs=1, progress=False)


def test_it_is_sound(corpus):
    report = check_fluent_commands(corpus, progress=False)
    assert report.problems == [] and report.counts["intents"] == len(INTENTS) == 26
    speakers = [
        {command.path.split("/")[2] for command in read_table(table_of(corpus, split))}
        for split in ("train", "dev", "test")
    ]
    assert [len(group) for group in speakers] == [2, 2, 2] and len(set.union(*speakers)) == 6


def test_every_intent_is_said_equally_often(corpus):
    for split in ("train", "dev", "test"):
        counts = Counter(command[2:] for command in read_table(table_of(corpus, split)))
        assert counts == {intent[:3]: 2 for intent in INTENTS}


def test_the_columns_and_words(corpus):
    with table_of(corpus, "train").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == ["", "path", "speakerId", "transcription", "action", "object", "location"]
    assert [row[""] for row in rows] == [str(number) for number in range(52)]
    assert all(row["path"].startswith(f"wavs/speakers/{row['speakerId']}/") for row in rows)
    for row in rows:
        assert row["object"] in row["transcription"].lower() or row["object"] in row["transcription"]
        assert (row["location"] == "none") or row["transcription"].endswith(f" in the {row['location']}")
    assert len({row["transcription"] for row in rows}) > 30  # not one way of saying each


def test_recordings(corpus):
    found = [soundfile.info(path) for path in corpus.rglob("*.wav")]
    assert {(info.samplerate, info.channels, info.subtype) for info in found} == {(16000, 1, "PCM_16")}
    lengths = [info.duration for info in found]
    assert len(lengths) == 156 and 0.7 < min(lengths) and max(lengths) < 4
    assert sum(lengths) == pytest.approx(sum(piece.seconds for piece in plan_fluent_commands(MINUTES).pieces), rel=0.1)


@pytest.mark.parametrize(("minutes", "speakers"), [(20, [5, 3, 27]), (200, [11, 6, 55])])
def test_minutes_give_speakers(minutes, speakers):
    corpus = plan_fluent_commands({"train": minutes, "valid": minutes / 10, "test": minutes / 5})
    assert [len(corpus.speakers[name]) for name in ("test", "valid", "train")] == speakers
    assert sum(piece.seconds for piece in corpus.pieces) == pytest.approx(60 * minutes * 1.3, rel=0.03)


def test_same_files_whatever_the_jobs(corpus, tmp_path):
    again = synthesise("fluent_commands", tmp_path / "again", MINUTES, jobs=2, progress=False)
    assert contents(again) == contents(corpus)


def test_other_splits(tmp_path):
    with pytest.raises(FitHubertError, match="expected minutes of train, valid, test, found train"):
        synthesise("fluent_commands", tmp_path / "c", {"train": 1})

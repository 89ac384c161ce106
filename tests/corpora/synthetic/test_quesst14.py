import pytest
import soundfile

from fithubert_upstream.corpora.layouts.quesst14 import DOCUMENTS, QUERIES, check_quesst14, read_list, read_truth
from fithubert_upstream.corpora.synthetic.quesst14 import holds, plan_quesst14
from fithubert_upstream.corpora.synthetic.run import synthesise
from fithubert_upstream.errors import FitHubertError

from ...helpers.folders import contents

MINUTES = {"documents": 0.6}  # 14 documents, 6 queries in each split


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    return synthesise("quesst14", tmp_path_factory.mktemp("corpus") / "c", MINUTES, jobs=1, progress=False)


@pytest.mark.slow
def test_it_is_sound(corpus):
    report = check_quesst14(corpus, progress=False)
    assert report.problems == [] and report.counts["documents"] == 14
    for split in QUERIES:
        assert len(read_list(corpus, QUERIES[split])) == len(read_truth(corpus, split).targets) == 6
        assert report.counts[f"{split} queries that are said"] == 6  # 12 words in 14 documents


@pytest.mark.slow
def test_recordings(corpus):
    found = [soundfile.info(path) for path in corpus.rglob("*.wav")]
    assert {(info.samplerate, info.channels, info.subtype) for info in found} == {(16000, 1, "PCM_16")}
    documents = [soundfile.info(path).duration for path in read_list(corpus, DOCUMENTS)]
    assert sum(documents) == pytest.approx(60 * MINUTES["documents"], rel=0.2)
    queries = [soundfile.info(path).duration for name in QUERIES.values() for path in read_list(corpus, name)]
    assert 0.3 < min(queries) and max(queries) < 1.6 < min(documents)


@pytest.mark.slow
def test_same_files_whatever_the_jobs(corpus, tmp_path):
    again = synthesise("quesst14", tmp_path / "again", MINUTES, jobs=2, progress=False)
    assert contents(again) == contents(corpus)


@pytest.mark.parametrize(("minutes", "sizes"), [(4, (96, 24)), (1.5, (36, 9)), (0.1, (4, 6))])
def test_minutes_give_documents_and_queries(minutes, sizes):
    corpus = plan_quesst14({"documents": minutes})
    assert [sum(piece.seconds == kind for piece in corpus.pieces) for kind in (2.5, 0.8)] == [sizes[0], 2 * sizes[1]]
    voices = [voice for cast in corpus.speakers.values() for voice in cast]
    assert len(set(voices)) == len(voices)  # who asks is not who speaks


def test_what_holds_a_query():
    assert holds("two oranges fell", "orange") and holds("the orange", "orange")
    assert not holds("the arrange", "range")


def test_what_cannot_be():
    with pytest.raises(FitHubertError, match="expected minutes of documents, found dev"):
        plan_quesst14({"dev": 1})
    with pytest.raises(FitHubertError, match="expected at most [0-9]+ minutes of documents"):
        plan_quesst14({"documents": 1000})

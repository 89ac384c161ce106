import numpy as np
import pytest

from fithubert_upstream.audio.decode import read_audio
from fithubert_upstream.corpora.layouts.librimix import SPLITS, check_librimix, read_kaldi, read_rttm
from fithubert_upstream.corpora.synthetic.librimix import PAUSES, TURNS, plan_librimix
from fithubert_upstream.corpora.synthetic.run import synthesise
from fithubert_upstream.errors import FitHubertError

from ...helpers.folders import contents

MINUTES = {"train": 0.4, "dev": 0.2, "test": 0.2}  # 2 recordings, 1 and 1


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    return synthesise("librimix", tmp_path_factory.mktemp("corpus") / "c", MINUTES, jobs=1, progress=False)


def test_it_is_sound(corpus):
    report = check_librimix(corpus, progress=False)
    assert report.problems == [] and [report.counts[f"{split} recordings"] for split in SPLITS] == [2, 1, 1]
    groups = [{turn.speaker for one in read_kaldi(corpus / split).values() for turn in one.turns} for split in SPLITS]
    assert [len(group) for group in groups] == [2, 2, 2] and len(set.union(*groups)) == 6


def test_sound_is_where_the_tables_say(corpus):
    for split in SPLITS:
        reference = read_rttm(corpus / split / "rttm")
        for name, (path, seconds, turns) in read_kaldi(corpus / split).items():
            for one, other in zip(reference[name], turns, strict=True):
                assert one[2] == other[2] and one[:2] == pytest.approx(other[:2])
            samples = read_audio(path).samples[:, 0]
            assert 9 <= seconds <= 15 and len(samples) == round(16000 * seconds)
            voices = np.zeros(len(samples))
            for start, end, _ in turns:
                voices[round(16000 * start) : round(16000 * end)] += 1
            levels = [np.sqrt(np.mean(samples[voices == n] ** 2)) for n in (0, 1)]
            assert levels[1] > 2 * levels[0]  # noise and echoes remain


def test_turns_and_pauses_overlap():
    corpus = plan_librimix({"train": 20, "dev": 2, "test": 4})
    assert {split: len(voices) for split, voices in corpus.speakers.items()} == {"test": 6, "dev": 3, "train": 30}
    assert sum(piece.seconds for piece in corpus.pieces) == 26 * 60
    mixtures = [mixture for piece in corpus.pieces if not piece.seconds for mixture in piece.write.args[1]]
    assert len({mixture.name for mixture in mixtures}) == len(mixtures) == 130
    both = one = 0
    for _, seconds, voices, turns in mixtures:
        active = np.zeros((2, 1500), dtype=bool)
        for k, voice in enumerate(voices):
            own = [turn for turn in turns if turn.speaker == str(voice.speaker)]
            assert own and own[-1].end <= seconds
            for turn, following in zip(own, own[1:], strict=False):
                assert PAUSES[0] - 0.02 < following.start - turn.end < PAUSES[1] + 0.02
                assert TURNS[0] - 0.02 < turn.end - turn.start < TURNS[1] + 0.02
            for turn in own:
                active[k, round(100 * turn.start) : round(100 * turn.end)] = True
        both, one = both + active.all(0).sum(), one + (active.sum(0) == 1).sum()
    assert 0.2 < both / (both + one) < 0.5


@pytest.mark.slow
def test_same_files_whatever_the_jobs(corpus, tmp_path):
    assert contents(synthesise("librimix", tmp_path / "again", MINUTES, jobs=2, progress=False)) == contents(corpus)


def test_other_splits(tmp_path):
    with pytest.raises(FitHubertError, match="expected minutes of train, dev, test, found train"):
        synthesise("librimix", tmp_path / "c", {"train": 1})

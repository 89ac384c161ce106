import numpy as np
import pytest
import soundfile

from fithubert_upstream.corpora.synthetic.run import synthesise
from fithubert_upstream.corpora.synthetic.sentences import phones

from ...helpers.folders import contents

MINUTES = {"train": 0.5, "test": 0.1}


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    return synthesise("librispeech", tmp_path_factory.mktemp("corpus") / "c", MINUTES, jobs=1, progress=False)


def read_lines(path):
    return dict(line.split(" ", 1) for line in path.read_text().splitlines())


def test_layout_and_transcripts(corpus):
    recordings = sorted(corpus.glob("*/*/*/*.flac"))
    seconds = dict.fromkeys(MINUTES, 0.0)
    for path in recordings:
        split, speaker, chapter = path.parts[-4:-1]
        assert path.name.startswith(f"{speaker}-{chapter}-0") and (speaker + chapter).isdigit()
        words = read_lines(path.parent / f"{speaker}-{chapter}.trans.txt")
        spoken = read_lines(path.parent / f"{speaker}-{chapter}.phones.txt")
        assert words.keys() == spoken.keys() == {p.stem for p in path.parent.glob("*.flac")}
        assert words[path.stem].isupper()
        assert spoken[path.stem].split() == phones(words[path.stem])
        info = soundfile.info(path)
        assert (info.samplerate, info.channels, info.subtype) == (16000, 1, "PCM_16")
        assert 1.5 < info.duration < 6
        seconds[split] += info.duration
    for split, minutes in MINUTES.items():
        assert 60 * minutes <= seconds[split] < 60 * minutes + 12


def test_audio_is_neither_silent_nor_clipped(corpus):
    for path in corpus.rglob("*.flac"):
        audio, _ = soundfile.read(path)
        assert 0.05 < np.abs(audio).max() < 1
        assert np.abs(audio[:1000]).max() > 0


def test_speakers_are_disjoint(corpus):
    train, test = ({path.name for path in (corpus / split).iterdir()} for split in MINUTES)
    assert train and test and not train & test


def test_same_files_whatever_the_jobs(corpus, tmp_path):
    again = synthesise("librispeech", tmp_path / "again", MINUTES, jobs=2, progress=False)
    assert contents(again) == contents(corpus)


def test_another_seed_gives_another_corpus(corpus, tmp_path):
    other = synthesise("librispeech", tmp_path / "other", {"test": 0.1}, seed=1, jobs=1, progress=False)
    assert not set(contents(other).values()) & {d for name, d in contents(corpus).items() if name.endswith(".flac")}

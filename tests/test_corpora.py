from itertools import product

import numpy as np
import pytest
import soundfile

from fithubert_upstream.corpora import record, synthesise_librispeech
from fithubert_upstream.errors import FitHubertError
from fithubert_upstream.espeak import Voice, all_voices, speak
from fithubert_upstream.sentences import phones, random_sentence, vocabulary

VOWELS = "AA AE AH AO AW AY EH ER EY IH IY OW OY UH UW".split()
CONSONANTS = "B CH D DH F G HH JH K L M N NG P R S SH T TH V W Y Z ZH".split()
STRESSED_ARPABET = {vowel + stress for vowel, stress in product(VOWELS, "012")} | set(CONSONANTS)
MINUTES = {"train": 0.5, "test": 0.1}


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    return synthesise_librispeech(tmp_path_factory.mktemp("corpus") / "c", MINUTES, jobs=1, progress=False)


def contents(root):
    return {path.relative_to(root): path.read_bytes() for path in root.rglob("*") if path.is_file()}


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
    again = synthesise_librispeech(tmp_path / "again", MINUTES, jobs=2, progress=False)
    assert contents(again) == contents(corpus)


def test_another_seed_gives_another_corpus(corpus, tmp_path):
    other = synthesise_librispeech(tmp_path / "other", {"test": 0.1}, seed=1, jobs=1, progress=False)
    assert not set(contents(other).values()) & {
        data for path, data in contents(corpus).items() if path.suffix == ".flac"
    }


def test_a_complete_corpus_is_reused_and_others_refused(corpus, tmp_path):
    before = {path: path.stat().st_mtime_ns for path in corpus.rglob("*")}
    assert synthesise_librispeech(corpus, MINUTES, progress=False) == corpus
    assert before == {path: path.stat().st_mtime_ns for path in corpus.rglob("*")}
    with pytest.raises(FitHubertError, match="'seed': 0.*wanted.*'seed': 1"):
        synthesise_librispeech(corpus, MINUTES, seed=1)
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(FitHubertError, match="something other"):
        synthesise_librispeech(tmp_path, MINUTES)


def test_an_interrupted_corpus_is_written_anew(corpus, tmp_path):
    (tmp_path / "c.partial" / "train" / "1" / "2").mkdir(parents=True)
    again = synthesise_librispeech(tmp_path / "c", MINUTES, jobs=1, progress=False)
    assert contents(again) == contents(corpus)
    assert [path.name for path in tmp_path.iterdir()] == ["c"]


@pytest.mark.parametrize("minutes", [{}, {"train": 0}, {"train": -1}, {"a/b": 1}, {"": 1}])
def test_senseless_minutes(minutes, tmp_path):
    with pytest.raises(FitHubertError):
        synthesise_librispeech(tmp_path / "c", minutes)


def test_every_word_has_phones_and_every_phone_has_words():
    spoken = [phone for word in vocabulary() for phone in phones(word)]
    assert set(spoken) <= STRESSED_ARPABET
    plain = [phone.rstrip("012") for phone in spoken]
    assert all(plain.count(phone) >= 10 for phone in VOWELS + CONSONANTS)
    with pytest.raises(FitHubertError, match="xyzzyx"):
        phones("hello xyzzyx")


def test_sentences_are_many():
    generator = np.random.default_rng(0)
    assert len({random_sentence(generator) for _ in range(500)}) > 490


def test_voices_are_many_and_differ():
    voices = all_voices()
    assert len({(voice.name, voice.pitch) for voice in voices}) == len(voices) >= 40
    assert len({voice.speaker for voice in voices}) == len(voices)
    spectra = []
    for voice in voices[:9]:
        audio = speak("a good voice", voice)
        spectrum = np.abs(np.fft.rfft(audio[: len(audio) // 512 * 512].reshape(-1, 512))).mean(0)
        spectra.append(spectrum / np.linalg.norm(spectrum))
    similarity = np.array(spectra) @ np.array(spectra).T
    assert np.triu(similarity, 1).max() < 0.99


def test_an_utterance_does_not_depend_on_the_one_before():
    voice, other = all_voices()[0], all_voices()[20]
    first = record("the quick brown fox", voice, np.random.default_rng(0))
    record("something else", other, np.random.default_rng(1))
    np.testing.assert_array_equal(first, record("the quick brown fox", voice, np.random.default_rng(0)))


def test_unknown_voice_and_empty_text():
    with pytest.raises(FitHubertError, match="nobody"):
        speak("hello", Voice(1, "en-us-nobody"))
    with pytest.raises(FitHubertError, match="words"):
        speak("", all_voices()[0])

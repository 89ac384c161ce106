import dataclasses
import shutil
from collections import Counter

import pytest
import soundfile

from fithubert_upstream.corpora.layouts.speech_commands import TEST_CLASSES
from fithubert_upstream.downstream.joint_ks_sv.clips import draw_trials, read_keywords, read_speakers
from fithubert_upstream.downstream.joint_ks_sv.config import KeywordConfig, SpeakerConfig, Speakers
from fithubert_upstream.errors import FitHubertError

from ...helpers import small_corpora
from ...helpers.small_corpora import word_of

SPLIT = Speakers(("s1", "s2"), ("s3", "s4"), ("s5", "s6"))


@pytest.fixture
def root(tmp_path):
    return small_corpora.words(tmp_path / "words")


def keywords(root, **changes):
    config = {"corpus": "words", "root": str(root), "classes": ("cat", "mat", "hat"), "speakers": SPLIT}
    return read_keywords(KeywordConfig(**config | changes))


def speakers(root, **changes):
    config = {
        "corpus": "words",
        "root": str(root),
        "speakers": SPLIT,
        "trials": str(root / "trials.txt"),
        "drawn_trials": 20,
    }
    return read_speakers(SpeakerConfig(**config | changes))


def fails(read, *args, **changes) -> str:
    with pytest.raises(FitHubertError) as caught:
        read(*args, **changes)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_words_by_speaker(root):
    found = keywords(root)
    for split, names in (("train", "s1 s2"), ("dev", "s3 s4"), ("test", "s5 s6")):
        clips = getattr(found, split)
        assert {clip.path.parent.name for clip in clips} == set(names.split())
        assert Counter(clip.label for clip in clips) == {"cat": 4, "mat": 4, "hat": 4}
        assert all(clip.path.name.startswith(f"{clip.label}-") for clip in clips)


def test_other_words_are_unknown_where_that_is_a_class(root):
    found = keywords(root, classes=("cat", "_unknown_"))
    assert Counter(clip.label for clip in found.train) == {"cat": 4, "_unknown_": 8}


def test_trials_are_of_the_speakers_of_their_split_alone(root):
    found = speakers(root)
    assert found.speakers == ("s1", "s2") and len(found.train) == 12
    for trials, names in ((found.dev, {"s3", "s4"}), (found.test, {"s5", "s6"})):
        for trial in trials:
            of = [path.parent.name for path in (trial.enrolment, trial.test)]
            assert set(of) <= names and trial.target == (of[0] == of[1])
            assert word_of(trial.enrolment.name) != word_of(trial.test.name)
    lines = [line.split() for line in (root / "trials.txt").read_text().splitlines()]
    assert len(found.test) == sum(one[:2] in ("s5", "s6") and other[:2] in ("s5", "s6") for _, one, other in lines)


def test_drawn_trials(root):
    clips = {name: sorted((root / name).glob("*.flac")) for name in ("s1", "s2", "s3")}
    trials = draw_trials(clips, 20, by_word=True)
    assert Counter(trial.target for trial in trials) == {True: 10, False: 10}
    assert len({(trial.enrolment, trial.test) for trial in trials}) == 20
    assert trials == draw_trials(clips, 20, by_word=True)
    every = draw_trials(clips, 10**4, by_word=True)  # no more than there are: 3 x 12 of one speaker, 3 x 24 of two
    assert Counter(trial.target for trial in every) == {True: 36, False: 72}


def test_speech_commands(tmp_path):
    root = small_corpora.speech_commands(tmp_path)
    found = read_keywords(KeywordConfig(root=str(root / "train"), test_root=str(root / "test"), classes=TEST_CLASSES))
    train = Counter(clip.label for clip in found.train)
    assert train["yes"] == train["_unknown_"] == 1 and train["_silence_"] >= 1
    dev = Counter(clip.label for clip in found.dev)
    assert set(dev) == set(TEST_CLASSES) and set(dev.values()) == {1}  # as even as the test set
    assert Counter(clip.label for clip in found.test) == dict.fromkeys(TEST_CLASSES, 1)
    assert all((clip.start is not None) == (clip.label == "_silence_") for clip in found.train + found.dev)


def test_voxceleb1(tmp_path):
    root = small_corpora.voxceleb1(tmp_path)
    config = SpeakerConfig(root=str(root), trials=str(root / "test_trials.txt"), dev_speakers=1, drawn_trials=10)
    assert "both labels" in fails(read_speakers, config)  # one speaker has no pair of two
    for i in range(4):  # two more to train on, two sessions each
        shutil.copytree(root / "dev" / "wav" / "id10001", root / "dev" / "wav" / f"id1000{5 + i}")
    found = read_speakers(dataclasses.replace(config, dev_speakers=2))
    held = {path.parts[-3] for trial in found.dev for path in (trial.enrolment, trial.test)}
    assert len(held) == 2 and len(found.speakers) == 5 and not held & set(found.speakers)
    assert len(found.train) == 10 and {clip.label for clip in found.train} == set(found.speakers)
    assert len(found.test) == 9 and all("test/wav" in trial.test.as_posix() for trial in found.test)
    given = dataclasses.replace(config, dev_trials=str(root / "dev_trials.txt"))
    found = read_speakers(given)  # whoever is tried is not trained on
    assert len(found.dev) == 9 and set(found.speakers) == {f"id1000{5 + i}" for i in range(4)}


def test_one_class(root):
    assert "two different classes or more" in fails(
        KeywordConfig, corpus="words", root="x", classes=("cat",), speakers=SPLIT
    )


def test_a_class_that_only_the_test_has(root):
    for name in ("s5", "s6"):
        shutil.copy(root / name / "cat-00.flac", root / name / "dog-00.flac")
    message = fails(keywords, root, classes=("cat", "mat", "hat", "dog"))
    assert "s5/dog-00.flac" in message and "found dog in test only" in message and "add clips for train" in message
    assert "found dog; add it to ks.classes" in fails(keywords, root)


def test_a_class_that_nobody_says(root):
    assert "found none of dog" in fails(keywords, root, classes=("cat", "mat", "hat", "dog"))


def test_missing_and_broken_files(root):
    assert "folder of recordings of speaker s9" in fails(
        keywords, root, speakers=dataclasses.replace(SPLIT, dev=("s9",))
    )
    soundfile.write(root / "s1" / "cat-00.flac", [0.1] * 800, 8000)
    assert "s1/cat-00.flac: expected 16000 Hz, found 8000" in fails(keywords, root)
    (root / "s1" / "cat-00.flac").write_bytes(b"no audio")
    assert "s1/cat-00.flac" in fails(speakers, root)


def test_trials_that_cannot_be(root):
    (root / "trials.txt").write_text(
        "1 s5/cat-00.flac s5/mat-00.flac\n0 s5/cat-00.flac s6/gone.flac\n0 s5/x.flac s6/y.flac\n"
    )
    message = fails(speakers, root)
    assert "line 2: expected s6/gone.flac" in message and "(and 2 more)" in message
    (root / "trials.txt").write_text("1 s5/cat-00.flac s5/mat-00.flac\n0 s1/cat-00.flac s2/mat-00.flac\n")
    assert "expected test trials of both labels" in fails(speakers, root)  # the other is not of the test speakers
    assert "list of trials" in fails(speakers, root, trials=str(root / "none.txt"))


def test_one_speaker_to_train_on(root):
    assert "two speakers or more" in fails(speakers, root, speakers=dataclasses.replace(SPLIT, train=("s1",)))

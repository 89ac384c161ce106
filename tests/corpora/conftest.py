"""Three small corpora in which nothing is wrong."""

import pytest

from fithubert_upstream.corpora.layouts.speech_commands import COMMANDS, TEST_CLASSES

from ..helpers.audio import noise, write_split


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("FITHUBERT_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def libri(tmp_path):
    write_split(tmp_path / "libri" / "train", {"1-2-0000": "THE CAT", "1-2-0001": "A HAT", "3-4-0000": "THE"})
    write_split(tmp_path / "libri" / "dev", {"5-6-0000": "CAT"})
    (tmp_path / "libri" / "other").mkdir()
    return tmp_path / "libri"


@pytest.fixture
def commands(tmp_path):
    """Each word by speakers that s3prl's split spreads over dev, train, left out, train."""
    for word in (*COMMANDS, "bed"):
        for speaker in range(4):
            noise(tmp_path / "sc" / "train" / word / f"{speaker:08x}_nohash_0.wav", samples=160)
    noise(tmp_path / "sc" / "train" / "_background_noise_" / "hum.wav")
    for word in TEST_CLASSES:
        noise(tmp_path / "sc" / "test" / word / f"{word}.wav", samples=160)
    return tmp_path / "sc"


@pytest.fixture
def vox(tmp_path):
    root = tmp_path / "vox"
    for part, speakers in (("dev", ("id1", "id2")), ("test", ("id8", "id9"))):
        for speaker in speakers:
            for k in range(2):
                noise(root / part / "wav" / speaker / "s" / f"{k}.wav", samples=800)
        one, other = speakers
        (root / f"{part}_trials.txt").write_text(f"1 {one}/s/0.wav {one}/s/1.wav\n0 {one}/s/0.wav {other}/s/1.wav\n")
    return root

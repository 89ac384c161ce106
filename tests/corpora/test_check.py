"""`fithubert check` on sound and damaged corpora."""

import pytest

from fithubert_upstream.audio import scan as audio_scan
from fithubert_upstream.corpora import check as corpus_checks
from fithubert_upstream.corpora.check import main
from fithubert_upstream.corpora.layouts.librispeech import check_librispeech
from fithubert_upstream.corpora.layouts.voxceleb1 import check_voxceleb1
from fithubert_upstream.errors import FitHubertError

from ..helpers import small_corpora
from ..helpers.audio import noise


def test_the_command_on_a_sound_corpus(libri, vox, commands, capsys):
    main(["librispeech", str(libri)])
    out = capsys.readouterr().out
    assert "train utterances" in out and "official" not in out and out.endswith("no problems found\n")
    main(["voxceleb1", str(vox)])
    assert "37,720" in capsys.readouterr().out
    main(["speech_commands", str(commands)])
    main(["speech_commands", str(commands / "train"), "--test", str(commands / "test")])
    (commands / "train").rename(commands / "speech_commands_v0.01")
    (commands / "test").rename(commands / "speech_commands_test_set_v0.01")
    main(["speech_commands", str(commands)])
    assert capsys.readouterr().out.count("no problems found") == 3


def test_the_command_on_the_corpora_of_classification(tmp_path, capsys):
    for name, shown in (
        ("fluent_commands", "train commands"),
        ("iemocap", "recordings"),
        ("snips", "slots"),
        ("librimix", "dev speakers"),
        ("voxceleb1", "1,251"),
    ):
        root = getattr(small_corpora, name)(tmp_path / name)
        main([name, str(root)])
        out = capsys.readouterr().out
        assert shown in out and out.endswith("no problems found\n")
    main(["quesst14", str(small_corpora.quesst14(tmp_path / "quesst14"))])
    assert "dev queries that are said" in capsys.readouterr().out
    listed = root / "veri_test_class.txt"  # of VoxCeleb1
    listed.write_text("1 id10001/s0/00001.wav\n")
    audio = root / "dev" / "wav" / "id10001" / "s0" / "00001.wav"
    audio.write_bytes(audio.read_bytes()[:1000])
    with pytest.raises(FitHubertError, match="^3 problems in "):
        main(["voxceleb1", str(root)])
    lines = capsys.readouterr().out.splitlines()
    assert [line.count(str(audio)) for line in lines[-3:]] == [1, 0, 0]  # once, though two tasks read it


def test_the_command_lists_fifty_problems(libri, capsys):
    for k in range(60):
        noise(libri / "dev" / "5" / "6" / f"5-6-1{k:03d}.flac", samples=100)
    with pytest.raises(FitHubertError, match=f"^60 problems in {libri}$"):
        main(["librispeech", str(libri)])
    lines = capsys.readouterr().out.splitlines()
    assert sum("expected a line for it" in line for line in lines) == 50 and lines[-1] == "... and 10 more"


def test_wrong_flags(libri):
    with pytest.raises(FitHubertError, match="--test: expected it with speech_commands only"):
        main(["librispeech", str(libri), "--test", "x"])
    with pytest.raises(FitHubertError, match="expected folders train and test, or speech_commands_v0.01"):
        main(["speech_commands", str(libri / "dev")])


def test_a_corpus_is_decoded_once(libri, monkeypatch):
    check_librispeech(libri, progress=False)
    monkeypatch.setattr(audio_scan, "measure", None)
    assert check_librispeech(libri, progress=False).problems == []
    assert check_librispeech(libri, ["train"], progress=False).problems == []


@pytest.mark.slow
@pytest.mark.parametrize("name", ["LibriSpeech-excerpt", "speech_commands", "VoxCeleb1-layout"])
def test_on_real_recordings(real_data, name):
    root = real_data / name
    report = {
        "LibriSpeech-excerpt": lambda: check_librispeech(root, ["mini-dev"], progress=False),
        "speech_commands": lambda: corpus_checks.check_speech_commands(root / "train", root / "test", progress=False),
        "VoxCeleb1-layout": lambda: check_voxceleb1(root, progress=False),
    }[name]()
    assert report.problems == [] and all(report.counts.values())

"""Check, tasks and distillation saw different files: with names that hold dots, suffixes in capitals, folders that are
links, files of a Mac or a notebook, equal names in two chapters. Utterances were left out or scored against another's
words, without a word."""

import os
import shutil
import types
from collections import defaultdict
from pathlib import Path

import numpy as np
import pytest
import torch

from fithubert_upstream.audio.walk import OTHER_AUDIO_SUFFIXES
from fithubert_upstream.corpora.layouts.librispeech import check_librispeech, utterance_name
from fithubert_upstream.corpora.layouts.speech_commands import check_speech_commands
from fithubert_upstream.corpora.layouts.voxceleb1 import check_voxceleb1
from fithubert_upstream.data.sources import AudioFolder
from fithubert_upstream.downstream.asr import prepare_librispeech
from fithubert_upstream.downstream.ctc.libriphone import phone_transcripts
from fithubert_upstream.downstream.joint_ks_sv.clips import _recordings, read_keywords
from fithubert_upstream.downstream.joint_ks_sv.config import KeywordConfig
from fithubert_upstream.downstream.repairs import datasets as s3prl_datasets
from fithubert_upstream.errors import FitHubertError

from ..helpers import small_corpora
from ..helpers.small_corpora import noise

MAC = b"\0\x05\x16\x07\0\x02\0\0Mac OS X" + bytes(200)


def clutter(root) -> None:
    """What a Mac, a NAS and a notebook leave behind."""
    for folder in [root, *(path for path in list(root.rglob("*")) if path.is_dir())]:
        (folder / ".DS_Store").write_bytes(MAC)
        (folder / "Thumbs.db").write_bytes(MAC)
        (folder / ".ipynb_checkpoints").mkdir()
        noise(folder / ".ipynb_checkpoints" / "yes-checkpoint.wav", 0.2, 1)
        for file in folder.glob("[!.]*.*"):
            file.with_name(f"._{file.name}").write_bytes(MAC)


class Letters:
    """The dictionary that s3prl's datasets want: a line of symbols -> something with .long()."""

    def encode_line(self, line, line_tokenizer):
        class Encoded(list):
            def long(self):
                return self

        return Encoded(line_tokenizer(line))


def asr_words(root, tables, split) -> dict[str, str]:
    """Path of an utterance -> its words, as speech recognition's dataset batches them."""
    data = s3prl_datasets.Utterances("here", 2, Letters(), str(root), str(tables), here=[split])
    names = [name for batch in data.X for name in batch]
    assert len(names) == len(set(names))
    return {name: "".join(data.Y[name]).rstrip("|").replace("|", " ") for name in names}


def test_utterances_of_librispeech(tmp_path):
    root = small_corpora.librispeech(tmp_path / "L", {"train": 3}, prepared=False)
    chapter = root / "train" / "1" / "7"
    for old, new in (("1-7-0000.flac", "1-7-0000.take2.flac"), ("1-7-0001.flac", "1-7-0001.FLAC")):
        (chapter / old).rename(chapter / new)
    text = chapter / "1-7.trans.txt"
    text.write_text(text.read_text().replace("1-7-0000", "1-7-0000.take2"))
    shutil.copytree(root / "train" / "1", tmp_path / "away")  # speaker 9, by a link
    (root / "train" / "9").symlink_to(tmp_path / "away")
    (tmp_path / "away" / "7" / "1-7.trans.txt").rename(tmp_path / "away" / "7" / "9-7.trans.txt")
    clutter(root)

    report = check_librispeech(root, ["train"], progress=False)
    assert report.problems == [] and report.counts["train utterances"] == 6 and report.counts["train speakers"] == 2
    tables = prepare_librispeech(root, tmp_path / "tables", ["train"], progress=False)
    words = asr_words(root, tables, "train")
    assert len(words) == 6 and words["train/9/7/1-7-0000.take2.flac"] == "THE CAT SAT"
    assert len(phone_transcripts(str(root), ("train",), ("cmudict",), False)) == 6
    assert len(AudioFolder(root / "train").seconds) == 6


def test_equal_names_in_two_chapters_keep_their_own_words(tmp_path):
    root = tmp_path / "L"
    for chapter, text in ((7, "THE CAT"), (8, "MAT HAT SAT")):
        for i in range(2):
            noise(root / "train" / "1" / str(chapter) / f"{i:04d}.flac", 0.5 + 0.1 * i, 10 * chapter + i)
        lines = "".join(f"{i:04d} {text}\n" for i in range(2))
        (root / "train" / "1" / str(chapter) / f"1-{chapter}.trans.txt").write_text(lines)
    tables = prepare_librispeech(root, tmp_path / "tables", ["train"], progress=False)
    expected = {f"train/1/7/{i:04d}.flac": "THE CAT" for i in range(2)}
    expected |= {f"train/1/8/{i:04d}.flac": "MAT HAT SAT" for i in range(2)}
    assert asr_words(root, tables, "train") == expected
    utterances = phone_transcripts(str(root), ("train",), ("cmudict",), False)
    assert [len(phones) for _, phones in utterances] == [5, 5, 9, 9]


def test_a_last_batch_of_one_utterance_is_not_dropped(tmp_path):
    root = small_corpora.librispeech(tmp_path / "L", {"train": 3})
    assert len(asr_words(root, root / "len_for_bucket", "train")) == 3


def test_two_recordings_of_one_name_are_told(tmp_path):
    root = small_corpora.librispeech(tmp_path / "L", {"train": 2}, prepared=False)
    noise(root / "train" / "1" / "7" / "1-7-0000.wav", 0.5, 1)
    (problem,) = check_librispeech(root, ["train"], progress=False).problems
    assert problem.endswith("expected one recording of 1-7-0000, found 1-7-0000.flac and 1-7-0000.wav; remove one")


def test_clips_of_speech_commands(tmp_path):
    root = small_corpora.speech_commands(tmp_path / "S")
    train, test = root / "train", root / "test"
    (test / "yes" / "0.wav").rename(test / "yes" / "0.WAV")
    noise(test / "no" / "more.flac", 0.3, 4)
    one = next(iter((train / "stop").glob("*.wav")))
    one.rename(one.with_suffix(".WAV"))
    shutil.move(train / "bed", tmp_path / "bed")
    (train / "bed").symlink_to(tmp_path / "bed")
    clutter(root)

    report = check_speech_commands(train, test, progress=False)
    assert report.problems == [] and report.counts["words"] == 11 and report.counts["test clips"] == 13
    parts = s3prl_datasets.split_clips(train)
    assert [len(part) for part in parts] == [report.counts["train clips"], report.counts["dev clips"]] == [11, 11]
    data = s3prl_datasets.TrainingClips(parts[0], speech_commands_root=str(train))
    assert len(data) == 12 and sum(word == "_silence_" for word, _ in data.data) == 1
    assert sum(data.sample_weights) == pytest.approx(12 * 12)
    assert len(s3prl_datasets.TestClips(speech_commands_test_root=str(test))) == 13
    keywords = read_keywords(KeywordConfig(root=str(train), test_root=str(test)))
    assert len(keywords.test) == 13 and {clip.path.name for clip in keywords.test} >= {"0.WAV", "more.flac"}
    assert len(AudioFolder(test).seconds) == 13


def test_folders_inside_a_word_are_told(tmp_path):
    root = small_corpora.speech_commands(tmp_path / "S")
    noise(root / "test" / "yes" / "deep" / "x.wav", 0.3, 1)
    (problem,) = check_speech_commands(root / "train", root / "test", progress=False).problems
    assert problem == f"{root}/test/yes/deep: expected clips in {root}/test/yes only, found a folder in it; move it"


def test_speakers_of_voxceleb1(tmp_path):
    root = small_corpora.voxceleb1(tmp_path / "V")
    wav = root / "dev" / "wav"
    (wav / "id10001").rename(wav / "j.smith")
    (wav / "id10002" / "s0" / "00001.wav").rename(wav / "id10002" / "s0" / "00001.part.WAV")
    shutil.move(wav / "id10003", tmp_path / "id10003")
    (wav / "id10003").symlink_to(tmp_path / "id10003")
    trials = root / "dev_trials.txt"
    text = trials.read_text().replace("id10001", "j.smith")
    trials.write_text(text.replace("id10002/s0/00001.wav", "id10002/s0/00001.part.WAV"))
    clutter(root)

    report = check_voxceleb1(root, progress=False)
    assert report.problems == [] and (report.counts["dev speakers"], report.counts["dev files"]) == (3, 6)
    data = s3prl_datasets.SpeakerClips({"min_sec": 0}, ["Voxceleb1"], [str(wav)], None, max_timestep=8000)
    assert data.all_speakers == ["id10002", "id10003", "j.smith"] and len(data) == 6
    assert {data[i][2] for i in range(6)} == {0, 1, 2}
    assert len(AudioFolder(wav).seconds) == 6


def test_audio_that_is_not_read_is_named_everywhere(tmp_path):
    root = small_corpora.librispeech(tmp_path / "L", {"train": 2}, prepared=False)
    (root / "train" / "1" / "7" / "x.m4a").touch()
    (problem,) = check_librispeech(root, ["train"], progress=False).problems
    assert "x.m4a: expected .flac" in problem
    assert [name.rpartition("/")[2] for name in AudioFolder(root / "train").unreadable] == ["x.m4a"]


@pytest.mark.parametrize("suffix", OTHER_AUDIO_SUFFIXES)
def test_each_kind_of_audio_that_is_not_read_is_named(tmp_path, suffix):
    for word in ("yes", "no"):
        (tmp_path / "test" / word).mkdir(parents=True)
    (tmp_path / "test" / "yes" / f"x{suffix.upper()}").touch()
    problems = check_speech_commands(tmp_path, tmp_path / "test", progress=False).problems
    assert any(f"/yes/x{suffix.upper()}: expected .flac" in problem for problem in problems)
    with pytest.raises(FitHubertError, match=f"x{suffix.upper()}: expected .flac"):
        _recordings(tmp_path / "test", "yes")


def test_audio_beside_the_folders_is_told(tmp_path):
    root = small_corpora.speech_commands(tmp_path / "S")
    for part in ("train", "test"):
        noise(root / part / "loose.wav", 0.3, 1)
    problems = check_speech_commands(root / "train", root / "test", progress=False).problems
    assert [problem.partition(": ")[0] for problem in problems] == [f"{root}/{p}/loose.wav" for p in ("train", "test")]

    root = small_corpora.librispeech(tmp_path / "L", {"train": 2}, prepared=False)
    noise(root / "loose.flac", 0.3, 1)
    noise(root / "dev" / "5" / "6" / "5-6-0000.flac", 0.3, 1)  # a split without any transcript
    (root / "tables").mkdir()
    one, other = check_librispeech(root, progress=False).problems
    assert (
        one == f"{root}/loose.flac: expected audio in split/speaker/chapter only, found audio in {root} itself; move it"
    )
    assert other.startswith(f"{root}/dev: expected speaker/chapter/*.trans.txt with its audio, found none")
    with pytest.raises(FitHubertError, match="loose.flac"):
        prepare_librispeech(root, progress=False)
    prepare_librispeech(root, splits=["train"], progress=False)

    noise(tmp_path / "words" / "ann" / "deep" / "yes-1.wav", 0.3, 1)
    with pytest.raises(FitHubertError, match="ann/deep: expected recordings in .*/ann only, found a folder in it"):
        _recordings(tmp_path / "words", "ann")


@pytest.mark.parametrize("corpus", ["librispeech", "speech_commands", "voxceleb1"])
def test_a_folder_that_is_a_link_to_nothing_is_told(tmp_path, corpus):
    root = getattr(small_corpora, corpus)(tmp_path / "corpus")
    place = {"librispeech": "train", "speech_commands": "train", "voxceleb1": "dev/wav"}[corpus]
    (root / place / "j.smith").symlink_to(tmp_path / "unmounted")
    check = {
        "librispeech": lambda: check_librispeech(root, progress=False).problems[0],
        "speech_commands": lambda: check_speech_commands(root / "train", root / "test", progress=False),
        "voxceleb1": lambda: check_voxceleb1(root, progress=False),
    }[corpus]
    expected = (
        f"{root}/{place}/j.smith: expected a link to a folder or file, found one to nothing; correct or remove it"
    )
    if corpus == "librispeech":
        assert check() == expected
    else:
        with pytest.raises(FitHubertError) as caught:
            check()
        assert str(caught.value) == expected
    with pytest.raises(FitHubertError, match="j.smith: expected a link"):
        AudioFolder(root / place)


@pytest.mark.skipif(os.name != "posix", reason="names of bytes")
def test_problems_can_be_printed_whatever_the_names(tmp_path):
    root = small_corpora.librispeech(tmp_path / "L", {"train": 2}, prepared=False)
    shutil.copytree(root / "train" / "1", os.fsdecode(os.path.join(os.fsencode(root), b"train", b"caf\xe9")))
    problems = check_librispeech(root, progress=False).problems
    assert len(problems) == 3 and all("caf\\udce9" in problem.encode("utf-8").decode() for problem in problems)


def test_utterances_keep_names_of_their_own_in_files_of_results(tmp_path):
    files = ["1/7/1-7-0000.take2.flac", "1/7/0001.flac", "1/8/0001.flac", "9/7/1-7-0000.take2.flac"]
    expected = ["1-7-0000.take2", "1-7-0001", "1-8-0001", "9-7-1-7-0000.take2"]
    assert [utterance_name(Path(file)) for file in files] == expected

    paths = [noise(tmp_path / "train" / file, 0.3 + 0.1 * i, i) for i, file in enumerate(files)]
    items = [(path, [i, 5]) for i, path in enumerate(paths)]
    waveforms, tokens, names = s3prl_datasets.collect_utterances(items, split="dev")
    assert list(names) == expected[::-1] and [len(wav) for wav in waveforms] == [9600, 8000, 6400, 4800]
    assert [row.tolist() for row in tokens] == [[3, 5], [2, 5], [1, 5], [0, 5]]
    in_a_bucket = s3prl_datasets.collect_utterances([items], split="train", half_batch_size_wav_len=4000)
    assert in_a_bucket[2] == expected[1::-1]  # half of them, since the first is long

    for chapter in {path.parent for path in paths}:
        lines = "".join(f"{path.stem} THE CAT\n" for path in paths if path.parent == chapter)
        (chapter / f"{chapter.parent.name}-{chapter.name}.trans.txt").write_text(lines)
    tables = prepare_librispeech(tmp_path, tmp_path / "tables", ["train"], progress=False)
    array = types.SimpleNamespace(long=lambda: torch.tensor([1, 2]))
    letters = types.SimpleNamespace(encode_line=lambda line, line_tokenizer: array)
    data = s3prl_datasets.Utterances("here", 2, letters, str(tmp_path), str(tables), here=["train"])
    batches = [data[i] for i in range(len(data))]
    assert sorted(name for _, _, names in batches for name in names) == expected
    assert sorted(len(wav) for waveforms, _, _ in batches for wav in waveforms) == [4800, 6400, 8000, 9600]


def test_batches_of_phones_are_those_of_s3prl(tmp_path):
    from s3prl.downstream.ctc.data import collect_audio_batch

    items = [
        (noise(tmp_path / "1" / "7" / f"1-7-{i}.wav", seconds, i), [i]) for i, seconds in enumerate([0.2, 0.3, 0.2])
    ]
    for batch, split, half in ((items, "dev", 100), ([items], "train", 100), ([items], "train", 10_000)):
        ours, theirs = (f(batch, split, half) for f in (s3prl_datasets.collect_utterances, collect_audio_batch))
        for mine, other in zip(ours[:2], theirs[:2], strict=True):
            assert len(mine) == len(other) and all(map(np.array_equal, mine, other))
        assert list(ours[2]) == list(theirs[2])


def test_scores_of_trials_keep_names_of_their_own(tmp_path):
    from s3prl.downstream.sv_voxceleb1 import expert

    trials = [["1", "/V/j.smith/s0/1.a.wav", "/V/j.smith/s0/1.b.wav"], ["0", "/V/j.smith/s0/1.a.wav", "/V/k/s/2.wav"]]
    verifier = types.SimpleNamespace(
        test_dataset=types.SimpleNamespace(pair_table=trials),
        score_fn=torch.nn.CosineSimilarity(dim=-1),
        eval_metric=expert.EER,
        best_score=torch.ones(1) * 100,
        expdir=str(tmp_path),
    )
    records = defaultdict(list)
    vectors = {"1.a": [1.0, 0.0], "1.b": [0.6, 0.8], "2": [0.0, 1.0]}
    records |= {path: torch.tensor(vectors[Path(path).stem]) for _, *paths in trials for path in paths}
    logger = types.SimpleNamespace(add_scalar=lambda tag, value, global_step: None)
    with s3prl_datasets.own_datasets("sv_voxceleb1"):
        expert.DownstreamExpert.log_records(verifier, "test", records=records, logger=logger, global_step=1)
    pairs = ["j.smith-s0-1.a_j.smith-s0-1.b", "j.smith-s0-1.a_k-s-2"]
    for name, values in (("predict", [0.6, 0.0]), ("truth", [1, 0])):
        lines = [line.split() for line in (tmp_path / f"test_{name}.txt").read_text().splitlines()]
        assert [pair for pair, _ in lines] == pairs
        assert [float(value) for _, value in lines] == pytest.approx(values)

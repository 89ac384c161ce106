"""What is noticed of the corpora whose recordings are those that tables, lists and labels name."""

import os
import shutil

import pytest

from fithubert_upstream.corpora.layouts.iemocap import prepare_iemocap
from fithubert_upstream.corpora.state import DIGEST, FILES, corpus_state
from fithubert_upstream.errors import FitHubertError
from fithubert_upstream.settings.files import MODEL_CONFIGS

from ..helpers import small_corpora
from ..helpers.audio import noise

FIRST = "Session1/sentences/wav/Ses01F_impro01/Ses01F_impro01_F000.wav"
CORPORA = {
    "fluent_commands": "fluent_commands",
    "voxceleb1": "voxceleb1",
    "emotion": "iemocap",
    "ctc": "snips",
    "diarization": "librimix",
    "quesst14_dtw": "quesst14",
}
COUNTS = {
    "fluent_commands": 3 + 12,
    "voxceleb1": 1 + 12,
    "emotion": 5 + 20,
    "ctc": 3 + 18,
    "diarization": 3 * 4 + 1 + 9,
    "quesst14_dtw": 3 + 6 + 12,
}
AUDIO = {
    "fluent_commands": "wavs/speakers/s2/test-0.wav",
    "voxceleb1": "test/wav/id10101/s1/00001.wav",
    "emotion": FIRST,
    "ctc": "test/Ann2-snips-test-0.wav",
    "diarization": "dev/wav/dev-0.wav",
    "quesst14_dtw": "eval_queries/eval_1.wav",
}
EDITED = {
    "fluent_commands": ("data/valid_data.csv", "lights", "lamp"),
    "voxceleb1": ("veri_test_class.txt", "1 id10001", "2 id10001"),
    "emotion": ("Session1/dialog/EmoEvaluation/Ses01F_impro01.txt", "neu", "sad"),
    "ctc": ("all.iob.snips.txt", "CAT", "HAT"),
    "diarization": ("test/rttm", "1 0.5 ", "1 0.52 "),
    "quesst14_dtw": ("scoring/groundtruth_quesst14_eval/quesst14_eval.rttm", "doc_3", "doc_4"),
}


def make(task, root):
    make = getattr(small_corpora, CORPORA[task])
    return make(root, prepared=False) if task == "emotion" else make(root)


def state(task, root, **more):
    if task == "ctc":
        splits = {"train": ["train"], "dev": ["valid"], "test": ["test"]}
        text = {"vocab_file": str(MODEL_CONFIGS[0] / "character.txt"), "slots_file": f"{root}/slots.txt"}
        corpus = {"name": "Snips", "path": str(root), "bucketing": True, **splits, **more}
        files = text if root.is_dir() else dict.fromkeys(text, f"{root}/no")
        return corpus_state(task, {"downstream_expert": {"corpus": corpus, "text": files}}, progress=False)
    if task == "diarization":
        folders = {f"{split}_dir": f"{root}/{split}" for split in ("train", "dev", "test")}
        return corpus_state(task, {"downstream_expert": {"datarc": more, "loaderrc": folders}}, progress=False)
    places = {"quesst14_dtw": {"dataset_root": str(root)}, "fluent_commands": {}}
    places |= {"voxceleb1": {"meta_data": f"{root}/veri_test_class.txt"}}
    data = {"file_path": str(root), **places.get(task, {"root": str(root), "meta_data": f"{root}/meta_data"}), **more}
    return corpus_state(task, {"downstream_expert": {"datarc": data}}, progress=False)


@pytest.mark.parametrize("task", CORPORA)
def test_what_is_noticed(task, tmp_path):
    root = make(task, tmp_path / "a")
    first = state(task, root)
    assert first[FILES] == COUNTS[task]
    (root / "README").write_text("nothing reads it")
    noise(root / "data" / "x.wav")
    noise(root / "Session1" / "dialog" / "wav" / "x.wav")
    root = root.rename(tmp_path / "b")
    assert state(task, root) == state(task, shutil.copytree(root, tmp_path / "copy")) == first
    states = [first]

    audio = root / AUDIO[task]
    content = bytearray(audio.read_bytes())
    content[-1] ^= 1
    audio.write_bytes(content)
    os.utime(audio, ns=(1, 1))
    states.append(state(task, root))
    name, old, new = EDITED[task]
    (root / name).write_text((root / name).read_text().replace(old, new, 1))
    states.append(state(task, root))
    audio.unlink()
    states.append(state(task, root))
    assert len({found[DIGEST] for found in states}) == 4 and states[-1][FILES] == COUNTS[task] - 1


def test_other_speakers_and_slots_are_another_corpus(tmp_path):
    root = make("ctc", tmp_path)
    first, less = state("ctc", root), state("ctc", root, train_speakers=["Ann0"])
    assert (first[FILES], less[FILES]) == (21, 18)
    (root / "slots.txt").write_text("O\nplaylist\nartist")
    assert state("ctc", root)[DIGEST] != first[DIGEST]
    (root / "test" / "Carl-snips-test-0.wav").write_bytes(b"more")
    assert state("ctc", root, test_speakers=["Ann2", "Bob2"])[FILES] == 21 and state("ctc", root)[FILES] == 22


def test_what_is_prepared_of_a_corpus_is_no_part_of_it(tmp_path):
    root = make("emotion", tmp_path)
    first = state("emotion", root)
    prepare_iemocap(root, progress=False)
    assert state("emotion", root) == state("emotion", root, test_fold="fold2") == first


@pytest.mark.parametrize("task", CORPORA)
def test_a_corpus_that_is_not_there(task, tmp_path):
    assert state(task, tmp_path / "no") == {}


@pytest.mark.parametrize(
    ("task", "words"),
    [("fluent_commands", "train_data.csv: expected"), ("voxceleb1", "line 1: "), ("diarization", "line 1: ")],
)
def test_tables_that_cannot_be_read(task, words, tmp_path):
    root = make(task, tmp_path)
    for name in ("data/train_data.csv", "veri_test_class.txt", "dev/wav.scp"):
        if (root / name).exists():
            (root / name).write_text("other")
    with pytest.raises(FitHubertError, match=words):
        state(task, root)

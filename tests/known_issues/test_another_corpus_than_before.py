"""`fithubert superb` again after the test set had grown said "done before" and gave the old number as the new one's."""

import json
import os
import shutil
from pathlib import Path

import pytest

from fithubert_upstream import demo
from fithubert_upstream.corpora.layouts.librispeech import read_splits
from fithubert_upstream.corpora.state import DIGEST, FILES, corpus_state
from fithubert_upstream.data.loader import DataConfig, build_dataloader
from fithubert_upstream.downstream import checks
from fithubert_upstream.downstream import run as run_downstream
from fithubert_upstream.downstream.asr import check_tables, prepare_librispeech
from fithubert_upstream.downstream.ctc.libriphone import forget, phone_transcripts
from fithubert_upstream.errors import FitHubertError
from fithubert_upstream.superb import run as superb
from fithubert_upstream.superb import summary
from fithubert_upstream.superb.configs import task_changes, task_config
from fithubert_upstream.superb.run import Settings, Upstream
from fithubert_upstream.superb.upstreams import Size

from ..helpers import small_corpora
from ..helpers.small_corpora import noise
from ..helpers.tiny import make_corpus

FBANK = [Upstream("fbank", "fbank")]
TASKS = {"pr": "ctc", "asr": "asr", "ks": "speech_commands", "sv": "sv_voxceleb1"}


def make(key: str, root: Path) -> Path:
    makers = {"ks": small_corpora.speech_commands, "sv": small_corpora.voxceleb1}
    return makers.get(key, lambda root: small_corpora.librispeech(root, prepared=False))(root)


def state(key: str, root: Path, monkeypatch) -> dict:
    for name in ("LIBRISPEECH", "SPEECH_COMMANDS", "VOXCELEB1"):
        monkeypatch.setenv(name, str(root))
    config = task_config(key, Settings(), task_changes(key, Settings(), Path("out")))
    return corpus_state(TASKS[key], config, progress=False)


@pytest.mark.parametrize("key", TASKS)
def test_what_is_noticed(tmp_path, monkeypatch, key):
    root = make(key, tmp_path / "corpus")
    first = state(key, root, monkeypatch)
    assert first[FILES] > 5 and state(key, shutil.copytree(root, tmp_path / "copy"), monkeypatch) == first
    (root / ".DS_Store").touch()
    (root / "README").write_text("nothing reads it")
    assert state(key, shutil.move(root, tmp_path / "moved"), monkeypatch) == first
    root = tmp_path / "moved"
    audio = sorted(path for split in ("test", "dev") for path in (root / split).rglob("*.[wf][al]*") if path.is_file())
    text = next(iter([*root.rglob("*.trans.txt"), *root.rglob("test_trials.txt")]), None)
    states = [first]

    def note():
        states.append(state(key, root, monkeypatch))

    content = bytearray(audio[0].read_bytes())
    content[-1] ^= 1
    audio[0].write_bytes(content)  # of the same name and size
    os.utime(audio[0], ns=(1, 1))
    note()
    shutil.copy(audio[0], audio[0].with_stem("new"))
    note()
    audio[1].rename(audio[1].with_stem("other"))
    note()
    audio[2].unlink()
    note()
    if text is not None:
        text.write_text(text.read_text().replace("1", "2", 1))
        note()
    assert len({found[DIGEST] for found in states}) == len(states)


@pytest.fixture
def world(tmp_path, monkeypatch):
    """A corpus for keyword spotting, and a runner that answers scores."""
    root = small_corpora.speech_commands(tmp_path / "corpus")
    monkeypatch.setenv("SPEECH_COMMANDS", str(root))
    monkeypatch.chdir(tmp_path)

    def runner(argv):
        if "train" in argv:
            folder = Path(argv[argv.index("-p") + 1])
            (folder / "dev-best.ckpt").touch()
            (folder / "states-1.ckpt").touch()
            calls.append(folder)
        return {"speech_commands/test-acc": 0.5}

    calls = []
    monkeypatch.setattr(run_downstream, "main", runner)
    monkeypatch.setattr("fithubert_upstream.superb.running.job.layer_weights", lambda checkpoint: None)  # empty files
    monkeypatch.setattr(summary, "plot", lambda rows, published, path: path.touch())
    monkeypatch.setattr("fithubert_upstream.superb.running.jobs.size_of", lambda upstream: Size(0, 0))
    monkeypatch.setattr(checks, "check_corpus", lambda args, config: None)
    return root, calls


def test_a_result_is_not_given_for_another_corpus(world, tmp_path):
    root, calls = world
    superb.run(FBANK, ["ks"], Settings(), "out")
    noise(root / "test" / "yes" / "new.wav", 0.4, seed=5)
    with pytest.raises(FitHubertError, match=r"ks: the corpus has changed since: it had (\d+) files and has .* remove"):
        superb.run(FBANK, ["ks"], Settings(), "out")
    (root / "test" / "yes" / "new.wav").unlink()
    superb.run(FBANK, ["ks"], Settings(), "out")
    assert len(calls) == 1  # done before, of this corpus
    result = Path("out/fbank/ks/result.json")
    result.unlink()  # begun, not finished
    noise(root / "test" / "yes" / "0.wav", 0.4, seed=6)
    with pytest.raises(FitHubertError, match="at least one of its .* files is different"):
        superb.run(FBANK, ["ks"], Settings(), "out")


def test_a_corpus_that_moved_is_the_same(world, tmp_path, monkeypatch, capsys):
    root, calls = world
    superb.run(FBANK, ["ks"], Settings(), "out")
    monkeypatch.setenv("SPEECH_COMMANDS", str(root.rename(tmp_path / "elsewhere")))
    superb.run(FBANK, ["ks"], Settings(), "out")
    assert len(calls) == 1 and "already done" in capsys.readouterr().out


def test_a_result_of_an_older_version_is_taken_with_a_line(world, capsys):
    superb.run(FBANK, ["ks"], Settings(), "out")
    file = Path("out/fbank/ks/result.json")
    result = json.loads(file.read_text())
    del result["settings"][FILES], result["settings"][DIGEST]
    file.write_text(json.dumps(result))
    superb.run(FBANK, ["ks"], Settings(), "out")
    assert "an older version recorded no corpus" in capsys.readouterr().out and len(world[1]) == 1


def test_joint_runs_know_their_corpora(tmp_path):
    root = small_corpora.words(tmp_path)
    config = {"downstream_expert": small_corpora.joint_block(root)}
    both, alone = [
        corpus_state("joint_ks_sv", {"downstream_expert": config["downstream_expert"] | {"tasks": tasks}}, False)
        for tasks in (["ks", "sv"], ["ks"])
    ]
    assert alone[FILES] == 36 and both[FILES] == 37  # and the list of trials
    (root / "trials.txt").write_text("1 a b\n")
    assert corpus_state("joint_ks_sv", config, False)[DIGEST] != both[DIGEST]


def test_tables_of_speech_recognition_are_of_the_corpus_of_now(tmp_path):
    root = small_corpora.librispeech(tmp_path)
    chapter = root / "train" / "1" / "7"

    def check():
        check_tables(root / "len_for_bucket", root, read_splits(root, ["train"], progress=False)[0])

    check()
    noise(chapter / "1-7-0000.flac", 2.0, seed=1)
    with pytest.raises(FitHubertError, match="train.csv.*corpus has changed.*1 of another length; run `fithubert prep"):
        check()
    noise(chapter / "1-7-0009.flac", 1.0, seed=2)
    with (chapter / "1-7.trans.txt").open("a") as file:
        file.write("1-7-0009 THE CAT\n")
    with pytest.raises(FitHubertError, match="1 not in it, 1 of another length"):
        check()
    prepare_librispeech(root, progress=False)
    check()


def test_transcripts_and_lexicons_are_read_anew_in_each_run(tmp_path):
    root = small_corpora.librispeech(tmp_path, {"train": 1}, prepared=False)
    (tmp_path / "lexicon.txt").write_text("THE DH AH0\nCAT K AE1 T\nSAT S AE1 T\nMAT M AE1 T\n")
    arguments = (str(root), ("train",), (str(tmp_path / "lexicon.txt"),), False)
    assert len(phone_transcripts(*arguments)[0][1]) == 8
    (root / "train" / "1" / "7" / "1-7.trans.txt").write_text("1-7-0000 MAT\n")
    (tmp_path / "lexicon.txt").write_text("MAT M AE1\n")
    forget()
    assert phone_transcripts(*arguments)[0][1] == ["M", "AE1"]


def test_a_distillation_that_goes_on_says_that_the_corpus_has_changed(tmp_path, capsys):
    corpus = make_corpus(tmp_path / "a")
    config = DataConfig((str(corpus),), batch_size=2)
    saved = build_dataloader(config, 0).corpus
    build_dataloader(config, 0).compare(saved)
    build_dataloader(config, 0).compare(None)  # a checkpoint of an older version
    assert "has changed" not in capsys.readouterr().out
    assert build_dataloader(DataConfig((str(corpus.rename(tmp_path / "b")),), batch_size=2), 0).corpus == saved
    noise(tmp_path / "b" / "train" / "0" / "new.flac", 0.7, seed=3)
    build_dataloader(DataConfig((str(tmp_path / "b"),), batch_size=2), 0).compare(saved)
    assert "the corpus has changed since the checkpoint" in capsys.readouterr().out


def test_a_demo_of_a_real_corpus_knows_it(tmp_path, capsys):
    root = make("pr", tmp_path / "corpus")
    settings = demo.Settings(str(root), None, None, ["train"], ["dev"], ["test"], {}, 1, [1] * 4, 0)
    demo._claim(tmp_path / "out", settings)
    demo._claim(tmp_path / "out", settings)
    noise(root / "train" / "1" / "7" / "new.flac", 0.7, seed=3)
    with pytest.raises(FitHubertError, match="the corpus has changed since"):
        demo._claim(tmp_path / "out", settings)
    file = tmp_path / "out" / "settings.json"
    file.write_text(json.dumps({k: v for k, v in json.loads(file.read_text()).items() if k not in (FILES, DIGEST)}))
    demo._claim(tmp_path / "out", settings)
    assert "an older version recorded no corpus" in capsys.readouterr().out

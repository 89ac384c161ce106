"""What else was given for a corpus that is another now: a result whose corpus changed while it was made, a model's
numbers of symbols after `prepare`, the best loss on another validation set, a synthetic corpus that lost files, the
length of a file that was replaced by one of the same size and time."""

import argparse
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
import yaml

from fithubert_upstream.audio.scan import count_samples, scan
from fithubert_upstream.corpora.synthetic import corpus as synthetic
from fithubert_upstream.data.sources import AudioFolder
from fithubert_upstream.distillation.train import main as distill
from fithubert_upstream.downstream import run as run_downstream
from fithubert_upstream.downstream.asr import prepare_librispeech
from fithubert_upstream.downstream.run_corpus import compare_corpus
from fithubert_upstream.errors import FitHubertError
from fithubert_upstream.joint import report as joint_report
from fithubert_upstream.superb import summary
from fithubert_upstream.superb.run import Settings, Upstream, run
from fithubert_upstream.superb.upstreams import Size

from ..helpers import small_corpora
from ..helpers.small_corpora import noise
from ..helpers.tiny import make_corpus, make_teacher, write_configs

FBANK = [Upstream("fbank", "fbank")]
ADAM = {"name": "TorchOptim", "torch_optim_name": "Adam", "lr": 1.0e-3}
SETTINGS = Settings(overrides=(("ks", "downstream_expert.datarc.batch_size", 2),))


@pytest.fixture
def runner(monkeypatch):
    """Trains by writing a checkpoint, answers scores; the calls are remembered."""
    calls = []

    def main(argv):
        calls.append(argv)
        if argv[1] == "train":
            folder = Path(argv[argv.index("-p") + 1])
            names = ("states-2.ckpt", "dev-best.ckpt", "dev-clean-best.ckpt")
            [(folder / name).touch() for name in names]
        scores = ("ctc-libriphone/test-per", "asr/test-clean-wer", "speech_commands/test-acc", "sv-voxceleb1/test-EER")
        return {tag: 0.25 for tag in (*scores, "joint_ks_sv/test-acc", "joint_ks_sv/test-eer")}

    monkeypatch.setattr(run_downstream, "main", main)
    monkeypatch.setattr("fithubert_upstream.superb.running.job.layer_weights", lambda checkpoint: None)  # empty files
    monkeypatch.setattr(summary, "plot", lambda rows, published, path: None)
    monkeypatch.setattr("fithubert_upstream.superb.running.jobs.size_of", lambda upstream: Size(0, 0))
    monkeypatch.setattr(joint_report, "plot", lambda runs, path, comparable: None)
    return calls


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    root = tmp_path_factory.mktemp("whole")
    small_corpora.librispeech(root / "libri")
    small_corpora.speech_commands(root / "commands")
    small_corpora.voxceleb1(root / "vox")
    small_corpora.words(root / "words")
    return root


@pytest.fixture
def corpora(whole, tmp_path, monkeypatch):
    """Three corpora that may be changed."""
    root = tmp_path / "corpora"
    shutil.copytree(whole, root)
    for name, folder in (("LIBRISPEECH", "libri"), ("SPEECH_COMMANDS", "commands"), ("VOXCELEB1", "vox")):
        monkeypatch.setenv(name, str(root / folder))
    monkeypatch.chdir(tmp_path)
    return root


def touch(path: Path, ns: int) -> None:
    os.utime(path, ns=(ns, ns))


def replace_quietly(path: Path) -> None:
    """Other audio of the same name, size and time."""
    before = path.stat()
    data = bytearray(path.read_bytes())
    data[-200:-100] = bytes(b ^ 1 for b in data[-200:-100])
    path.write_bytes(data)
    touch(path, before.st_mtime_ns)
    assert path.stat().st_size == before.st_size and path.stat().st_mtime_ns == before.st_mtime_ns


def edit(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))


CHANGES = {
    "a clip more": ("ks", lambda root: noise(root / "commands/test/yes/new.wav", 0.4, 99)),
    "a clip of train less": ("ks", lambda root: next((root / "commands/train/bed").iterdir()).unlink()),
    "a clip renamed": ("ks", lambda root: (root / "commands/test/yes/0.wav").rename(root / "commands/test/yes/x.wav")),
    "a clip replaced": ("ks", lambda root: replace_quietly(root / "commands/test/yes/0.wav")),
    "an utterance replaced": ("sv", lambda root: replace_quietly(root / "vox/test/wav/id10101/s0/00001.wav")),
    "a trial's label": ("sv", lambda root: edit(root / "vox/test_trials.txt", "1 ", "0 ")),
    "the dev trials": ("sv", lambda root: edit(root / "vox/dev_trials.txt", "0 ", "1 ")),
    "a transcript": ("pr", lambda root: edit(root / "libri/test/3/7/3-7.trans.txt", "THE", "HAT")),
    "a transcript of ASR": ("asr", lambda root: edit(root / "libri/train/1/7/1-7.trans.txt", "THE", "HAT")),
    "a folder linked in": ("asr", lambda root: os.symlink(root / "libri/dev/2", root / "libri/test/2")),
}


@pytest.mark.parametrize("finished", [True, False])
@pytest.mark.parametrize("what", CHANGES)
def test_superb(runner, corpora, what, finished):
    task, change = CHANGES[what]
    if task == "asr":
        prepare_librispeech(corpora / "libri", progress=False)
    run(FBANK, [task], SETTINGS if task == "ks" else Settings(), "out")
    if not finished:
        (Path("out/fbank") / task / "result.json").unlink()
    count = len(runner)
    change(corpora)
    with pytest.raises(FitHubertError, match="out/fbank/.*: the corpus has changed since: .*; remove"):
        run([*FBANK, Upstream("more", "fbank")], [task], SETTINGS if task == "ks" else Settings(), "out")
    assert len(runner) == count  # nothing is mixed into the table


def test_a_corpus_that_changes_meanwhile(runner, corpora, monkeypatch):
    grow = run_downstream.main

    def main(argv):
        if argv[1] == "evaluate":
            noise(corpora / "commands/test/yes/new.wav", 0.4, 99)
        return grow(argv)

    monkeypatch.setattr(run_downstream, "main", main)
    monkeypatch.setattr("fithubert_upstream.superb.running.job.layer_weights", lambda checkpoint: None)  # empty files
    with pytest.raises(FitHubertError, match="KS on fbank: the corpus has changed since: .*, while the command was"):
        run(FBANK, ["ks"], SETTINGS, "out")
    assert not Path("out/fbank/ks/result.json").exists()


@pytest.mark.parametrize("kind", ["ks", "sv"])
def test_joint_report(runner, corpora, kind):
    steps = {"total_steps": 4, "log_step": 2, "eval_step": 2, "save_step": 2}
    block = small_corpora.joint_block(corpora / "words")
    Path("joint.yaml").write_text(yaml.safe_dump({"runner": steps, "optimizer": ADAM, "downstream_expert": block}))
    plan = joint_report.Plan(config="joint.yaml", seeds=(1,), modes=("frozen",), tasks=(kind,))
    joint_report.run(FBANK, plan, "out")
    joint_report.run(FBANK, plan, "out")
    assert len(runner) == 2
    if kind == "sv":
        edit(corpora / "words/trials.txt", "1 ", "0 ")
    else:
        shutil.copy(corpora / "words/s5/cat-00.flac", corpora / "words/s5/cat-07.flac")
    with pytest.raises(FitHubertError, match="the corpus has changed since"):
        joint_report.run(FBANK, plan, "out")
    assert len(runner) == 2


def add_utterance(chapter: Path) -> None:
    noise(chapter / "1-7-0009.flac", 0.8, seed=9)
    with (chapter / "1-7.trans.txt").open("a") as file:
        file.write("1-7-0009 A HAT\n")


def asr_run(root: Path, mode: str, begun: dict, **more) -> argparse.Namespace:
    """Flags of a run whose checkpoint remembers `begun`; compared with the corpus of now."""
    args = argparse.Namespace(mode=mode, downstream="asr", begun=begun, past_exp="run", init_ckpt=None, **more)
    data = {"libri_root": str(root), "bucket_file": str(root / "len_for_bucket"), "train": ["train"]}
    compare_corpus(
        args, {"downstream_expert": {"datarc": data | {"dict_path": str(root / "len_for_bucket/char.dict")}}}
    )
    return args


def test_a_run_that_goes_on(corpora, capsys, monkeypatch):
    root = prepare_librispeech(corpora / "libri", progress=False).parent
    begun = {}
    asr_run(root, "train", begun)
    asr_run(root, "train", begun), asr_run(root, "evaluate", begun)
    assert "changed" not in capsys.readouterr().out
    add_utterance(root / "train/1/7")
    asr_run(root, "train", begun)
    assert "has changed since: it had 7 files and has 8 now; training continues" in capsys.readouterr().out
    asr_run(root, "evaluate", begun)  # its numbers are computed anew
    asr_run(root, "evaluate", {})  # of a version that noted nothing
    assert "changed" not in capsys.readouterr().out


def test_a_dictionary_that_was_written_anew(corpora, monkeypatch):
    """A trained model spelt with the new numbers: an error rate near 100 %, and no word."""
    root = prepare_librispeech(corpora / "libri", progress=False).parent
    begun = {}
    asr_run(root, "train", begun)
    transcript = root / "train/1/7/1-7.trans.txt"
    edit(transcript, "THE CAT SAT", "ZOO ZOO ZOO ZOO")
    prepare_librispeech(root, progress=False)
    for mode in ("train", "evaluate"):
        with pytest.raises(FitHubertError, match="char.dict: expected its symbols in the order that the model"):
            asr_run(root, mode, begun)
    monkeypatch.setattr(
        "fithubert_upstream.downstream.run_corpus.read_run", lambda *_: {"Args": argparse.Namespace(begun=begun)}
    )
    args = argparse.Namespace(mode="evaluate", downstream="asr", begun={}, past_exp=None, init_ckpt="run/states-2.ckpt")
    data = {"dict_path": str(root / "len_for_bucket/char.dict")}
    with pytest.raises(FitHubertError, match="train again, or give the old file"):
        compare_corpus(args, {"downstream_expert": {"datarc": data}})


def test_lengths_of_replaced_files(tmp_path):
    """WAVs of one size and time: the length of the first was remembered."""
    file = tmp_path / "corpus" / "a.wav"
    noise(file, 1.0, 0)
    assert scan([file], count_samples, "Test", False) == {file: 16000}
    assert AudioFolder(file.parent).seconds.tolist() == [1.0]
    before = file.stat()
    soundfile.write(file, np.full((8000, 2), 0.1), 16000)  # half as long, in stereo
    touch(file, before.st_mtime_ns)
    assert file.stat().st_size == before.st_size
    assert scan([file], count_samples, "Test", False) == {file: 8000}
    assert AudioFolder(file.parent).seconds.tolist() == [0.5]


@pytest.fixture
def distillation(tmp_path):
    make_teacher(tmp_path / "teacher"), make_corpus(tmp_path / "corpus")
    return tmp_path


def test_a_distillation_that_goes_on(distillation, capsys):
    """It went on without a word, and kept the best loss on the validation set of before."""
    train, valid = distillation / "corpus" / "train" / "0", distillation / "corpus" / "train" / "1"
    model, _ = write_configs(distillation, distillation / "teacher", distillation / "corpus")
    trainer = {"precision": "32-true", "log_every": 1, "save_every": 1, "valid_every": 1}
    data = {"train": [str(train)], "valid": [str(valid)], "batch_size": 2}
    Path(distillation / "train.yaml").write_text(yaml.safe_dump({"data": data, "optimizer": {}, "trainer": trainer}))
    flags = ["-g", str(model), "-c", str(distillation / "train.yaml"), "-p", str(distillation / "run")]
    for steps in (1, 2):
        distill([*flags, f"trainer.steps={steps}"])
    assert "has changed" not in capsys.readouterr().out
    state = distillation / "run" / "last.ckpt"
    content = torch.load(state, weights_only=True)
    torch.save(content | {"best": 0.0}, state)
    noise(valid / "new.flac", 0.7, 1)
    distill([*flags, "trainer.steps=3"])
    assert "data.valid has changed since the checkpoint" in capsys.readouterr().out
    assert torch.load(state, weights_only=True)["best"] > 0
    noise(train / "new.flac", 0.7, 1)
    distill([*flags, "trainer.steps=4"])
    out = capsys.readouterr().out
    assert "the corpus has changed since the checkpoint" in out and "data.valid has" not in out


def test_a_synthetic_corpus_that_changed(tmp_path):
    """It was kept as complete."""
    plan = synthetic.Corpus(synthetic.describe("test", 1, {"train": 1.0}, 0), {}, [synthetic.Piece(1.0, write_clips)])
    root = synthetic.write_corpus(tmp_path / "data", plan, jobs=1, progress=False)
    (root / "len_for_bucket").mkdir()  # of `fithubert prepare`
    assert synthetic.is_complete(root, plan.parameters)
    for name, now in (("a.wav", 1), ("b.wav", 0)):
        (root / name).unlink()
        with pytest.raises(FitHubertError, match=f"the corpus has changed since: it had 2 files and has {now} now"):
            synthetic.write_corpus(root, plan, jobs=1, progress=False)


def write_clips(folder: Path) -> None:
    for name in "ab":
        noise(folder / f"{name}.wav", 0.1, 0)


def test_modes_of_a_joint_report_on_corpora_of_their_own(runner, corpora):
    """`--override fine-tuned:...root=` names another corpus: each mode is compared with its own."""
    steps = {"total_steps": 4, "log_step": 2, "eval_step": 2, "save_step": 2}
    block = small_corpora.joint_block(corpora / "words")
    Path("joint.yaml").write_text(yaml.safe_dump({"runner": steps, "optimizer": ADAM, "downstream_expert": block}))
    shutil.copytree(corpora / "words", corpora / "other")
    overrides = (("fine-tuned", "downstream_expert.ks.root", str(corpora / "other")),)
    plan = joint_report.Plan(config="joint.yaml", seeds=(1,), tasks=("ks",), overrides=overrides)
    joint_report.run(FBANK, plan, "out")
    replace_quietly(corpora / "words/s5/cat-00.flac")
    with pytest.raises(FitHubertError, match="out/fbank/frozen/ks/seed-1: the corpus has changed since"):
        joint_report.run(FBANK, plan, "out")

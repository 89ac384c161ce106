"""Workers started by spawn or forkserver (macOS, Windows, Python 3.14) lacked the repairs of s3prl and died."""

import os
import pickle
import subprocess
import sys
from functools import partial
from multiprocessing.reduction import ForkingPickler

import pytest
import torch

from fithubert_upstream import s3prl_compat
from fithubert_upstream.data import DataConfig, build_dataloader
from fithubert_upstream.downstream.joint_ks_sv.loader import TrainBatches
from fithubert_upstream.workers import Work, mended_process, mended_workers

from .. import small_corpora
from ..conftest import REPO
from ..tiny import make_corpus

METHODS = [method for method in ("forkserver", "spawn") if method in torch.multiprocessing.get_all_start_methods()]
RUN = """
import multiprocessing, sys
if __name__ == "__main__":
    multiprocessing.set_start_method(sys.argv[1])
    from fithubert_upstream.cli import main
    sys.exit(main(sys.argv[2:]))
"""


def in_a_new_process(target, *args) -> str:
    """What a function prints in a process that knows nothing of s3prl yet."""
    content = bytes(ForkingPickler.dumps(Work(target, args)))
    code = "import pickle, sys; work = pickle.loads(sys.stdin.buffer.read()); work.target(*work.args)"
    done = subprocess.run([sys.executable, "-c", code], input=content, capture_output=True, check=True, cwd=REPO)
    return done.stdout.decode()


def test_datasets_of_all_tasks_work_in_a_new_process(tmp_path):
    s3prl_compat.apply()
    from s3prl.downstream.ctc.data import collect_audio_batch

    from fithubert_upstream import s3prl_datasets
    from fithubert_upstream.downstream.libriphone import LibriPhoneDataset

    libri = small_corpora.librispeech(tmp_path / "L", {"train": 2})
    commands = small_corpora.speech_commands(tmp_path / "S")
    vox = small_corpora.voxceleb1(tmp_path / "V")
    test = s3prl_datasets.TestClips(speech_commands_test_root=str(commands / "test"))
    sv = s3prl_datasets.SpeakerClips({"min_sec": 0}, ["x"], [str(vox / "dev" / "wav")], None)
    tokenizer = Tokenizer()
    pr = LibriPhoneDataset(["train"], tokenizer, 1, str(libri), ["cmudict"])
    said = in_a_new_process(show, [test, sv, pr], partial(collect_audio_batch, split="dev"))
    assert said.split() == [str(len(test[0][0])), str(len(sv[0][0])), str(len(pr[0][1]))]


class Tokenizer:
    unk_idx = -1

    def encode(self, phones: str) -> list[int]:
        return list(range(len(phones.split())))


def show(datasets, collate):
    for dataset in datasets:
        item = dataset[0]
        print(len(item[0]) if not isinstance(item[1], list) else len(collate([item])[1][0]))


def test_under_fork_a_process_is_started_as_ever(monkeypatch):
    process = mended_process(target=print, args=("x",))
    if torch.multiprocessing.get_start_method() == "fork":
        assert process._target is print and process._args == ("x",)
    context = torch.multiprocessing.get_context("spawn")
    monkeypatch.setattr(torch.multiprocessing, "get_context", lambda: context)
    process = mended_process(target=print, args=("x",))
    assert isinstance(process._args[0], Work) and process._args[0].target is print


def test_in_the_block_only():
    before = torch.multiprocessing.Process
    with mended_workers():
        assert torch.multiprocessing.Process is mended_process
    assert torch.multiprocessing.Process is before


@pytest.mark.slow
@pytest.mark.parametrize("method", METHODS)
def test_distillation_has_the_same_batches(tmp_path, method):
    make_corpus(tmp_path)
    batches = []
    for workers in (0, 1):
        config = DataConfig(train=(str(tmp_path),), batch_size=2, num_workers=workers)
        loader = build_dataloader(config, seed=1)
        if workers:
            loader.multiprocessing_context = method
        batches.append([next(iter(loader))[0] for _ in range(1)])
    assert all(torch.equal(one, other) for one, other in zip(*batches, strict=True))


def test_joint_batches_can_be_sent():
    batches = TrainBatches({}, seed=1)
    assert pickle.loads(pickle.dumps(batches)).seed == 1


@pytest.mark.slow
@pytest.mark.parametrize("method", METHODS[:1])
def test_a_task_trains(tmp_path, method):
    root = small_corpora.speech_commands(tmp_path / "S")
    (tmp_path / "run.py").write_text(RUN)
    data, runner = "config.downstream_expert.datarc", "config.runner"
    steps = ",,".join(f"{runner}.{name}=1" for name in ("total_steps", "eval_step", "save_step", "log_step"))
    words = ["-m", "train", "-u", "fbank", "-d", "speech_commands", "-c", "mini/ks.yaml", "-n", "x"]
    words += ["-o", f"{steps},,{data}.num_workers=1,,{data}.batch_size=4"]
    command = [sys.executable, "run.py", method, "downstream", *words]
    environment = os.environ | {"PYTHONPATH": str(REPO)}
    environment |= {"SPEECH_COMMANDS": str(root)}  # which the config names
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "result" / "downstream" / "x" / "states-1.ckpt").is_file()

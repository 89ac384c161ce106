"""Workers started by spawn or forkserver (macOS, Windows, Python 3.14) died: they lacked the repairs of s3prl.

Python also lets each process that starts afresh import the user's script: without `if __name__ == "__main__":` pools
broke or started for ever, on Linux as well.
"""

import multiprocessing
import os
import pickle
import signal
import subprocess
import sys
import types
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from functools import partial

import pytest
import torch
from torch.utils.data import ConcatDataset, DataLoader, Subset

from fithubert_upstream.compat import s3prl as s3prl_compat
from fithubert_upstream.compat.s3prl_workers import RepairedWorker, repaired_workers
from fithubert_upstream.data.loader import DataConfig, build_dataloader
from fithubert_upstream.downstream.joint_ks_sv.clips import Clip
from fithubert_upstream.downstream.joint_ks_sv.loader import ScoredClips
from fithubert_upstream.runs.workers import SpawnContext, Worker

from ..conftest import REPO
from ..helpers import small_corpora
from ..helpers.tiny import make_corpus


@pytest.fixture
def start_by():
    """Sets the default start method for the length of a test."""
    before = multiprocessing.get_start_method()
    yield partial(multiprocessing.set_start_method, force=True)
    multiprocessing.set_start_method(before, force=True)


@pytest.fixture
def script(tmp_path, monkeypatch):
    """The running script, which leaves the file `ran` when it is imported."""
    main = types.ModuleType("__main__")
    main.__file__ = str(tmp_path / "script.py")
    (tmp_path / "script.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w').close()")
    monkeypatch.setitem(sys.modules, "__main__", main)
    return main


def test_a_pool_does_not_import_the_script(script, tmp_path):
    with ProcessPoolExecutor(1, SpawnContext()) as pool:
        assert pool.submit(abs, -1).result() == 1
    with SpawnContext().Pool(1) as pool:
        assert pool.map(abs, [-1]) == [1]
    assert not (tmp_path / "ran").exists() and sys.modules["__main__"] is script


def test_a_worker_imports_no_script_and_sits_out_ctrl_c(script, tmp_path, start_by):
    start_by("spawn")
    worker = Worker(target=signal.raise_signal, args=(signal.SIGINT,))
    worker.start()
    worker.join()
    assert worker.exitcode == 0 and not (tmp_path / "ran").exists() and sys.modules["__main__"] is script


@pytest.mark.skipif("fork" not in multiprocessing.get_all_start_methods(), reason="needs fork")
def test_a_forked_worker_is_as_ever(script, start_by):
    start_by("fork")
    before = signal.getsignal(signal.SIGINT)

    def compare():
        sys.exit(0 if sys.modules["__main__"] is script and signal.getsignal(signal.SIGINT) is before else 3)

    worker = Worker(target=compare)
    worker.start()
    worker.join()
    assert worker.exitcode == 0


@pytest.mark.slow
def test_a_worker_reads_the_data_of_all_tasks(tmp_path, start_by):
    s3prl_compat.apply()
    from s3prl.downstream.asr.dictionary import Dictionary
    from s3prl.downstream.ctc.data import collect_audio_batch

    from fithubert_upstream.downstream.ctc.libriphone import LibriPhoneDataset
    from fithubert_upstream.downstream.ctc.snips import SnipsDataset
    from fithubert_upstream.downstream.repairs.datasets import (
        Emotions,
        IdentifiedClips,
        Intents,
        SpeakerClips,
        TestClips,
        Utterances,
        intents_table,
    )
    from fithubert_upstream.downstream.repairs.diarization import Conversations

    made = [getattr(small_corpora, name)(tmp_path / name) for name in CORPORA]
    libri, commands, vox, fluent, actors, snips, pairs = made
    table = intents_table(str(fluent / "data" / "test_data.csv"))
    slots = {slot: {value: 0 for value in table[slot]} for slot in ("action", "object", "location")}
    emotions = next(actors.rglob("test_meta_data.json"))
    tables = next(libri.rglob("train.csv")).parent
    words = WhateverTokenizer()
    datasets = {
        "pr": LibriPhoneDataset(["train"], words, 1, str(libri), ["cmudict"]),
        "asr": Utterances("train", 2, Dictionary(), str(libri), str(tables), train=["train"]),
        "ks": TestClips(speech_commands_test_root=str(commands / "test")),
        "sv": SpeakerClips({"min_sec": 0}, ["x"], [str(vox / "dev" / "wav")], None),
        "ic": Intents(table, str(fluent), slots),
        "sid": IdentifiedClips("test", vox, str(vox / "veri_test_class.txt")),
        "er": Emotions(str(actors), str(emotions), pre_load=True),
        "sf": SnipsDataset(["train"], words, 2, str(snips)),
        "sd": Conversations("test", str(pairs / "test"), chunk_size=9, frame_shift=320, num_speakers=2),
        "joint": ScoredClips([(Clip(next(vox.rglob("*.wav")), "x"), 0)], [], 0.0),
    }
    datasets["pr"].collate_fn = partial(collect_audio_batch, split="dev")
    one_each = ConcatDataset([Subset(dataset, [0]) for dataset in datasets.values()])
    start_by("spawn")
    with repaired_workers():
        found = list(DataLoader(one_each, batch_size=None, num_workers=1, collate_fn=list))
    assert [pickle.dumps(item) for item in found] == [pickle.dumps(list(item)) for item in one_each]


CORPORA = ("librispeech", "speech_commands", "voxceleb1", "fluent_commands", "iemocap", "snips", "librimix")


class WhateverTokenizer:
    unk_idx = -1

    def encode(self, phones: str) -> list[int]:
        return list(range(len(phones.split())))


def test_loaders_have_these_workers(tmp_path, monkeypatch):
    seen = []
    monkeypatch.setattr(DataLoader, "__iter__", lambda loader: seen.append(torch.multiprocessing.Process) or iter(()))
    list(build_dataloader(DataConfig(train=(str(make_corpus(tmp_path)),), batch_size=2), seed=1))
    with repaired_workers():
        list(DataLoader([]))
    list(DataLoader([]))
    assert seen == [Worker, RepairedWorker, multiprocessing.Process]


@pytest.mark.slow
def test_distillation_has_the_same_batches(tmp_path, start_by):
    config = DataConfig(train=(str(make_corpus(tmp_path)),), batch_size=2)
    expected = list(build_dataloader(config, seed=1))
    start_by("spawn")
    found = list(build_dataloader(replace(config, num_workers=2), seed=1))
    assert all(map(torch.equal, *([batch.waveforms for batch in batches] for batches in (expected, found))))
    assert len(found) == len(expected) == 4


@pytest.mark.slow
def test_a_task_trains(tmp_path):
    """In a script that has no `if __name__ == "__main__":`."""
    method = multiprocessing.get_all_start_methods()[-1]  # forkserver where there is one
    data, runner = "config.downstream_expert.datarc", "config.runner"
    steps = ",,".join(f"{runner}.{name}=2" for name in ("total_steps", "eval_step", "save_step", "log_step"))
    words = ["downstream", "-m", "train", "-u", "fbank", "-d", "speech_commands", "-c", "mini/ks.yaml", "-p", "x"]
    words += ["--device", "cpu", "-o", f"{steps},,{data}.num_workers=1,,{data}.batch_size=2"]
    (tmp_path / "script.py").write_text(
        f"import multiprocessing; multiprocessing.set_start_method({method!r})\n"
        f"from fithubert_upstream.cli import main\nassert main({words!r}) == 0\n"
    )
    environment = {"PYTHONPATH": str(REPO), "SPEECH_COMMANDS": str(small_corpora.speech_commands(tmp_path / "corpus"))}
    done = subprocess.run(
        [sys.executable, "script.py"], cwd=tmp_path, env=os.environ | environment, capture_output=True, text=True
    )
    assert done.returncode == 0 and (tmp_path / "x" / "states-2.ckpt").is_file(), done.stderr

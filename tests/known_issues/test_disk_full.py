"""A full disk or a quota, met while a checkpoint or a model was written, ended in a traceback of torch's zip writer or
of safetensors; s3prl had removed the older checkpoint before."""

import contextlib
import csv
import errno
import os
import pickle
from functools import partial

import numpy as np
import pytest
import soundfile
import torch
from safetensors.torch import save_file

from fithubert_upstream.cli import main as cli
from fithubert_upstream.compat.runs import atomic_torch_save
from fithubert_upstream.compat.tensorboard import drop_what_cannot_be_written
from fithubert_upstream.corpora.synthetic.corpus import Corpus, Piece, write_corpus
from fithubert_upstream.distillation.log import TrainLog
from fithubert_upstream.distillation.state import write_state
from fithubert_upstream.errors import FitHubertError
from fithubert_upstream.files import atomic_path, write_text
from fithubert_upstream.upstream.feature_cache import CachedUpstream

resource = pytest.importorskip("resource")
LARGE = torch.zeros(200_000)


@contextlib.contextmanager
def room(limit: int):
    """Files may not grow larger in the block."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def by_file_object(path):
    with path.open("wb") as file:
        torch.save({"weights": LARGE}, file)


WRITERS = {
    "torch": partial(torch.save, {"weights": LARGE}),
    "torch, to a file object": by_file_object,
    "safetensors": partial(save_file, {"weights": LARGE}),
    "numpy": lambda path: np.save(path.open("wb"), LARGE.numpy()),
    "text": lambda path: path.write_text("x" * 500_000),
    "csv": lambda path: csv.writer(path.open("w")).writerows([["x" * 1000]] * 500),
}


@pytest.mark.parametrize("kind", WRITERS)
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # files that are closed by chance
def test_one_line_and_the_old_file(tmp_path, kind):
    path = tmp_path / "file"
    path.write_text("old")

    with room(100_000), pytest.raises(FitHubertError, match=r"file: cannot be written \(.+\); make room"):
        with atomic_path(path) as temporary:
            WRITERS[kind](temporary)
    assert path.read_text() == "old" and [p.name for p in tmp_path.iterdir()] == ["file"]


def test_other_errors_stay_what_they_are(tmp_path):
    for error in (RuntimeError("mat1 and mat2"), FileNotFoundError(errno.ENOENT, "no", "other"), KeyError("a")):
        with pytest.raises(type(error)), atomic_path(tmp_path / "file"):
            raise error
    assert not list(tmp_path.iterdir())


def test_distillations_state(tmp_path):
    path = tmp_path / "last.ckpt"
    write_state({"step": 1}, path)
    before = path.read_bytes()
    with room(100_000), pytest.raises(FitHubertError, match="last.ckpt: cannot be written"):
        write_state({"step": 2, "weights": LARGE}, path)
    assert path.read_bytes() == before and [p.name for p in tmp_path.iterdir()] == ["last.ckpt"]


def test_s3prl_removes_an_older_checkpoint_when_the_new_one_is_there(tmp_path):
    """As its runners do with `max_keep: 1`."""
    old, best, new = (tmp_path / name for name in ("states-1.ckpt", "dev-best.ckpt", "states-2.ckpt"))
    with atomic_torch_save():
        torch.save({"step": 1}, str(old))
        os.remove(str(old))
        with room(100_000), pytest.raises(FitHubertError, match="states-2.ckpt: cannot be written"):
            torch.save({"step": 2, "weights": LARGE}, str(new))
        assert torch.load(old) == {"step": 1}
        torch.save({"step": 2}, str(best))
        assert old.exists()
        torch.save({"step": 2}, str(new))
        assert not old.exists()
        os.remove(str(new))  # and written again under its own name
        torch.save({"step": 3}, str(new))
    assert torch.load(new) == {"step": 3}
    assert sorted(p.name for p in tmp_path.iterdir()) == ["dev-best.ckpt", "states-2.ckpt"]


def full(*args, **kwargs):
    raise OSError(errno.ENOSPC, "No space left on device")


def test_tensorboard_does_not_stop_the_training(tmp_path, monkeypatch, capsys):
    """Its thread died, and the training waited for ever to put an eleventh number into its queue."""
    from tensorboardX import SummaryWriter
    from tensorboardX.record_writer import RecordWriter

    drop_what_cannot_be_written()
    with SummaryWriter(str(tmp_path)) as board:
        monkeypatch.setattr(RecordWriter, "write", full)
        for step in range(30):
            board.add_scalar("loss", 1.0, step)
        board.flush()
    assert capsys.readouterr().err.count("TensorBoard's log is not complete (No space left on device)") == 1


def test_the_log_of_losses_is_named(tmp_path):
    log = TrainLog(tmp_path, ["layer_1"], 0, 2)
    row = {"step": 1, "loss": 1.0, "layer_1": 1.0, "valid": None, "lr": 1e-3, "hours_per_hour": 1.0}
    with room((tmp_path / "losses.csv").stat().st_size + 4), pytest.raises(FitHubertError, match="losses.csv: cannot"):
        log.add(row)
    log.close()


class Layer(torch.nn.Module):
    def forward(self, wavs):
        return {"hidden_states": torch.stack(wavs)[..., None]}


@torch.no_grad()
def test_a_feature_cache_takes_no_more_and_is_read(tmp_path, monkeypatch, capsys):
    wavs = [torch.ones(1000)]
    CachedUpstream(Layer().eval(), "hidden_states", tmp_path)(wavs)
    cache = CachedUpstream(Layer().eval(), "hidden_states", tmp_path)
    monkeypatch.setattr("fithubert_upstream.upstream.feature_cache.save_file", full)
    for wavs in ([torch.zeros(1000)], [torch.ones(1000)], [torch.zeros(1000)]):
        assert cache(wavs)["hidden_states"].shape == (1, 1000, 1)
    assert cache.found == 1 and capsys.readouterr().err.count("nothing more is kept") == 1


def test_the_command_tells_it_in_one_line(tmp_path, capsys):
    with room(100_000):
        assert cli(["convert", embedded(), "-o", str(tmp_path / "copy.safetensors")]) == 2
    error = capsys.readouterr().err
    assert error.startswith("fithubert convert: ") and "copy.safetensors: cannot be written (File too large)" in error
    assert error.count("\n") == 1 and not list(tmp_path.iterdir())


def write_sound(folder):
    soundfile.write(folder / "a.wav", np.zeros(200_000), 16_000)


def test_a_synthetic_corpus(tmp_path):
    """With several processes it waited for ever: libsndfile's errors cannot be handed from one to another."""
    corpus = Corpus({"layout": "test"}, {}, [Piece(1.0, write_sound)] * 2)
    with room(100_000), pytest.raises(FitHubertError, match="c.partial: cannot be written .*; make room") as error:
        write_corpus(tmp_path / "c", corpus, 1, progress=False)
    assert str(pickle.loads(pickle.dumps(error.value))) == str(error.value)
    assert not list(tmp_path.iterdir())


def embedded() -> str:
    from fithubert_upstream import assets

    return str(assets.find("fithubert_mini"))


def test_names_as_long_as_they_may_be(tmp_path):
    write_text(tmp_path / ("a" * 255), "all")
    assert (tmp_path / ("a" * 255)).read_text() == "all"

"""Tables without training: a runner that only writes files, and empty corpora."""

from types import SimpleNamespace

import pytest

from fithubert_upstream.downstream import checks
from fithubert_upstream.downstream import run as run_downstream
from fithubert_upstream.superb import run as superb
from fithubert_upstream.superb import summary
from fithubert_upstream.superb.running import job, jobs
from fithubert_upstream.superb.upstreams import Size

from ..helpers.superb_runs import Runner


@pytest.fixture
def runner(monkeypatch):
    runner = Runner()
    monkeypatch.setattr(run_downstream, "main", runner)
    monkeypatch.setattr(job, "layer_weights", lambda checkpoint: [0.25, 0.75])  # the runner's are empty files
    monkeypatch.setattr(summary, "draw_layers", lambda weights, path: path.touch())  # test_layers draws it
    monkeypatch.setattr(summary, "plot", lambda rows, published, path: path.touch())  # test_report draws it
    monkeypatch.setattr(jobs, "size_of", lambda upstream: Size(0 if upstream.name == "fbank" else 1_234_567, 0))
    return runner


@pytest.fixture
def corpora(tmp_path, monkeypatch):
    """Three empty corpora that the environment names, and the tables that get prepared."""
    for name in ("LIBRISPEECH", "SPEECH_COMMANDS", "VOXCELEB1"):
        (tmp_path / name.lower()).mkdir()
        monkeypatch.setenv(name, str(tmp_path / name.lower()))
    monkeypatch.chdir(tmp_path)
    prepared, checked = [], []
    monkeypatch.setattr(
        superb, "prepare_librispeech", lambda root, output, splits: prepared.append((str(root), str(output), splits))
    )
    monkeypatch.setattr(checks, "check_corpus", lambda args, config: checked.append((args.downstream, args.mode)))
    return SimpleNamespace(root=tmp_path, prepared=prepared, checked=checked)


@pytest.fixture
def student(corpora):
    path = corpora.root / "student.safetensors"
    path.write_bytes(b"weights")
    return path

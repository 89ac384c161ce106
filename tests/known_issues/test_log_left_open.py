"""s3prl's runners leave their TensorBoard log open when a run fails, and Python 3.12 then prints a traceback
at exit, below the one line that says what was wrong."""

import pytest

from fithubert_upstream.compat import s3prl as s3prl_compat
from fithubert_upstream.compat.modules import pretrain_runner
from fithubert_upstream.compat.runs import recorded_scalars
from fithubert_upstream.errors import FitHubertError
from fithubert_upstream.pretrain.run import main

from ..helpers.tiny import make_corpus, make_teacher, write_configs


def watch(monkeypatch, module) -> list[str]:
    """Note when a log of this module's is opened and closed."""
    events = []

    class Watched(module.SummaryWriter):
        def __init__(self, *args, **kwargs):
            super().__init__(*args, **kwargs)
            events.append("opened")

        def close(self):
            super().close()
            events.append("closed")

    monkeypatch.setattr(module, "SummaryWriter", Watched)
    return events


def test_pretrain_closes_it_on_a_mistake(tmp_path, monkeypatch):
    import sys

    s3prl_compat.apply()
    pretrain_runner()
    events = watch(monkeypatch, sys.modules["s3prl.pretrain.runner"])
    corpus, teacher = make_corpus(tmp_path / "c"), make_teacher(tmp_path / "t")
    model, runner = write_configs(tmp_path, teacher, corpus, student={"head_dim": 30})
    with pytest.raises(FitHubertError, match="expected width 30"):
        main(["-g", str(model), "-c", str(runner), "-p", str(tmp_path / "exp")])
    assert events == ["opened", "closed"]


def test_downstream_closes_it_on_a_failure(tmp_path, monkeypatch):
    s3prl_compat.apply()
    from s3prl.downstream import runner

    events = watch(monkeypatch, runner)
    with pytest.raises(RuntimeError), recorded_scalars() as scalars:
        runner.SummaryWriter(str(tmp_path)).add_scalar("dev/per", 0.5)
        raise RuntimeError
    assert scalars == {"dev/per": 0.5} and events == ["opened", "closed"]

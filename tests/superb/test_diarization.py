"""SD in a table: what is tested is the error rate of turns, what chooses on dev is that of frames."""

import json
from pathlib import Path

import pytest

from fithubert_upstream.compat import runs
from fithubert_upstream.downstream.run import main
from fithubert_upstream.superb import run as superb
from fithubert_upstream.superb.configs import Settings
from fithubert_upstream.superb.verify import verify

from ..helpers import small_corpora
from ..helpers.four_tasks import train
from ..helpers.superb_runs import TWO, Runner, config_in, flag


@pytest.fixture
def librimix(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    root = small_corpora.librimix(tmp_path / "LibriMix")
    monkeypatch.setenv("LIBRIMIX", str(root))
    return root


def test_the_lowest_rate_of_errors_on_dev_is_chosen(runner, corpora, librimix, monkeypatch):
    """best-states-dev.ckpt, which s3prl chooses by the accuracy of frames, is what is tested."""
    errors = {1e-2: 0.4, 1e-3: 0.2, 1e-4: 0.3}

    def call(self, argv):
        if flag(argv, "-m") == "train":
            for watcher in list(runs._watchers):
                watcher("diarization/dev-acc", 0.9, 100)
                watcher("diarization/dev-der", errors[config_in(argv)["optimizer"]["lr"]], 100)
        return plain(self, argv)

    plain = Runner.__call__
    monkeypatch.setattr(Runner, "__call__", call)
    (row,) = superb.run(TWO[:1], ["sd"], Settings(rates=tuple(errors), halving=False), "out")
    assert row.sd == 37.5
    result = json.loads(Path("out/fbank/sd/result.json").read_text())
    assert result["lr"] == 1e-3 and [entry["dev"] for entry in result["search"]] == pytest.approx([40, 20, 30])
    assert result["value"] == 37.5 and set(result["logged"]) == {"diarization/test-der", "diarization/test-rttm-der"}
    assert flag(runner.calls[-1], "-e") == str(Path("out/fbank/sd/lr-0.001/best-states-dev.ckpt").absolute())
    assert "| fbank    | SD (DER) |   40.00 | **20.00** |     30.00 |" in Path("out/table.md").read_text()


def test_the_best_of_an_interrupted_training_is_not_taken_for_that_of_the_next(runner, corpora, librimix):
    folder = Path("out/fbank/sd")
    runner.error, runner.fail_at = KeyboardInterrupt(), 0
    with pytest.raises(KeyboardInterrupt):
        superb.run(TWO[:1], ["sd"], Settings(), "out")
    (folder / "best-states-dev.ckpt").write_bytes(b"of the first training")
    runner.fail_at = None
    superb.run(TWO[:1], ["sd"], Settings(), "out")
    assert (folder / "best-states-dev.ckpt").read_bytes() == b""  # the runner's


@pytest.mark.slow
def test_a_table_and_the_same_numbers_again(librimix):
    sizes = train("sd", "exp")[-1].replace("config.", "").split(",,")
    overrides = [tuple(item.split("=", 1)) for item in sizes]
    settings = Settings(rates=(1e-2, 1e-3), overrides=tuple(("sd", key, int(value)) for key, value in overrides))
    (row,) = superb.run(TWO[:1], ["sd"], settings, "out")
    result = json.loads(Path("out/fbank/sd/result.json").read_text())
    assert row.sd == result["value"] == 100 * result["logged"]["diarization/test-rttm-der"] > 0
    tested = Path("out/fbank/sd") / f"lr-{result['lr']:g}"
    assert result["dev"] == json.loads((tested / "dev.json").read_text()) != {}
    verdicts = verify("out")
    assert len(verdicts) == 3 and all(verdict.same for verdict in verdicts)
    assert (
        main(["-m", "evaluate", "-e", str(tested / "best-states-dev.ckpt")])["diarization/test-rttm-der"]
        == (result["logged"]["diarization/test-rttm-der"])
    )

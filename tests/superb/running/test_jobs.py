"""What is run again and what is not: after an interruption, a second time, with other settings."""

import threading
import time
from pathlib import Path

import pytest
from filelock import FileLock

from fithubert_upstream.downstream import checks
from fithubert_upstream.errors import FitHubertError
from fithubert_upstream.superb import run as superb
from fithubert_upstream.superb.configs import Settings
from fithubert_upstream.superb.names import Upstream
from fithubert_upstream.superb.run import run
from fithubert_upstream.superb.running.features import FeatureCache
from fithubert_upstream.superb.running.jobs import Jobs, Running

from ...helpers.superb_runs import ALL, TWO, flag


def test_a_run_that_was_interrupted_goes_on_with_the_config_of_its_state(runner, corpora):
    runner.error, runner.fail_at = KeyboardInterrupt(), 1
    with pytest.raises(KeyboardInterrupt):
        run(TWO[:1], ["ks"], Settings(), "out")  # trained, not tested
    runner.fail_at = None
    run(TWO[:1], ["ks"], Settings(), "out")
    assert [flag(argv, "-c") is None for argv in runner.calls if flag(argv, "-m") == "train"] == [False, True]


def test_a_second_run_runs_nothing(runner, corpora, student, capsys):
    first = run(TWO, ALL, Settings(), "out")
    calls, table = len(runner.calls), Path("out/table.md").read_text()
    assert corpora.checked == [
        (task, mode) for task in ("ctc", "asr", "speech_commands", "sv_voxceleb1") for mode in ("train", "evaluate")
    ]
    corpora.prepared.clear()
    corpora.checked.clear()
    assert run(TWO, ALL, Settings(), "out", Running(FeatureCache("elsewhere"))) == first
    assert len(runner.calls) == calls and not corpora.prepared and not corpora.checked
    assert Path("out/table.md").read_text() == table
    assert capsys.readouterr().out.count("already done") == 8

    run([*TWO, Upstream("third", "fbank")], ["ks"], Settings(), "out")  # one more upstream: only that is run
    assert [folder for mode, folder in runner.modes()[calls:] if mode == "train"] == ["third/ks"]


@pytest.mark.parametrize("error", [FitHubertError("no such split"), RuntimeError("broken"), KeyboardInterrupt()])
@pytest.mark.parametrize("fail_at", [4, 5])  # training and testing of the third task
def test_interruption_keeps_what_is_done(runner, corpora, error, fail_at):
    runner.error, runner.fail_at = error, fail_at
    with pytest.raises(type(error)) as raised:
        run(TWO[:1], ALL, Settings(), "out")
    if isinstance(error, FitHubertError):
        assert str(raised.value).startswith("KS on fbank: no such split; ") and "\n" not in str(raised.value)
    done = sorted(path.parent.name for path in Path("out").rglob("result.json"))
    assert done == ["asr", "pr"]
    line = next(line for line in Path("out/table.md").read_text().splitlines() if line.startswith("| fbank"))
    assert [cell.strip() for cell in line.split("|")[3:7]] == ["25.00", "42.50", "-", "-"]

    runner.fail_at = None
    calls = len(runner.calls)
    (row,) = run(TWO[:1], ALL, Settings(), "out")
    assert (row.pr, row.asr, row.ks, row.sv) == (25, 42.5, 75, 12.5)
    assert [call for call in runner.modes()[calls:] if call[0] == "train"] == [
        ("train", "fbank/ks"),
        ("train", "fbank/sv"),
    ]


def test_without_a_best_checkpoint_the_last_is_tested_and_for_sv_all(runner, corpora):
    runner.best = False
    (row,) = run(TWO[:1], ALL, Settings(), "out")
    folder = corpora.root / "out" / "fbank"
    tested = [flag(argv, "-e") for argv in runner.calls[1::2]]
    assert tested == [str(folder / task / "states-1000.ckpt") for task in ("pr", "asr", "ks")] + [str(folder / "sv")]
    assert ["--all-states" in argv for argv in runner.calls[1::2]] == [False, False, False, True]
    assert row.note.count("the last one was tested") == 3 and "SV" not in row.note
    assert row.note in Path("out/table.md").read_text()


@pytest.mark.parametrize("finished", [True, False])
@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"seed": 2}, "seed 1337 and not 2"),
        ({"overrides": (("ks", "runner.total_steps", 400),)}, "runner.total_steps 500 and not 400"),
        ({"configs": "full"}, "runner.total_steps 500 and not 200000"),
        ({"speech_commands": "librispeech"}, "speech_commands_root"),
    ],
)
def test_a_run_of_other_settings_is_an_error(runner, corpora, finished, change, words):
    if finished:
        run(TWO[:1], ["ks"], Settings(), "out")
    else:
        runner.error, runner.fail_at = KeyboardInterrupt(), 1
        with pytest.raises(KeyboardInterrupt):
            run(TWO[:1], ["ks"], Settings(), "out")
    calls = len(runner.calls)
    with pytest.raises(FitHubertError, match="already holds a run with other settings") as error:
        run([Upstream("new", "fbank"), *TWO[:1]], ["ks"], Settings(**change), "out")
    assert words in str(error.value) and "\n" not in str(error.value) and len(runner.calls) == calls


def test_another_checkpoint_under_the_same_name_is_an_error(runner, corpora, student):
    run(TWO[1:], ["ks"], Settings(), "out")
    moved = student.rename(student.with_name("moved.safetensors"))  # the same weights elsewhere are the same
    run([Upstream("student", "fithubert", str(moved), "last_hidden_state")], ["ks"], Settings(), "out")
    assert len(runner.calls) == 2
    student.write_bytes(b"other weights")
    with pytest.raises(FitHubertError, match="other settings: ckpt"):
        run(TWO[1:], ["ks"], Settings(), "out")


def test_every_fold_is_checked_before_anything_runs(runner, corpora, monkeypatch):
    """Of emotion recognition's five folds only the last upstream's last one was."""
    checked = set()
    (corpora.root / "iemocap").mkdir()
    monkeypatch.setattr(superb, "prepare_iemocap", lambda root, output: None)
    monkeypatch.setattr(
        checks, "check_corpus", lambda args, config: checked.add(config["downstream_expert"]["datarc"]["test_fold"])
    )
    monkeypatch.setattr(Jobs, "_run_here", lambda self, report: None)
    run(TWO, ["er"], Settings(iemocap="iemocap"), "out")
    assert checked == {f"fold{number}" for number in range(1, 6)}


def test_two_commands_do_not_share_a_folder(runner, corpora, tmp_path):
    with FileLock(tmp_path / "out/.lock"):
        with pytest.raises(FitHubertError, match="-o .*out: expected a folder that no other command is working in"):
            run(TWO[:1], ["ks"], Settings(), "out")
    assert not runner.calls
    run(TWO[:1], ["ks"], Settings(), "out")


def test_a_part_that_another_process_does_is_waited_for(runner, corpora, capsys):
    """A plain command trained beside a job that an earlier one with --jobs had left running."""
    (corpora.root / "out/fbank/ks").mkdir(parents=True)
    held = threading.Event()

    def hold():
        with FileLock(corpora.root / "out/fbank/ks/.run.lock"):
            held.set()
            time.sleep(0.5)

    threading.Thread(target=hold).start()
    held.wait()
    run(TWO[:1], ["ks"], Settings(), "out")
    assert "another process is at it; waiting for it" in capsys.readouterr().out and len(runner.calls) == 2


def test_labels_and_folders_of_a_table_do_not_meet(runner, corpora):
    """The results of an upstream that was called `features` went with the cache."""
    for label in ("features", "jobs"):
        run([Upstream(label, "fbank")], ["ks"], Settings(), "out")
        assert Path(f"out/{label}/ks/result.json").is_file()

"""`--all-states`: each checkpoint once, in the order of steps; the best by the task's own measure."""

import argparse
import csv
from pathlib import Path

import pytest
import torch

from fithubert_upstream.downstream import run as run_downstream
from fithubert_upstream.downstream.all_states import evaluate_all_states
from fithubert_upstream.errors import FitHubertError

TAGS = {"sv_voxceleb1": "sv-voxceleb1/{}-EER", "speech_commands": "speech_commands/{}-acc", "asr": "asr/{}-wer"}
VALUES = {900: 0.25, 1000: 0.125, 10000: 0.5}  # by step; by name 10000 would come second


def states(folder: Path, step: int, downstream: str) -> Path:
    folder.mkdir(exist_ok=True)
    path = folder / f"states-{step}.ckpt"
    torch.save({"Args": argparse.Namespace(downstream=downstream), "Config": {}, "Step": step}, path)
    return path


@pytest.fixture
def calls(monkeypatch):
    """What `fithubert downstream` is asked; it answers with the value of the checkpoint's step."""
    calls = []

    def main(argv):
        calls.append(argv)
        path = Path(argv[-1])
        downstream = torch.load(path, weights_only=True)["Args"].downstream
        split = argv[argv.index("-t") + 1]
        return {TAGS[downstream].format(split): VALUES[int(path.stem[7:])], "step": int(path.stem[7:])}

    monkeypatch.setattr(run_downstream, "main", main)
    return calls


def run(folder, split: str = "test", mode: str = "evaluate") -> dict[str, float]:
    ours = argparse.Namespace(mode=mode, past_exp=None if folder is None else str(folder), evaluate_split=split)
    argv = ["-m", mode, "-e", str(folder), "-t", split]
    return evaluate_all_states(ours, argv, lambda argv: run_downstream.main(argv))


@pytest.mark.parametrize(
    ("downstream", "best", "title", "shown"),
    [
        ("sv_voxceleb1", 1000, "test EER %", ["25.0000", "12.5000", "50.0000"]),
        ("speech_commands", 10000, "test acc %", ["25.0000", "12.5000", "50.0000"]),
        ("asr", 1000, "test WER %", ["0.2500", "0.1250", "0.5000"]),  # s3prl logs it in percent
    ],
)
def test_order_best_and_files(tmp_path, calls, capsys, downstream, best, title, shown):
    for step in (10000, 900, 1000):
        states(tmp_path / "exp", step, downstream)
    (tmp_path / "exp" / "dev-best.ckpt").touch()  # none of them
    assert run(tmp_path / "exp")["step"] == best

    names = [f"states-{step}.ckpt" for step in (900, 1000, 10000)]
    assert [Path(argv[-1]).name for argv in calls] == names
    for argv in calls:  # s3prl takes the last -e
        assert argv[:-2] == ["-m", "evaluate", "-e", str(tmp_path / "exp"), "-t", "test"] and argv[-2] == "-e"

    with open(tmp_path / "exp" / "all_states_test.csv", newline="") as file:
        assert list(csv.reader(file)) == [["checkpoint", title], *map(list, zip(names, shown, strict=True))]
    assert (tmp_path / "exp" / "all_states_test.png").read_bytes().startswith(b"\x89PNG")
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines if line.endswith("  best")] == [f"states-{best}.ckpt"]
    assert sum(line.startswith("states-") for line in lines) == 3


def test_another_split_has_its_own_table(tmp_path, calls):
    states(tmp_path, 900, "sv_voxceleb1")
    run(tmp_path)
    first = (tmp_path / "all_states_test.csv").read_text()
    run(tmp_path, "dev")
    assert (tmp_path / "all_states_dev.csv").read_text().startswith("checkpoint,dev EER %")
    assert (tmp_path / "all_states_test.csv").read_text() == first


def fails(*args, **kwargs) -> str:
    with pytest.raises(FitHubertError) as caught:
        run(*args, **kwargs)
    message = str(caught.value)
    assert "\n" not in message
    return message


def test_mistakes_are_told_before_anything_is_evaluated(tmp_path, calls):
    (tmp_path / "empty").mkdir()
    assert "expected states-*.ckpt in it, found none" in fails(tmp_path / "empty")
    path = states(tmp_path / "exp", 900, "sv_voxceleb1")
    for folder, mode in ((path, "evaluate"), (tmp_path / "no", "evaluate"), (tmp_path / "exp", "train")):
        message = fails(folder, mode=mode)
        assert f"expected -m evaluate -e DIR, found -m {mode} -e {folder}" in message
    assert "-e None" in fails(None)
    whole = path.read_bytes()
    damaged = tmp_path / "exp" / "states-1000.ckpt"
    damaged.write_bytes(whole[: len(whole) // 2])
    assert f"-e {damaged}: expected a checkpoint" in fails(tmp_path / "exp")
    states(tmp_path / "other", 900, "mosei")
    assert "-d mosei" in fails(tmp_path / "other")
    assert calls == []
    assert not list(tmp_path.rglob("all_states*"))

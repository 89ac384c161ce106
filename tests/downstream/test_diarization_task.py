"""SD through s3prl's runner on a tiny corpus, end to end, and what its dataset gives."""

import math
import warnings
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch

from fithubert_upstream.corpora.layouts.librimix import read_rttm
from fithubert_upstream.downstream.repairs.diarization import Conversations
from fithubert_upstream.downstream.run import main
from fithubert_upstream.downstream.scoring.diarization import error_rate
from fithubert_upstream.downstream.tasks import SD

from ..helpers.four_tasks import LOADER, refused, told, train

DATA = "config.downstream_expert.datarc"


def numbers(scores: dict[str, float]) -> dict[str, float]:
    return {tag: value for tag, value in scores.items() if tag.startswith("diarization/test-")}


def test_train_resume_and_evaluate(ready):
    flags = train("sd", "exp")
    logged = main(flags)
    assert 0 <= SD.result(logged, "dev") < math.inf and 0 < logged["diarization/dev-acc"] <= 1
    assert Path("exp", SD.best).is_file() and Path("exp/frame_shift").read_text() == "160\n"
    main([*flags, "-a", "-o", "config.runner.total_steps=4"])
    states = [torch.load(f"exp/states-{step}.ckpt", weights_only=True) for step in (2, 4)]
    assert [state["Step"] for state in states] == [2, 4]
    assert any(not torch.equal(value, states[1]["Downstream"][name]) for name, value in states[0]["Downstream"].items())

    evaluate = ["-m", "evaluate", "-e", "exp/states-4.ckpt"]
    scores = main(evaluate)
    assert set(numbers(scores)) == {f"diarization/test-{name}" for name in ("acc", "der", "rttm-der")}
    assert numbers(scores) == numbers(main([*evaluate[:2], "-e", "exp"]))
    truth = read_rttm(ready["LIBRIMIX"] / "test" / "rttm")
    files = sorted(Path("exp/scoring").glob("hyp_*.rttm"))
    assert len(files) == 10
    assert SD.result(scores) == pytest.approx(100 * min(error_rate(truth, read_rttm(file)) for file in files))
    lowest = Path("exp/scoring/der.csv").read_text().splitlines()[1].split(",")[2]
    assert SD.result(scores) == pytest.approx(float(lowest), abs=1e-4)


def test_all_states(ready):
    main(train("sd", "exp", "config.runner.save_step=1,,config.runner.max_keep=9"))
    best = main(["-m", "evaluate", "-e", "exp", "--all-states"])
    assert SD.result(best) >= 0 and Path("exp/all_states_test.csv").read_text().startswith("checkpoint,test DER %\n")
    main(["-m", "evaluate", "-e", "exp", "--all-states", "-t", "dev"])
    assert Path("exp/all_states_dev.csv").is_file()


def test_what_is_scored_ends_with_the_recording(ready, damaged):
    """s3prl pads a recording's last chunk, writes what the head says of the padding, and its script scores that too.

    Files that an earlier evaluation left are not scored.
    """
    damaged("sd")
    main(train("sd", "exp", f"{DATA}.chunk_size=97"))
    left = Path("exp/scoring/predictions/left.h5")
    left.write_bytes(b"of another corpus")
    main(["-m", "evaluate", "-e", "exp", "-o", "config.runner.evaluate_ratio=0.3"])
    with h5py.File("exp/scoring/predictions/test-1.h5") as file:
        assert file["T_hat"].shape == (2 * 97, 2)  # of 163 frames
    found = read_rttm("exp/scoring/hyp_0.3_1.rttm")
    assert set(found) <= {"test-0", "test-1"}
    assert max(turn.end for turns in found.values() for turn in turns) <= 1.63


@pytest.mark.parametrize(("feature", "shift"), [("last_hidden_state", 320), ("hidden_states_40ms", 640)])
def test_frames_are_those_of_the_upstream(ready, feature, shift, capsys):
    upstream = ("fithubert", "-k", str(ready["student"]), "-s", feature)
    main(train("sd", "exp", f"{LOADER}.num_workers=1", upstream=upstream))
    assert Path("exp/frame_shift").read_text() == f"{shift}\n"
    assert SD.result(main(["-m", "evaluate", "-e", "exp"])) >= 0
    with h5py.File("exp/scoring/predictions/test-0.h5") as file:
        assert file["T_hat"].shape == (24_000 // shift, 2)
    main(train("sd", "finer", f"{DATA}.frame_shift={shift // 2}", upstream=upstream))
    capsys.readouterr()
    line = refused(capsys, *train("sd", "coarser", f"{DATA}.frame_shift={2 * shift}", upstream=upstream))
    assert f"expected a frame_shift of {shift} samples, those of its frames, or a whole part of them" in line
    assert f"found {2 * shift}; leave it out" in line


def test_the_feature_cache_changes_no_bit(ready):
    plain = main(train("sd", "plain"))
    assert plain == main([*train("sd", "first"), "--feature-cache", "cache"])
    assert plain == main([*train("sd", "second"), "--feature-cache", "cache"])


def test_a_corpus_that_has_moved(ready, damaged, tmp_path, capsys):
    folder = damaged("sd")
    main(train("sd", "exp"))
    result = numbers(main(["-m", "evaluate", "-e", "exp"]))
    moved = folder.rename(tmp_path / "moved")
    capsys.readouterr()
    assert str(folder) in told(capsys, "-m", "evaluate", "-e", "exp")
    assert numbers(main(["-m", "evaluate", "-e", "exp", "-o", f"{LOADER}.test_dir={moved / 'test'}"])) == result


def test_what_is_wrong_is_told_before_training(ready, damaged, monkeypatch, capsys):
    folder = damaged("sd")
    line = refused(capsys, *train("sd", "exp", f"{DATA}.num_speakers=3"))
    assert f"{folder}/train/segments: expected 3 speakers in train-0, found 2" in line
    assert f"fithubert check librimix {folder}" in line
    unsaved = "config.downstream_expert.scorerc.save_predictions=False"
    line = refused(capsys, *train("sd", "exp", f"{unsaved},,config.runner.eval_dataloaders=[test]"))
    assert "save_predictions: expected true, since the test is scored by the predictions, found false" in line
    assert "split other: not in the config; available: train, dev, test" in refused(
        capsys, *train("sd", "exp", "config.runner.eval_dataloaders=[other]")
    )
    (folder / "dev" / "wav" / "dev-0.wav").unlink()
    assert "dev-0.wav, found no such file" in refused(capsys, *train("sd", "exp"))
    monkeypatch.delenv("LIBRIMIX")
    assert "environment variable LIBRIMIX" in refused(capsys, *train("sd", "exp"))


# datasets


def sets(root, mode, chunk, shift):
    from s3prl.downstream.diarization.dataset import DiarizationDataset

    options = {"chunk_size": chunk, "frame_shift": shift, "num_speakers": 2}
    return [kind(mode, str(root / mode), **options) for kind in (Conversations, DiarizationDataset)]


@pytest.mark.parametrize("mode", ["dev", "test"])
@pytest.mark.parametrize("shift", [160, 320])
def test_chunks_are_those_of_s3prl(ready, mode, shift, monkeypatch):
    monkeypatch.chdir(ready["LIBRIMIX"] / mode)  # s3prl's own takes paths from here
    mine, other = sets(ready["LIBRIMIX"], mode, 9600 // shift, shift)
    assert len(mine) == len(other) == {"dev": 9, "test": 3}[mode]
    for i in range(len(mine)):
        (waves, labels, *rest), (theirs, others, *same) = mine[i], other[i]
        assert rest == same
        for one, two in zip(*((w if mode == "test" else [w]) for w in (waves, theirs)), strict=True):
            assert one.dtype == np.float32 and np.array_equal(one, two.astype(np.float32))
        for one, two in zip(*((t if mode == "test" else [t]) for t in (labels, others)), strict=True):
            assert one.dtype == two.dtype and np.array_equal(one, two)


def test_speech_that_fills_a_chunk_is_labelled(ready, monkeypatch):
    """s3prl labels a segment in the chunks where it begins or ends, and leaves out those between."""
    monkeypatch.chdir(ready["LIBRIMIX"] / "test")
    mine, other = sets(ready["LIBRIMIX"], "test", 10, 320)
    labels, theirs = (np.concatenate(data[0][1]) for data in (mine, other))
    seconds = (np.arange(len(labels)) + 0.5) * 0.02
    expected = [
        ((0.1 < seconds) & (seconds < 0.62)) | ((1.2 < seconds) & (seconds < 1.44)),
        (0.5 < seconds) & (seconds < 1),
    ]
    assert np.array_equal(labels.T, expected)
    assert not np.array_equal(labels, theirs) and (labels >= theirs).all()


def test_the_rest_of_a_recording_is_long_enough_for_upstreams(ready):
    data = Conversations("test", str(ready["LIBRIMIX"] / "test"), chunk_size=74, frame_shift=320, num_speakers=2)
    waves, labels, name = data[0]
    assert name == "test-0" and [len(one) for one in labels] == [74, 1]  # of 1.5 s
    assert [len(one) for one in waves] == [74 * 320, 1600] and not waves[1][320:].any()


def test_nothing_is_said_of_pinned_memory_and_experts_are_left_as_they_were(ready):
    from s3prl.downstream.diarization import expert

    before = expert.DiarizationDataset, expert.DownstreamExpert.log_records
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        main(train("sd", "exp"))
    assert before == (expert.DiarizationDataset, expert.DownstreamExpert.log_records)

"""PR, ASR, KS and SV through s3prl's runner on tiny corpora, end to end."""

import math
import re
from pathlib import Path

import pytest
import torch

from fithubert_upstream.downstream.run import main
from fithubert_upstream.downstream.tasks import TASKS

from ..helpers.four_tasks import ALL, CORPUS, DATA, instead, refused, told, train


def states(path: str) -> dict:
    return torch.load(path, weights_only=True)


def same_weights(one: dict, other: dict, *names: str) -> bool:
    assert all(one[name].keys() == other[name].keys() for name in names)
    return all(torch.equal(value, other[name][key]) for name in names for key, value in one[name].items())


@pytest.mark.slow
@pytest.mark.parametrize("key", ALL)
def test_train_resume_and_evaluate(ready, key):
    task = TASKS[key]
    flags = train(key, "exp")
    logged = main(flags)
    assert states("exp/states-2.ckpt")["Step"] == 2
    assert any(math.isfinite(value) for tag, value in logged.items() if "dev" in tag)

    main([*flags, "-a", "-o", "config.runner.total_steps=4"])
    last = states("exp/states-4.ckpt")
    assert last["Step"] == 4 and not same_weights(states("exp/states-2.ckpt"), last, "Downstream")
    assert last["Optimizer"]["state"][0]["step"] == 4  # Adam's own count went on too

    result = task.result(main(["-m", "evaluate", "-e", "exp/states-4.ckpt", "-t", task.split]))
    assert math.isfinite(result) and result >= 0
    assert result == task.result(main(["-m", "evaluate", "-e", "exp", "-t", task.split]))  # the last states


@pytest.mark.slow
def test_a_resumed_run_is_the_unbroken_one(ready):
    """Where a batch is the whole corpus and nothing is random: s3prl resumes weights and optimizer, no random state."""
    whole = f"{CORPUS}.batch_size=6,,config.runner.eval_step=100"
    flags = train("pr", "broken", whole)
    main(flags)
    main([*flags, "-a", "-o", "config.runner.total_steps=4"])
    main(train("pr", "unbroken", whole, "config.runner.total_steps=4"))
    assert same_weights(states("broken/states-4.ckpt"), states("unbroken/states-4.ckpt"), "Downstream", "Featurizer")


@pytest.mark.slow
@pytest.mark.parametrize(("key", "upstream"), [*[(key, "fbank") for key in ALL], ("ks", "student"), ("sv", "student")])
def test_the_feature_cache_changes_no_bit(ready, key, upstream, capsys):
    name = ("fbank",) if upstream == "fbank" else ("fithubert", "-k", str(ready["student"]))

    def found_on_disk() -> tuple[int, int]:
        found, asked = re.findall(r"feature cache cache: (\d+) of (\d+) from disk", capsys.readouterr().out)[-1]
        return int(found), int(asked)

    def run(expdir: str, *cache: str) -> dict[str, float]:
        return main(
            [*train(key, expdir, "config.runner.total_steps=6", upstream=name), *cache]
        )  # dev comes three times

    plain, found = run("plain"), []
    for expdir in ("first", "second"):
        assert run(expdir, "--feature-cache", "cache") == plain
        assert same_weights(
            states("plain/states-6.ckpt"), states(f"{expdir}/states-6.ckpt"), "Downstream", "Featurizer"
        )
        found.append(found_on_disk()[0])
    assert 0 < found[0] < found[1]

    test = ["-m", "evaluate", "-e", "plain", "-t", TASKS[key].split]
    expected = main(test)
    for _ in range(2):
        assert main([*test, "--feature-cache", "cache"]) == expected
    assert len(set(found_on_disk())) == 1  # all of it


def test_fine_tuning_trains_the_student_and_is_not_cached(ready, capsys):
    upstream = ("fithubert", "-k", str(ready["student"]), "-f", "-s", "last_hidden_state")
    flags = train("ks", "exp", "config.runner.save_step=1", upstream=upstream)
    main(flags)
    assert not same_weights(states("exp/states-1.ckpt"), states("exp/states-2.ckpt"), "Upstream")
    assert math.isfinite(TASKS["ks"].result(main(["-m", "evaluate", "-e", "exp"])))
    assert "found -f" in refused(capsys, *instead(flags, "-p", "no"), "--feature-cache", "cache")


@pytest.mark.slow
def test_all_states_of_speaker_verification(ready, capsys):
    main(train("sv", "exp", "config.runner.save_step=1"))
    best = TASKS["sv"].result(main(["-m", "evaluate", "-e", "exp", "--all-states"]))
    text = capsys.readouterr().out
    for step in (1, 2):
        assert f"states-{step}.ckpt  " in text
    rows = [line.split(",") for line in Path("exp/all_states_test.csv").read_text().splitlines()]
    assert rows[0] == ["checkpoint", "test EER %"] and [name for name, _ in rows[1:]] == [
        "states-1.ckpt",
        "states-2.ckpt",
    ]
    assert best == pytest.approx(min(float(value) for _, value in rows[1:]), abs=1e-4)
    assert Path("exp/all_states_test.png").read_bytes().startswith(b"\x89PNG")


def test_inference_of_speech_recognition(ready, capsys):
    main(train("asr", "exp"))
    audio = ready["LIBRISPEECH"] / "test" / "3" / "7" / "3-7-0000.flac"
    main(["-m", "inference", "-t", str(audio), "-e", "exp"])
    assert Path("exp/inference.ark").read_text().startswith("3-7-0000 ")
    capsys.readouterr()
    assert "no.wav: expected an audio file" in told(capsys, "-m", "inference", "-t", "no.wav", "-e", "exp")


@pytest.mark.slow
@pytest.mark.parametrize("key", ["pr", "asr", "sv"])
def test_a_corpus_that_has_moved(ready, damaged, key, tmp_path, capsys):
    folder = damaged(key)
    main(train(key, "exp"))
    evaluate = ["-m", "evaluate", "-e", "exp", "-t", TASKS[key].split]
    result = main(evaluate)
    moved = folder.rename(tmp_path / "moved")
    root = {"pr": f"{CORPUS}.path", "asr": f"{DATA}.libri_root", "sv": f"{DATA}.file_path"}[key]
    capsys.readouterr()
    message = told(capsys, *evaluate)
    assert str(folder) in message and (key == "sv" or f"-o {root}=" in message)
    assert main([*evaluate, "-o", f"{root}={moved}"]) == result


def test_weights_to_begin_with(ready, capsys):
    main(train("ks", "exp"))
    trained = main(["-m", "evaluate", "-e", "exp"])
    flags = instead(train("ks", "other"), "-m", "evaluate")
    assert main([*flags, "-i", "exp/states-2.ckpt"]) == trained
    assert "-i no.ckpt: expected a checkpoint" in refused(capsys, *train("ks", "no"), "-i", "no.ckpt")

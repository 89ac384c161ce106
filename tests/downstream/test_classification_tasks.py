"""IC, SID and ER through s3prl's runner on tiny corpora, end to end, and what their datasets give."""

import math
from pathlib import Path

import numpy as np
import pandas
import pytest
import torch

from fithubert_upstream.corpora.layouts.iemocap import prepare_iemocap
from fithubert_upstream.downstream.repairs import datasets as s3prl_datasets
from fithubert_upstream.downstream.run import main
from fithubert_upstream.downstream.tasks import TASKS

from ..helpers.audio import noise, without_length
from ..helpers.four_tasks import CLASSIFICATION, DATA, VARIABLES, refused, told, train

ROOTS = {"ic": f"{DATA}.file_path", "sid": f"{DATA}.file_path", "er": f"{DATA}.root"}
FILES = {  # results of the test
    "ic": ("test_predict.csv", "test_truth.csv"),
    "sid": ("test_predict.txt", "test_truth.txt"),
    "er": ("test_fold1_predict.txt", "test_fold1_truth.txt"),
}


@pytest.mark.parametrize("key", CLASSIFICATION)
def test_train_resume_and_evaluate(ready, key):
    task = TASKS[key].fold(1)
    flags = train(key, "exp")
    logged = main(flags)
    assert 0 <= task.result(logged, "dev") <= 100
    main([*flags, "-a", "-o", "config.runner.total_steps=4"])
    states = [torch.load(f"exp/states-{step}.ckpt", weights_only=True) for step in (2, 4)]
    assert [state["Step"] for state in states] == [2, 4]
    assert any(not torch.equal(value, states[1]["Downstream"][name]) for name, value in states[0]["Downstream"].items())

    evaluate = ["-m", "evaluate", "-e", "exp/states-4.ckpt"]
    scores = main(evaluate)
    assert 0 <= task.result(scores) <= 100 and all(map(math.isfinite, scores.values()))
    assert scores == main([*evaluate[:2], "-e", "exp"])
    predicted, true = (Path("exp", name).read_text().splitlines() for name in FILES[key])
    names = {"ic": ["test-0", "test-1"], "sid": ["id10101-s1-00001"], "er": ["Ses01F_impro01_F000"]}[key]
    for lines in (predicted, true):
        assert [line.replace(",", " ").split()[0] for line in lines[: len(names)]] == names
    right = sum(one == other for one, other in zip(predicted, true, strict=True))
    assert task.result(scores) == pytest.approx(100 * right / len(true))
    assert (
        true[0]
        == {
            "ic": "test-0,activate,lights,kitchen",
            "sid": "id10101-s1-00001 id10101",
            "er": "Ses01F_impro01_F000 neu",
        }[key]
    )


@pytest.mark.parametrize("key", CLASSIFICATION)
def test_the_feature_cache_changes_no_bit(ready, key):
    def run(expdir: str, *more: str) -> dict[str, float]:
        return main([*train(key, expdir, "config.runner.total_steps=4"), *more])

    plain = run("plain")
    assert run("first", "--feature-cache", "cache") == run("second", "--feature-cache", "cache") == plain


def test_a_student_and_data_in_workers(ready):
    upstream = ("fithubert", "-k", str(ready["student"]))
    scores = main(train("sid", "exp", f"{DATA}.num_workers=1,,{DATA}.max_timestep=8000", upstream=upstream))
    assert math.isfinite(scores["voxceleb1/dev-loss"])


def test_another_fold(ready, capsys):
    scores = main(train("er", "exp", f"{DATA}.test_fold=fold3", "config.runner.save_step=1"))
    assert "emotion-fold3/dev-acc" in scores
    assert TASKS["er"].fold(3).result(main(["-m", "evaluate", "-e", "exp"])) >= 0
    best = main(["-m", "evaluate", "-e", "exp", "--all-states"])
    assert "emotion-fold3/test-acc" in best
    assert Path("exp/all_states_test.csv").read_text().startswith("checkpoint,test acc %\nstates-1.ckpt,")
    capsys.readouterr()
    flags = [*train("er", "other"), "-v", "fold3"]
    assert "-v fold3: expected none, since config.downstream_expert.datarc.test_fold is fold1" in refused(
        capsys, *flags
    )


@pytest.mark.parametrize("key", CLASSIFICATION)
def test_a_corpus_that_has_moved(ready, damaged, key, tmp_path, capsys):
    folder = damaged(key)
    main(train(key, "exp"))
    evaluate = ["-m", "evaluate", "-e", "exp"]
    result = main(evaluate)
    moved = folder.rename(tmp_path / "moved")
    capsys.readouterr()
    assert str(folder) in told(capsys, *evaluate)
    assert main([*evaluate, "-o", f"{ROOTS[key]}={moved}"]) == result


@pytest.mark.parametrize("key", CLASSIFICATION)
def test_what_is_wrong_is_told_before_training(ready, damaged, key, monkeypatch, capsys):
    folder = damaged(key)
    audio = sorted(folder.rglob("*.wav"))[0]
    content = audio.read_bytes()
    audio.write_bytes(content[:300])
    line = refused(capsys, *train(key, "exp"))
    assert str(audio) in line and "copy or unpack it again" in line
    audio.unlink()
    line = refused(capsys, *train(key, "exp"))
    assert audio.stem in line and "found no" in line
    variable = VARIABLES[key]
    monkeypatch.delenv(variable)
    assert f"environment variable {variable}" in refused(capsys, *train(key, "exp"))


def test_emotions_that_are_not_prepared_say_how(damaged, capsys):
    folder = damaged("er")
    path = folder / "meta_data" / "Session1" / "test_meta_data.json"
    path.unlink()
    line = refused(capsys, *train("er", "exp"))
    assert f"run `fithubert prepare iemocap {folder}`" in line and str(path) in line


def test_intents_that_are_numbered_otherwise(damaged, capsys):
    """s3prl numbers them by their order in the table to train on: the model's answers would be read as others."""
    folder = damaged("ic")
    main(train("ic", "exp"))
    table = folder / "data" / "train_data.csv"
    head, *rows = table.read_text().splitlines(keepends=True)
    table.write_text("".join([head, *reversed(rows)]))
    capsys.readouterr()
    for flags in (["-e", "exp"], ["-i", "exp/states-2.ckpt", *train("ic", "other")[2:]]):
        line = told(capsys, "-m", "evaluate", *flags)
        assert f"{table}: expected actions, objects and locations in the order that the model was trained with" in line
        assert "found action increase in the place of action activate" in line


# datasets


def intents_of(root):
    """The table to train on as s3prl's expert gets it from us, and as it reads it itself."""
    table = str(root / "data" / "train_data.csv")
    return s3prl_datasets.intents_table(table), pandas.read_csv(table)


def test_intents_are_those_of_s3prl(ready):
    from s3prl.downstream.fluent_commands.dataset import FluentCommandsDataset

    root = ready["FLUENT_COMMANDS"]
    ours, theirs = intents_of(root)
    assert ours[["path", "action", "object", "location"]].equals(theirs[["path", "action", "object", "location"]])
    slots = {slot: {value: i for i, value in enumerate(dict.fromkeys(ours[slot]))} for slot in ("action", "object")}
    slots["location"] = {"kitchen": 0, "none": 1}
    mine, other = s3prl_datasets.Intents(ours, str(root), slots), FluentCommandsDataset(theirs, str(root), slots)
    assert len(mine) == len(other) == 4
    for i in range(4):
        for one, two in zip(mine[i], other[i], strict=True):
            assert type(one) is type(two) and np.array_equal(one, two)


def test_intents_that_pandas_would_take_for_something_else(ready, damaged):
    root = damaged("ic")
    for table in (root / "data").iterdir():
        table.write_text(table.read_text().replace("kitchen", "1").replace("none", "NA"))
    ours, theirs = intents_of(root)
    assert list(ours["location"]) == ["1", "NA", "NA", "1"] and theirs["location"].isna().sum() == 2
    main(train("ic", "exp"))
    assert Path("exp/dev_truth.csv").read_text().splitlines()[0] == "valid-0,activate,lights,1"


def test_recordings_of_equal_names_keep_their_own_in_files_of_results(damaged):
    root = damaged("ic")
    table = root / "data" / "test_data.csv"
    (root / "wavs" / "speakers" / "s3").mkdir()
    (root / "wavs/speakers/s2/test-1.wav").rename(root / "wavs/speakers/s3/test-0.wav")
    table.write_text(table.read_text().replace("s2/test-1", "s3/test-0"))
    main(train("ic", "exp"))
    main(["-m", "evaluate", "-e", "exp"])
    names = [line.partition(",")[0] for line in Path("exp/test_truth.csv").read_text().splitlines()]
    assert names[:2] == ["wavs-speakers-s2-test-0", "wavs-speakers-s3-test-0"]


@pytest.mark.parametrize("pre_load", [True, False])
def test_emotions_are_those_of_s3prl(ready, pre_load):
    from s3prl.downstream.emotion.dataset import IEMOCAPDataset

    root = ready["IEMOCAP"]
    file = root / "meta_data" / "Session2" / "train_meta_data.json"
    mine, other = (data(str(root), str(file), pre_load) for data in (s3prl_datasets.Emotions, IEMOCAPDataset))
    assert len(mine) == len(other) == 16 and (mine.class_num, mine.idx2emotion) == (other.class_num, other.idx2emotion)
    for i in range(16):
        (one, *labels), (two, *others) = mine[i], other[i]
        assert np.array_equal(one, two) and one.dtype == two.dtype and labels == others


def test_recordings_of_other_formats(damaged):
    """A FLAC without a length, which s3prl's own reading need not take."""
    root = damaged("er")
    (path,) = root.rglob("Ses01F_impro01_F000.wav")
    without_length(noise(path.with_suffix(".flac"), samples=8000))
    path.unlink()
    prepare_iemocap(root, progress=False)
    main(train("er", "exp"))
    main(["-m", "evaluate", "-e", "exp"])
    assert "Ses01F_impro01_F000 neu\n" in Path("exp/test_fold1_truth.txt").read_text()


def test_experts_are_left_as_they_were():
    from s3prl.downstream.emotion import expert as emotion
    from s3prl.downstream.fluent_commands import expert as intents

    before = intents.FluentCommandsDataset, intents.pd, emotion.IEMOCAPDataset
    for task in ("fluent_commands", "voxceleb1", "emotion"):
        with s3prl_datasets.own_datasets(task):
            pass
    assert before == (intents.FluentCommandsDataset, intents.pd, emotion.IEMOCAPDataset)

"""What a checkpoint of a downstream run is asked before it is gone on with, evaluated or begun from.

- `-m evaluate` without `-e` scored a head that nobody had trained.
- `-a` beside a newest checkpoint that was cut short ended in a traceback of torch.
- A relative `-k` was looked for in the folder of the evaluation, and `-k` with the right path was ignored.
- `-a` and `-e` with another `-u`, `-s`, `-d`, `-c` went on with those of the checkpoint, and said nothing.
- `-i` with a checkpoint of another upstream or task ended in a traceback of `load_state_dict`.
"""

import shutil
from pathlib import Path

import pytest
import torch
import yaml

from fithubert_upstream.checkpoints.student import save_fithubert
from fithubert_upstream.checkpoints.torch_files import states_in
from fithubert_upstream.downstream.run import main
from fithubert_upstream.errors import FitHubertError
from fithubert_upstream.models.fithubert import FitHubert
from fithubert_upstream.settings.files import DOWNSTREAM_CONFIGS, find_config

from ..helpers import small_corpora
from ..helpers.saved_runs import cut_short, older_than, save_run
from ..helpers.tiny import SMALL

DATA = "config.downstream_expert.datarc"
QUICK = ",,".join(
    [
        "config.runner.total_steps=2,,config.runner.eval_step=9,,config.runner.save_step=1,,config.runner.log_step=9",
        f"{DATA}.num_workers=0,,{DATA}.batch_size=4",
        f"{DATA}.speech_commands_root=corpus/train,,{DATA}.speech_commands_test_root=corpus/test",
    ]
)
TASK = ("-d", "speech_commands", "-c", "mini/ks.yaml", "-o", QUICK)
UPSTREAM = ("-u", "fithubert_local", "-k", "student.safetensors", "-s", "last_hidden_state")


def student(path: Path, seed: int) -> Path:
    torch.manual_seed(seed)
    save_fithubert(FitHubert(SMALL), path)
    return path


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A folder in which keywords were trained, all its paths relative; the accuracy on the test set."""
    root = tmp_path_factory.mktemp("begun")
    small_corpora.speech_commands(root / "corpus")
    student(root / "student.safetensors", 1)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        for name in ("SPEECH_COMMANDS", "LIBRISPEECH"):
            patch.setenv(name, str(root / "corpus"))
        main(["-m", "train", *UPSTREAM, *TASK, "-n", "ks"])
        score = main(["-m", "evaluate", "-e", "result/downstream/ks"])
    return root, score


@pytest.fixture
def begun(trained, tmp_path, monkeypatch):
    """A copy of that folder to work in, without its relative paths being true: they are those of the first."""
    for name in ("SPEECH_COMMANDS", "LIBRISPEECH"):
        monkeypatch.setenv(name, str(trained[0] / "corpus"))
    shutil.copytree(trained[0], tmp_path / "copy")
    monkeypatch.chdir(tmp_path / "copy")
    return tmp_path / "copy" / "result" / "downstream" / "ks"


def refused(*argv) -> str:
    with pytest.raises(FitHubertError) as caught:
        main([str(word) for word in argv])
    assert "\n" not in str(caught.value)
    return str(caught.value)


# a head that was never trained


def test_no_score_without_a_checkpoint(begun):
    for mode in ("evaluate", "inference"):
        message = refused("-m", mode, "-t", "test", *UPSTREAM, *TASK, "-n", "x")
        assert f"-m {mode}: expected the checkpoint of a run, found none; give -e" in message
    assert "-a result/downstream/x: no such file or folder" in refused(
        "-m", "evaluate", *UPSTREAM, *TASK, "-n", "x", "-a"
    )
    assert not Path("result/downstream/x").exists()


@pytest.mark.parametrize("missing", ["Downstream", "Featurizer", "Upstream", "Optimizer"])
def test_no_score_of_a_checkpoint_without_weights(begun, missing):
    states = torch.load(begun / "states-2.ckpt", weights_only=True)
    states.pop(missing, None)
    states["Args"].upstream_trainable = missing == "Upstream"
    torch.save(states, "part.ckpt")
    mode = "train" if missing == "Optimizer" else "evaluate"
    assert f"-e part.ckpt: expected a whole checkpoint, found no {missing}" in refused("-m", mode, "-e", "part.ckpt")
    if mode == "evaluate":
        argv = ("-m", mode, *UPSTREAM, *TASK, "-n", "x", "-i", "part.ckpt")
        assert f"expected a whole checkpoint, found no {missing}" in refused(*argv)


# damaged checkpoints


def test_a_training_goes_on_from_the_checkpoint_before_a_damaged_one(begun, capsys):
    cut_short(begun / "states-2.ckpt")
    argv = ["-m", "train", *UPSTREAM, *TASK, "-n", "ks", "-a"]
    main(argv)
    told = [line for line in capsys.readouterr().err.splitlines() if "states-2.ckpt" in line]
    assert len(told) == 1 and told[0].startswith("-a ") and told[0].endswith("resuming from states-1.ckpt instead")
    assert torch.load(begun / "states-2.ckpt", weights_only=True)["Step"] == 2

    cut_short(begun / "states-2.ckpt")
    assert "states-2.ckpt: expected a checkpoint of `fithubert downstream`" in refused("-m", "evaluate", "-e", begun)
    assert "states-2.ckpt" in refused("-m", "evaluate", "-e", begun, "--all-states")
    assert not (begun / "states-1.ckpt").exists()  # max_keep
    assert "states-2.ckpt: expected a checkpoint" in refused(*argv)


def test_states_by_number(tmp_path):
    names = ["states-900.ckpt", "states-1000.ckpt", "states-epoch-3.ckpt"]
    for name in reversed(names):
        (tmp_path / name).touch()
    assert [path.name for path in states_in(tmp_path)] == names
    (tmp_path / "states-copy.ckpt").touch()
    with pytest.raises(FitHubertError, match="states-copy.ckpt: expected states-STEP.ckpt"):
        states_in(tmp_path)


# files that moved


def test_a_run_is_evaluated_from_another_folder(trained, tmp_path, monkeypatch):
    root, score = trained
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("SPEECH_COMMANDS", raising=False)
    assert main(["-m", "evaluate", "-e", str(root / "result/downstream/ks/states-2.ckpt")]) == score
    assert not list(tmp_path.iterdir())  # results go beside the checkpoint
    main(["-m", "evaluate", "-e", str(root / "result/downstream/ks"), "-p", "here"])
    assert Path("here/test_predict.txt").is_file()


def test_a_run_that_was_moved_goes_on_in_its_new_folder(begun, trained):
    before = {path: path.stat().st_mtime_ns for path in trained[0].rglob("*")}
    moved = begun.rename(begun.with_name("moved"))
    main(["-m", "train", "-e", str(moved), "-o", "config.runner.total_steps=3"])
    assert (moved / "states-3.ckpt").is_file() and not begun.exists()
    assert before == {path: path.stat().st_mtime_ns for path in trained[0].rglob("*")}


def test_a_checkpoint_that_moved(begun, trained, monkeypatch):
    root, score = trained
    hidden = (root / "student.safetensors").rename(root / "hidden.safetensors")
    try:
        assert "say where it is now with -k" in refused("-m", "evaluate", "-e", begun)
        assert main(["-m", "evaluate", "-e", str(begun), "-k", "student.safetensors"]) == score
        again = ["-m", "evaluate", "-e", str(begun), "-o", "args.upstream_ckpt='student.safetensors'"]
        assert main(again) == score
        student(Path("other.safetensors"), 2)
        message = refused("-m", "evaluate", "-e", begun, "-k", "other.safetensors")
        assert "expected the file of the original run" in message and "student.safetensors" in message
    finally:
        hidden.rename(root / "student.safetensors")


def test_a_checkpoint_that_is_another_now(begun, trained, tmp_path, capsys):
    states = torch.load(begun / "states-2.ckpt", weights_only=True)
    changed = student(tmp_path / "changed.safetensors", 3)
    states["Args"].upstream_ckpt = str(changed)
    torch.save(states, begun / "states-2.ckpt")
    assert "found another content" in refused("-m", "evaluate", "-e", begun)
    older_than(begun / "states-2.ckpt")  # which cannot know
    main(["-m", "evaluate", "-e", str(begun)])
    changed.unlink()
    assert "say where it is now with -k" in refused("-m", "evaluate", "-e", begun)
    assert main(["-m", "evaluate", "-e", str(begun), "-k", "student.safetensors"]) == trained[1]
    assert "has no recorded checksum" in capsys.readouterr().out


# flags that a checkpoint overrides


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["-u", "fithubert_mini"], "-u: expected fithubert_local, as in the original run, found fithubert_mini"),
        (["-s", "hidden_states"], "-s: expected last_hidden_state"),
        (["-l", "1"], "-l: expected None"),
        (["-d", "ctc"], "-d: expected speech_commands"),
        (["-c", "ks.yaml"], "-c ks.yaml: expected the config of the original run, found config.runner."),
        (["-f"], "-f: expected False"),
        (["-g", __file__], "-g: expected none"),
        (["-k", __file__], "found another content"),
        (["--seed", "3"], "--seed: expected 1337"),
        (["--hub", "huggingface"], "--hub: expected torch"),
        (["--upstream_feature_normalize"], "--upstream_feature_normalize: expected False"),
    ],
)
@pytest.mark.parametrize("mode", ["train", "evaluate"])
def test_other_flags_than_those_of_the_run(begun, mode, flags, words):
    assert words in refused("-m", mode, "-e", begun, *flags)
    assert "original run" in refused("-m", mode, "-a", "-n", "ks", *flags)


def test_a_command_that_leaves_out_what_the_run_had(begun):
    argv = ["-m", "train", *TASK, "-n", "ks", "-a"]
    assert "-s: expected last_hidden_state" in refused(*argv, *UPSTREAM[:4])
    assert "-k: expected " in refused(*argv, "-u", "fithubert_local", "-s", "last_hidden_state")


def test_a_config_that_changed_since(begun):
    config = yaml.safe_load(find_config("mini/ks.yaml", DOWNSTREAM_CONFIGS).read_text())
    config["optimizer"]["lr"] = 0.5
    Path("ks.yaml").write_text(yaml.safe_dump(config))
    message = refused("-m", "train", "-n", "ks", "-a", "-c", "./ks.yaml")
    assert "config.optimizer.lr 0.5 and not 0.001" in message


def test_flags_that_hold(begun, trained):
    """The same flags, and those that change no result."""
    argv = ["-m", "evaluate", *UPSTREAM, "-d", "speech_commands", "-c", "mini/ks.yaml", "--seed", "1337"]
    assert main([*argv, "-e", str(begun), "--cache_dir", "cache", "--disable_cudnn"]) == trained[1]
    assert main([*argv, "-n", "ks", "-a"]) == trained[1]


# checkpoints that do not fit


def test_a_checkpoint_to_begin_with(begun, trained):
    argv = ["-m", "evaluate", *TASK, "-n", "y", "-i", str(begun / "states-2.ckpt")]
    assert main([*argv, *UPSTREAM]) == trained[1]
    assert main([*argv, "-u", "fithubert", *UPSTREAM[2:]]) == trained[1]  # another name for the same
    student(Path("other.safetensors"), 2)
    for upstream, words in (
        (["-u", "fbank"], "-s hidden_states, found one of -s last_hidden_state"),
        (["-u", "fithubert_mini", "-s", "last_hidden_state"], "-u fithubert_mini, found one of -u fithubert_local"),
        ([*UPSTREAM[:2], "-k", "other.safetensors", *UPSTREAM[4:]], "found one of -k "),
        ([*UPSTREAM[:4], "-s", "hidden_states"], "found one of -s last_hidden_state"),
    ):
        assert words in refused(*argv, *upstream)
    ctc = save_run(Path("ctc.ckpt").absolute(), *UPSTREAM, "-d", "ctc", "-c", "mini/pr.yaml", "-n", "z")
    message = refused("-m", "evaluate", *UPSTREAM, *TASK, "-n", "y", "-i", ctc)
    assert "expected a checkpoint of -d speech_commands, found one of -d ctc" in message


def test_weights_that_do_not_fit_name_both_sides(begun):
    other = f"{QUICK},,config.downstream_expert.modelrc.projector_dim=16"
    argv = ["-m", "evaluate", *UPSTREAM, *TASK[:4], "-o", other, "-n", "y", "-i", begun / "states-2.ckpt"]
    message = refused(*argv)
    assert "Downstream of -d speech_commands -u fithubert_local" in message and "expected shape (16, " in message
    message = refused(
        "-m", "train", "-u", "fithubert_mini", *TASK, "-n", "y", "-i", begun / "states-1.ckpt", *UPSTREAM[4:]
    )
    assert "does not fit -d speech_commands -u fithubert_mini" in message


def test_a_training_that_would_make_no_step(begun):
    message = refused("-m", "train", *UPSTREAM, *TASK, "-n", "y", "-i", begun / "states-2.ckpt")
    assert "expected a checkpoint from before config.runner.total_steps=2, found step 2" in message

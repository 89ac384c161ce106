"""`fithubert link`, on a copy of the installed s3prl that stands for a git clone."""

import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from fithubert_upstream import link
from fithubert_upstream.checkpoints.load import load_fithubert
from fithubert_upstream.checkpoints.student import save_fithubert
from fithubert_upstream.checkpoints.torch_files import read_torch
from fithubert_upstream.errors import FitHubertError
from fithubert_upstream.models.config import FitHubertConfig
from fithubert_upstream.models.fithubert import FitHubert

from .conftest import REPO
from .helpers.audio import write_split
from .helpers.tiny import STUDENT, make_corpus, make_teacher, write_configs

INSTALLED = Path(importlib.util.find_spec("s3prl").submodule_search_locations[0])
SCRIPTS = ("run_downstream.py", "run_pretrain.py", "hub.py")


@pytest.fixture
def checkout(tmp_path):
    """The folders and files that `link` looks at; its inner folder."""
    inner = tmp_path / "clone" / "s3prl"
    for name in ("upstream", "pretrain"):
        (inner / name).mkdir(parents=True)
    for name in SCRIPTS:
        shutil.copy2(INSTALLED / name, inner)
    return inner


def contents(folder: Path) -> dict[str, bytes | None]:
    """Everything below a folder; a folder has no content."""
    return {str(p.relative_to(folder)): p.read_bytes() if p.is_file() else None for p in folder.rglob("*")}


def fails(*argv) -> str:
    """The message of the FitHubertError that the flags raise; it is one line."""
    with pytest.raises(FitHubertError) as caught:
        link.main([str(arg) for arg in argv])
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_repeating_changes_nothing_and_remove_restores_every_byte(checkout, capsys):
    (checkout / "run_downstream.py").chmod(0o755)
    (checkout / "hub.py").write_bytes((checkout / "hub.py").read_bytes().replace(b"\n", b"\r\n"))
    before = contents(checkout)

    link.main([str(checkout.parent)])
    linked = contents(checkout)
    assert set(linked) - set(before) == {"pretrain/fithubert"} | {
        f"pretrain/fithubert/{name}"
        for name in ("__init__.py", "pretrain_expert.py", "config_model.yaml", "config_runner.yaml")
    }
    assert all(linked[name] != before[name] for name in SCRIPTS)
    assert linked["hub.py"].count(b"\n") == linked["hub.py"].count(b"\r\n")
    assert (checkout / "run_downstream.py").stat().st_mode & 0o777 == 0o755
    assert "linked (7 changed)" in capsys.readouterr().out

    link.main([str(checkout)])  # the inner folder will do
    assert contents(checkout) == linked
    assert "linked (0 changed)" in capsys.readouterr().out

    (checkout / "pretrain" / "fithubert" / "__pycache__").mkdir()
    link.main([str(checkout), "--remove"])
    assert contents(checkout) == before
    assert (checkout / "run_downstream.py").stat().st_mode & 0o777 == 0o755
    link.main([str(checkout), "--remove"])
    assert "as it was before (0 changed)" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("above", "below"),
    [
        ("", "import os\n"),
        ("#!/usr/bin/env python\n# -*- coding: latin-1 -*-\n'''A\ndocstring.'''\n# \xe9\n", "import os, sys\n"),
        ("from __future__ import annotations\n\n", "from pathlib import Path\nimport os"),
        ("'one'\n#####\n'two'\nif True:\n    import re\n", "import os\nimport sys\n"),
    ],
)
def test_the_block_stands_before_the_first_import(tmp_path, above, below):
    path = tmp_path / "script.py"
    path.write_bytes((above + below).encode("latin-1"))
    linked = link.add_block(path, (b"x = 1",)).decode("latin-1")
    assert linked.startswith(above + "# >>> fithubert_upstream") and linked.endswith(
        "# <<< fithubert_upstream\n" + below
    )
    compile(linked, "script.py", "exec")
    path.write_bytes(linked.encode("latin-1"))
    assert link.remove_block(path, (b"x = 1",)) == (above + below).encode("latin-1")


def test_mistakes_are_told_before_anything_is_written(checkout, tmp_path):
    assert "found no such folder" in fails(tmp_path / "nowhere")
    message = fails(tmp_path)
    assert "expected a git clone of s3prl" in message and "found none of run_downstream.py" in message
    shutil.rmtree(checkout / "upstream")
    assert fails(checkout).endswith("found none of upstream")
    (checkout / "upstream").mkdir()

    hub = (checkout / "hub.py").read_bytes()
    for content, words in ((b"print 'python 2'\n", "expected Python"), (b"'nothing'\n", "expected an import")):
        (checkout / "hub.py").write_bytes(content)
        before = contents(checkout)
        assert words in fails(checkout)
        assert contents(checkout) == before
    (checkout / "hub.py").write_bytes(hub)

    theirs = checkout / "pretrain" / "fithubert" / "pretrain_expert.py"
    theirs.parent.mkdir()
    theirs.write_text("class UpstreamPretrainExpert: ...\n")
    before = contents(checkout)
    assert "pretrain_expert.py: expected no file" in fails(checkout)
    assert "pretrain_expert.py: expected a file as `fithubert link` wrote it" in fails(checkout, "--remove")
    assert contents(checkout) == before


@pytest.mark.parametrize("change", [(b"linked_run()\n", b""), (b"# <<< fithubert_upstream\n", b"")])
def test_a_block_changed_by_hand_is_left_alone(checkout, change):
    link.link(checkout)
    script = checkout / "run_pretrain.py"
    script.write_bytes(script.read_bytes().replace(*change))
    before = contents(checkout)
    assert "run_pretrain.py: expected the block" in fails(checkout)
    assert "run_pretrain.py: expected the block" in fails(checkout, "--remove")
    assert contents(checkout) == before


def test_the_users_configs_are_kept_and_an_older_version_s_renewed(checkout):
    link.link(checkout)
    folder = checkout / "pretrain" / "fithubert"
    runner, model = folder / "config_runner.yaml", folder / "config_model.yaml"
    edited = runner.read_bytes().replace(b"train-clean-100", b"train-clean-360")
    runner.write_bytes(edited)
    newest = model.read_bytes()
    model.write_bytes(link._signed(b"student: {}\n"))
    assert link.link(checkout) == [model]
    assert runner.read_bytes() == edited and model.read_bytes() == newest
    assert "config_runner.yaml: expected a file as" in fails(checkout, "--remove")
    runner.unlink()
    link.unlink(checkout)
    assert not folder.exists()


def test_another_installed_s3prl_is_told(checkout, caplog, monkeypatch):
    link.main([str(checkout)])
    (record,) = caplog.records
    assert (
        str(INSTALLED.resolve()) in record.getMessage() and f"pip install -e {checkout.parent}" in record.getMessage()
    )
    caplog.clear()
    monkeypatch.syspath_prepend(checkout.parent)
    (checkout / "__init__.py").touch()
    monkeypatch.delitem(sys.modules, "s3prl", raising=False)  # find_spec would answer with what is imported
    link.main([str(checkout)])
    assert not caplog.records


# --------------------------------------------------------------------------------------------
# the checkout's own scripts, as its user runs them


@pytest.fixture(scope="module")
def clone(tmp_path_factory):
    """A linked copy of the whole package; with its bytecode, for the subprocesses' sake."""
    inner = tmp_path_factory.mktemp("clone") / "s3prl"
    shutil.copytree(INSTALLED, inner)
    link.link(inner)
    return inner


def run(clone: Path, *argv, own_s3prl: bool = True, **environment) -> str:
    """Run the interpreter in the clone's inner folder, importing its own s3prl or the installed one."""
    search = [str(clone.parent)] if own_s3prl else []
    environment |= {"PYTHONPATH": os.pathsep.join([*search, str(REPO)]), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, *map(str, argv)], cwd=clone, env=os.environ | environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def overrides(**values) -> str:
    return ",,".join(f"config.{name.replace('__', '.')}={value!r}" for name, value in values.items())


@pytest.mark.slow
def test_its_run_downstream_trains_phone_recognition(clone, tmp_path):
    save_fithubert(FitHubert(FitHubertConfig.from_dict(STUDENT)), tmp_path / "student.safetensors")
    for split in ("train", "dev"):
        write_split(tmp_path / "corpus" / split, {"1-1-0000": "THE CAT", "1-1-0001": "A HAT"})
    few = dict.fromkeys(("total_steps", "eval_step", "save_step", "log_step"), 2)
    change = overrides(
        **{f"runner__{name}": value for name, value in few.items()},
        downstream_expert__corpus__path=str(tmp_path / "corpus"),
        downstream_expert__corpus__num_workers=0,
        downstream_expert__corpus__batch_size=2,
        downstream_expert__text__vocab_file=str(REPO / "fithubert_upstream" / "configs" / "phoneme.txt"),
    )
    arguments = ["-m", "train", "-u", "fithubert", "-k", tmp_path / "student.safetensors", "--device", "cpu"]
    arguments += ["-d", "ctc", "-c", REPO / "downstream_configs" / "mini" / "pr.yaml", "-p", tmp_path / "exp"]
    run(clone, "run_downstream.py", *arguments, "-o", change)
    states = read_torch(tmp_path / "exp" / "states-2.ckpt")
    assert states["Step"] == 2 and len(states["Featurizer"]["weights"]) == STUDENT["num_layers"]


@pytest.mark.slow
def test_its_run_pretrain_distils_with_the_configs_in_place(clone, tmp_path):
    """By the installed s3prl, which is then not the checkout, and by an edited model config."""
    model, _ = write_configs(tmp_path, make_teacher(tmp_path / "teacher"), make_corpus(tmp_path / "corpus"))
    in_place = clone / "pretrain" / "fithubert" / "config_model.yaml"
    in_place.write_bytes(in_place.read_bytes().partition(b"\n")[0] + b"\n" + model.read_bytes())
    change = overrides(
        runner__total_steps=2,
        runner__log_step=1,
        runner__save_step=1,
        pretrain_expert__datarc__train=["${LIBRISPEECH}/train"],
        pretrain_expert__datarc__batch_size=2,
        pretrain_expert__datarc__num_workers=0,
    )
    arguments = ["-u", "fithubert", "-n", "tiny", "-p", tmp_path / "exp", "--device", "cpu", "-o", change]
    run(clone, "run_pretrain.py", *arguments, own_s3prl=False, LIBRISPEECH=str(tmp_path / "corpus"))
    student = load_fithubert(tmp_path / "exp" / "states-2.ckpt")
    assert student.config == FitHubertConfig.from_dict(yaml.safe_load(model.read_text())["student"])
    link.link(clone)  # still linked, its config still the user's
    assert in_place.read_bytes().endswith(model.read_bytes())


@pytest.mark.slow
def test_its_hub_has_the_upstream_without_a_script(clone, tmp_path):
    save_fithubert(FitHubert(FitHubertConfig.from_dict(STUDENT)), tmp_path / "student.safetensors")
    code = (
        "import s3prl; from s3prl.nn import S3PRLUpstream; "
        "names = S3PRLUpstream.available_names(); assert 'register' not in names and 'hubert_base' in names; "
        "print(s3prl.__file__, [name for name in names if 'fit' in name].count('fithubert')); "
        f"print(S3PRLUpstream('fithubert', {str(tmp_path / 'student.safetensors')!r}).num_layers)"
    )
    lines = run(clone, "-c", code).splitlines()
    assert lines == [f"{clone / '__init__.py'} 1", str(STUDENT["num_layers"])]


@pytest.mark.slow
def test_its_scripts_get_the_repairs_of_their_task(clone):
    code = (
        "import sys\n"
        "sys.argv[1:] = ['-m', 'evaluate', '-e', 'x.ckpt', '--device', 'cpu']\n"  # the task is in the file
        "from fithubert_upstream.link import linked_run; linked_run()\n"
        "import torch\n"
        "from s3prl.downstream.asr import model\n"
        "from s3prl.downstream.sv_voxceleb1 import expert\n"
        "print(torch.zeros(1).cuda().device, expert.SpeakerVerifi_train.__name__, model.RNNLayer.__init__.__name__)\n"
    )
    assert run(clone, "-c", code).split()[-3:] == ["cpu", "SpeakerClips", "build"]

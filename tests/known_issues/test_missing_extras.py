"""A base install has no lhotse, lightning-fabric, onnx or eSpeak NG (GPL): what needs them says so in one line, and
everything else works. Before, the base install had to bring them all."""

import importlib.util
import os
import pickle
import subprocess
import sys

import pytest

from fithubert_upstream import cli
from fithubert_upstream.corpora.synthetic import espeak
from fithubert_upstream.data.loader import DataConfig, build_dataloader
from fithubert_upstream.errors import FitHubertError, MissingPackage, from_extra

from ..conftest import REPO
from ..helpers.tiny import make_corpus

# Module of ours -> what it imports at its top, and the extra that brings it.
TOP = {
    "data.lhotse_audio": ("lhotse", "distill"),
    "distillation.train": ("lightning_fabric", "distill"),
    "distillation.processes": ("lightning_fabric", "distill"),
    "benchmarks.train": ("lightning_fabric", "distill"),
}


@pytest.mark.parametrize("module", TOP)
def test_import_error_of_a_module(module, monkeypatch):
    package, extra = TOP[module]
    spec = importlib.util.find_spec(f"fithubert_upstream.{module}")
    for name in [package, *(name for name in sys.modules if name.startswith(f"{package}."))]:
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(MissingPackage, match=rf"needs {package}; pip install '.*\[{extra}\]'$"):
        spec.loader.exec_module(importlib.util.module_from_spec(spec))


def test_a_package_that_does_not_work():
    def broken():
        with from_extra("onnx", "an ONNX file"):
            raise ImportError("libgomp.so.1: cannot open shared object file", name="onnxruntime.capi")

    with pytest.raises(MissingPackage) as caught:
        broken()
    assert str(caught.value) == (
        "an ONNX file needs a working onnxruntime (libgomp.so.1: cannot open shared object file); "
        "pip install 'fithubert-upstream[onnx]'"
    )
    assert isinstance(caught.value, (FitHubertError, ImportError))
    assert str(pickle.loads(pickle.dumps(caught.value))) == str(caught.value)  # out of a data loader's worker


def test_synth_and_demo_write_nothing(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(sys.modules, "espeakng_loader", None)
    espeak.library_paths.cache_clear()
    for job in (["synth", "deep/corpora", "--minutes", "1", "--jobs", "1"], ["demo"]):
        assert cli.main(job) == 2
        line = f"fithubert {job[0]}: speech synthesis needs espeakng_loader; pip install 'fithubert-upstream[synth]'\n"
        assert capsys.readouterr().err == line
    assert not list(tmp_path.iterdir())
    espeak.library_paths.cache_clear()


BASE = """
import importlib, pkgutil, sys

from importlib.machinery import PathFinder

class WithoutExtras(PathFinder):
    @classmethod
    def find_spec(cls, name, path=None, target=None):
        hidden = {"lhotse", "lightning_fabric", "onnx", "onnxscript", "onnxruntime", "espeakng_loader"}
        return None if name.split(".")[0] in hidden else super().find_spec(name, path, target)

sys.meta_path[sys.meta_path.index(PathFinder)] = WithoutExtras
import fithubert_upstream
from fithubert_upstream.errors import MissingPackage

lacking = set()
for module in pkgutil.walk_packages(fithubert_upstream.__path__, "fithubert_upstream."):
    try:
        importlib.import_module(module.name)
    except MissingPackage as error:
        assert "pip install 'fithubert-upstream[" in str(error) and chr(10) not in str(error)
        lacking.add(module.name.partition(".")[2])
print(*sorted(lacking))

from fithubert_upstream.cli import main
jobs = ("distill -n x", "demo", "export fithubert_mini -o x.onnx", "benchmark train")
print(*(main(job.split()) for job in jobs))
print(main(["convert", sys.argv[1], "-o", "copy.safetensors"]))
fithubert_upstream.register()
import torch
from s3prl import hub
print(tuple(hub.fithubert_mini()([torch.zeros(16000)])["last_hidden_state"].shape), hub.fbank().__class__.__name__)
"""


@pytest.mark.slow
def test_a_base_install(tmp_path):
    student = REPO / "fithubert_upstream" / "assets" / "fithubert_mini.safetensors"
    done = subprocess.run(
        [sys.executable, "-c", BASE, str(student)],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(REPO), "LIBRISPEECH": str(tmp_path)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    lacking, codes, _, converted, features = done.stdout.splitlines()
    assert lacking == (
        "benchmarks.train data.cuts data.lhotse_audio data.shar distillation.processes distillation.train pruning.run"
    )
    assert codes == "2 2 2 2" and converted == "0" and features == "(1, 49, 512) UpstreamExpert"
    assert done.stderr.count("pip install 'fithubert-upstream[") == 4 and "Traceback" not in done.stderr


def test_folders_of_audio_need_no_lhotse(tmp_path, monkeypatch):
    """Before, distilling on plain folders needed it too; now only cuts files and Shar folders do."""
    corpus = make_corpus(tmp_path / "corpus")
    for name in [name for name in sys.modules if name.split(".")[0] == "lhotse"]:
        monkeypatch.setitem(sys.modules, name, None)
    for name in ("cuts", "shar", "lhotse_audio"):
        monkeypatch.delitem(sys.modules, f"fithubert_upstream.data.{name}", raising=False)
    monkeypatch.setitem(sys.modules, "lhotse", None)
    assert len(list(build_dataloader(DataConfig((str(corpus),), batch_size=4), 0))) == 2
    (tmp_path / "cuts.jsonl").write_text("{}")
    with pytest.raises(MissingPackage, match=r"a lhotse cuts file needs lhotse; pip install '.*\[distill\]'$"):
        build_dataloader(DataConfig((str(tmp_path / "cuts.jsonl"),), batch_size=4), 0)

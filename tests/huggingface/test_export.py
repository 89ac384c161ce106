"""`fithubert export-hf`: the folder, and what is told where it cannot be written or sent."""

import json
import re
import sys

import pytest
import torch

from fithubert_upstream import FitHubertModel, load_fithubert
from fithubert_upstream.checkpoints.student import save_fithubert
from fithubert_upstream.cli import main as cli
from fithubert_upstream.huggingface import export as export_module

from ..conftest import REPO

FILES = ["README.md", "config.json", "model.safetensors", "modeling_fithubert.py", "preprocessor_config.json"]


@pytest.fixture
def ckpt(student, tmp_path, monkeypatch):
    save_fithubert(student, tmp_path / "student.safetensors")
    monkeypatch.chdir(tmp_path)
    return "student.safetensors"


def test_the_folder(ckpt, tmp_path, capsys):
    assert cli(["export-hf", ckpt, "-o", "out"]) == 0
    assert "largest difference to the student" in capsys.readouterr().out
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == FILES
    config = json.loads((tmp_path / "out" / "config.json").read_text())
    assert config["auto_map"]["AutoModel"] == "modeling_fithubert.FitHubertModel"
    assert config["model_type"] == "fithubert" and config["architectures"] == ["FitHubertModel"]
    extractor = json.loads((tmp_path / "out" / "preprocessor_config.json").read_text())
    assert extractor["do_normalize"] is False and extractor["return_attention_mask"] is True
    wav = torch.randn(1, 4000)
    with torch.no_grad():
        expected = load_fithubert(ckpt)(wav)[0][-1]
        torch.testing.assert_close(FitHubertModel.from_pretrained("out")(wav).last_hidden_state, expected)


def test_an_embedded_model(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert cli(["export-hf", "fithubert_mini", "-o", "mini"]) == 0
    card = (tmp_path / "mini" / "README.md").read_text()
    assert "base_model: openai/whisper-base" in card and "license: apache-2.0" in card and "2,224,800" in card


def test_mistakes(ckpt, tmp_path, capsys):
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine.txt").touch()
    for argv, message in (
        ([ckpt, "-o", "full"], "full: expected a folder that is new or empty, found files in it; choose another name"),
        ([ckpt, "-o", ckpt], "expected a folder that can be written, found: a file; choose another"),
        (["nothing.safetensors", "-o", "x"], "expected a checkpoint file, found nothing"),
        ([ckpt, "-o", "x", "--result", ckpt], "expected the result.json of a task of `fithubert superb`"),
        ([ckpt, "-o", "x", "--pusch", "a/b"], "--pusch: unknown flag; did you mean --push?"),
    ):
        assert cli(["export-hf", *argv]) == 2
        told = capsys.readouterr().err
        assert message in told and told.count("\n") == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["full", "student.safetensors"]


def test_a_full_disk_leaves_nothing(ckpt, tmp_path, capsys):
    resource = pytest.importorskip("resource")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, hard))
    try:
        code = cli(["export-hf", ckpt, "-o", "out"])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    told = capsys.readouterr().err
    assert code == 2 and told.count("\n") == 1 and "cannot be written (File too large)" in told
    assert [path.name for path in tmp_path.iterdir()] == ["student.safetensors"]


def test_other_features_are_not_saved(ckpt, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(export_module, "TOLERANCE", -1.0)
    assert cli(["export-hf", ckpt, "-o", "out"]) == 2
    assert "nothing was written" in capsys.readouterr().err and not (tmp_path / "out").exists()


def test_a_hub_that_cannot_be_reached(ckpt, tmp_path, capsys):
    """The tests run with HF_HUB_OFFLINE=1."""
    assert cli(["export-hf", ckpt, "-o", "out", "--push", "me/small"]) == 2
    told = capsys.readouterr().err
    assert told.count("\n") == 1 and "--push me/small: the Hub could not be reached or refused (" in told
    assert "`hf upload me/small out`" in told
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == FILES


def test_it_is_sent_whole(ckpt, monkeypatch, capsys):
    import huggingface_hub

    sent = {}

    class Api:
        def create_repo(self, name, exist_ok):
            return f"https://huggingface.co/{name}"

        def upload_folder(self, repo_id, folder_path, commit_message):
            import os

            sent[repo_id] = sorted(os.listdir(folder_path))

    monkeypatch.setattr(huggingface_hub, "HfApi", Api)
    assert cli(["export-hf", ckpt, "-o", "out", "--push", "me/small"]) == 0
    assert sent == {"me/small": FILES} and "uploaded to https://huggingface.co/me/small" in capsys.readouterr().out


def test_without_transformers(ckpt, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "transformers", None)
    assert cli(["export-hf", ckpt, "-o", "out"]) == 2
    assert capsys.readouterr().err.endswith("needs transformers; pip install 'fithubert-upstream[hf]'\n")


@pytest.mark.slow
def test_the_examples_of_the_docs(tmp_path, monkeypatch, capsys):
    pytest.importorskip("accelerate")
    pytest.importorskip("peft")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HF_MODULES_CACHE", str(tmp_path / "modules"))
    assert cli(["export-hf", "fithubert_mini", "-o", "fithubert_mini_hf"]) == 0
    names: dict = {}
    blocks = re.findall(r"^```python\n(.*?)^```", (REPO / "docs" / "huggingface.md").read_text(), flags=re.M | re.S)
    for block in blocks:
        exec(block, names)
    told = capsys.readouterr().out
    assert len(blocks) == 4 and "torch.Size([2, 49, 512])" in told and "trainable params" in told
    assert len(load_fithubert("student.safetensors").layers) == 12

"""The model's code as one file: what it needs, and that it gives the same without this package."""

import ast
import subprocess
import sys

import pytest
import torch

from fithubert_upstream.huggingface.export import export, load_by_code
from fithubert_upstream.huggingface.single_file import Collection, single_file
from fithubert_upstream.huggingface.weights import from_student
from fithubert_upstream.models.config import FitHubertConfig
from fithubert_upstream.models.fithubert import FitHubert

from ..helpers.tiny import RELATIVES, STUDENT, TWO_LAYER


def test_it_imports_the_standard_library_torch_and_transformers():
    tree, found = ast.parse(single_file()), set()
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0
            found.add(node.module.split(".")[0])
        elif isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
    assert found - sys.stdlib_module_names == {"torch", "transformers"}


def test_every_definition_once_and_after_what_it_needs():
    tree, names = ast.parse(single_file()), []
    for node in tree.body:
        if isinstance(node, ast.ClassDef):
            bases = {base.id for base in node.bases if isinstance(base, ast.Name)}
            assert bases <= {*names, "ValueError", "NamedTuple", "PreTrainedModel", "PretrainedConfig"}
        if isinstance(node, ast.ClassDef | ast.FunctionDef):
            names.append(node.name)
    assert len(names) == len(set(names))
    assert {"FitHubert", "FitHubertModel", "FitHubertForCTC", "RelativePositions"} <= set(names)
    assert not {"load_yaml", "read_yaml", "find_config", "hide"} & set(names)  # nothing that is not used


def test_names_of_modules_before_their_content_go():
    collection = Collection()
    collection.add("settings.files", "_convert")
    assert ("settings.values", "whole") in collection.needed
    assert "values." not in collection.text("settings.files")


@pytest.mark.parametrize("kind", [*RELATIVES, "predictions"])
def test_the_family_by_its_own_code(kind, tmp_path):
    """`export` compares it with the student."""
    config = {"predictions": STUDENT | TWO_LAYER | {"head_layers": [1, 2]}, **RELATIVES}[kind]
    student = FitHubert(FitHubertConfig.from_dict(config)).eval()
    assert export(student, tmp_path / "folder") < 1e-4
    module = load_by_code(tmp_path / "folder")
    assert (
        module.FitHubertModelConfig.from_pretrained(tmp_path / "folder").student().to_dict() == student.config.to_dict()
    )


ALONE = """
import importlib.util, sys
from importlib.machinery import PathFinder

HIDDEN = {"fithubert_upstream", "s3prl", "torchaudio", "soundfile", "librosa"}
class Without(PathFinder):
    @classmethod
    def find_spec(cls, name, path=None, target=None):
        return None if name.split(".")[0] in HIDDEN else super().find_spec(name, path, target)
sys.meta_path[sys.meta_path.index(PathFinder)] = Without
sys.meta_path[:] = [finder for finder in sys.meta_path if "__editable__" not in str(finder)]

import torch
from transformers import AutoFeatureExtractor, AutoModel, AutoModelForAudioClassification, AutoModelForCTC

folder, out = sys.argv[1:]
extractor = AutoFeatureExtractor.from_pretrained(folder)
wavs = torch.load(out + "/wavs.pt")
inputs = extractor([wav.numpy() for wav in wavs], sampling_rate=16000, padding=True, return_tensors="pt")
model = AutoModel.from_pretrained(folder, trust_remote_code=True)
with torch.no_grad():
    found = model(**inputs, output_hidden_states=True)
torch.save((found.last_hidden_state, found.hidden_states), out + "/found.pt")
AutoModelForAudioClassification.from_pretrained(folder, trust_remote_code=True)
AutoModelForCTC.from_pretrained(folder, trust_remote_code=True, vocab_size=5).save_pretrained(out + "/saved")
again = AutoModelForCTC.from_pretrained(out + "/saved", trust_remote_code=True)
print(type(again).__name__, again.lm_head.out_features, sorted(HIDDEN & {name.split(".")[0] for name in sys.modules}))
"""


@pytest.mark.slow
def test_with_transformers_and_torch_alone(student, tmp_path, monkeypatch):
    export(student, tmp_path / "folder")
    wavs = [0.1 * torch.randn(8000), 0.1 * torch.randn(3000)]
    torch.save(wavs, tmp_path / "wavs.pt")
    monkeypatch.setenv("HF_MODULES_CACHE", str(tmp_path / "modules"))
    monkeypatch.delenv("PYTHONPATH", raising=False)
    done = subprocess.run(
        [sys.executable, "-c", ALONE, str(tmp_path / "folder"), str(tmp_path)],
        capture_output=True,
        text=True,
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.splitlines()[-1] == "FitHubertForCTC 5 []"
    last, states = torch.load(tmp_path / "found.pt")
    inputs = torch.nn.utils.rnn.pad_sequence(wavs, batch_first=True)
    mask = torch.tensor([[1] * 8000, [1] * 3000 + [0] * 5000])
    with torch.no_grad():
        expected = from_student(student)(inputs, mask, output_hidden_states=True)
    torch.testing.assert_close(last, expected.last_hidden_state, rtol=0, atol=1e-4)
    for state, other in zip(states, expected.hidden_states, strict=True):
        torch.testing.assert_close(state, other, rtol=0, atol=1e-4)

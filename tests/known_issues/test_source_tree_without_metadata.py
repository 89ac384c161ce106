"""A source tree on PYTHONPATH, not installed: `export` failed after its work and `superb` after the training, with
`PackageNotFoundError` for the package's own version."""

import ast
import sys
from importlib import metadata
from types import ModuleType

import onnx
import pytest
import torch

from fithubert_upstream import assets
from fithubert_upstream.checkpoints.load import load_fithubert
from fithubert_upstream.export import onnx as export
from fithubert_upstream.runs.versions import VERSION, version, versions

from ..conftest import REPO


@pytest.fixture
def installed(monkeypatch):
    """The distributions that have metadata: name -> version; none at first."""
    known = {}

    def find(name):
        if name not in known:
            raise metadata.PackageNotFoundError(name)
        return known[name]

    monkeypatch.setattr(metadata, "version", find)
    return known


def test_an_export_says_its_version(installed, tmp_path, monkeypatch):
    monkeypatch.setattr(export, "trace", lambda model: onnx.ModelProto())
    monkeypatch.setattr(export, "_compare", lambda *_: "no difference")
    export.export(load_fithubert(assets.find("fithubert_mini")), tmp_path / "s.onnx")
    saved = {item.key: item.value for item in onnx.load(tmp_path / "s.onnx").metadata_props}
    assert saved["package_version"] == VERSION


def test_a_result_says_its_versions(installed, monkeypatch):
    clone = ModuleType("s3prl")
    clone.__version__ = "0.4.19"
    monkeypatch.setitem(sys.modules, "s3prl", clone)
    monkeypatch.setitem(sys.modules, "torchaudio", ModuleType("torchaudio"))
    found = versions()
    assert list(found) == ["python", "fithubert-upstream", "s3prl", "torch", "torchaudio"]
    assert found["fithubert-upstream"] == VERSION and found["torch"] == torch.__version__
    assert found["s3prl"] == "0.4.19" and found["torchaudio"] == "unknown"
    monkeypatch.delitem(sys.modules, "s3prl")
    assert version("s3prl") == "unknown"


def test_the_distribution_that_brings_s3prl_is_named(installed):
    installed["espnet-s3prl"] = "2026.5.14"
    assert versions()["s3prl"] == "espnet-s3prl 2026.5.14"
    installed["s3prl"] = "0.4.18"
    assert versions()["s3prl"] == "0.4.18 and espnet-s3prl 2026.5.14"
    del installed["espnet-s3prl"]
    assert versions()["s3prl"] == "0.4.18"


def test_only_one_module_asks_for_metadata():
    asking = set()
    for path in (REPO / "fithubert_upstream").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = [alias.name for alias in node.names] if isinstance(node, (ast.Import, ast.ImportFrom)) else []
            module = getattr(node, "module", None) or ""
            if any(f"{module}.{name}".strip(".").startswith("importlib.metadata") for name in names):
                asking.add(path.name)
    assert asking == {"versions.py"}

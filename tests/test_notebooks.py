"""docs/notebooks: they run as they are, and were committed with what they printed."""

import json
import shutil
import sys

import pytest

from .conftest import REPO

NOTEBOOKS = sorted((REPO / "docs" / "notebooks").glob("*.ipynb"))
LARGEST = 400_000  # bytes, pictures and all


def code_cells(notebook):
    return [cell for cell in json.loads(notebook.read_text(encoding="utf-8"))["cells"] if cell["cell_type"] == "code"]


def test_both_are_there():
    assert [notebook.name for notebook in NOTEBOOKS] == ["distil.ipynb", "features.ipynb"]


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebook_holds_the_outputs_of_one_whole_run(notebook):
    cells = code_cells(notebook)
    assert [cell["execution_count"] for cell in cells] == list(range(1, len(cells) + 1))
    outputs = [output for cell in cells for output in cell["outputs"]]
    assert not [output for output in outputs if output["output_type"] == "error" or output.get("name") == "stderr"]
    assert any("image/png" in output.get("data", {}) for output in outputs)
    assert notebook.stat().st_size <= LARGEST
    text = notebook.read_text(encoding="utf-8")
    assert "/home/" not in text and "/work/" not in text


@pytest.mark.slow
@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebook_runs(notebook, tmp_path, monkeypatch):
    nbclient = pytest.importorskip("nbclient")
    nbformat = pytest.importorskip("nbformat")
    pytest.importorskip("ipykernel")
    pytest.importorskip("espeakng_loader")
    monkeypatch.setenv("NOTEBOOK_STEPS", "3")
    monkeypatch.setenv("PYTHONPATH", str(REPO))
    monkeypatch.setenv("JUPYTER_DATA_DIR", str(tmp_path / "jupyter"))
    # Another kernel of a user's may be called python3, too.
    kernel = {"argv": [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"], "display_name": "here"}
    folder = tmp_path / "jupyter" / "kernels" / "here"
    folder.mkdir(parents=True)
    (folder / "kernel.json").write_text(json.dumps(kernel))
    copy = shutil.copy(notebook, tmp_path)
    client = nbclient.NotebookClient(
        nbformat.read(copy, as_version=4),
        timeout=900,
        kernel_name="here",
        resources={"metadata": {"path": str(tmp_path)}},
    )
    done = client.execute()  # raises what a cell raises
    texts = [output.get("text", "") for cell in done.cells for output in cell.get("outputs", [])]
    assert any("% of frames" in text for text in texts)

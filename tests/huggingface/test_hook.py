"""transformers' Auto classes know ours after `import fithubert_upstream`, whichever comes first."""

import logging
import subprocess
import sys

import pytest

from fithubert_upstream.huggingface import auto, hook

from ..conftest import REPO

USE = """
folder = {folder!r}
print(type(AutoConfig.from_pretrained(folder)).__name__, type(AutoModel.from_pretrained(folder)).__name__)
print(type(AutoModelForCTC.from_pretrained(folder)).__name__)
print(type(AutoModelForAudioClassification.from_pretrained(folder)).__name__)
print(type(AutoFeatureExtractor.from_pretrained(folder)).__name__)
"""
TRANSFORMERS = """
from transformers import AutoConfig, AutoFeatureExtractor, AutoModel, AutoModelForAudioClassification, AutoModelForCTC
"""
ORDERS = {
    "ours first": "import fithubert_upstream" + TRANSFORMERS,
    "transformers first": (
        "from fithubert_upstream.compat.torchaudio import mend_torchaudio_import as mend; mend()"
        "; import sys; [sys.modules.pop(n) for n in list(sys.modules) if n.startswith('fithubert_upstream')]"
        "; sys.meta_path[:] = [f for f in sys.meta_path if type(f).__name__ != '_Finder']"
        + TRANSFORMERS
        + "import fithubert_upstream"
    ),
    "models first": "import fithubert_upstream, transformers.modeling_utils" + TRANSFORMERS,
}


def run(code: str, tmp_path) -> list[str]:
    done = subprocess.run(
        [sys.executable, "-c", f"import sys; sys.path.insert(0, {str(REPO)!r})\n{code}"],
        capture_output=True,
        text=True,
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout.splitlines()


@pytest.mark.slow
@pytest.mark.parametrize("order", ORDERS)
def test_auto_classes(order, student, tmp_path):
    from fithubert_upstream.huggingface.export import export

    export(student, tmp_path / "small")
    found = run(ORDERS[order] + USE.format(folder=str(tmp_path / "small")), tmp_path)
    assert found == [
        "FitHubertModelConfig FitHubertModel",
        "FitHubertForCTC",
        "FitHubertForSequenceClassification",
        "Wav2Vec2FeatureExtractor",
    ]


@pytest.mark.slow
def test_nothing_is_imported_before_it_is_needed(tmp_path):
    code = "import fithubert_upstream, transformers; print('fithubert_upstream.models.config' in sys.modules)"
    code += "; from transformers import AutoConfig; print('fithubert_upstream.huggingface.modeling' in sys.modules)"
    assert run(code, tmp_path) == ["False", "False"]


def test_the_hook_is_there_once():
    for _ in range(2):
        hook.install()
    assert sum(isinstance(finder, hook._Finder) for finder in sys.meta_path) == 1


def test_transformers_stay_usable_where_ours_do_not(monkeypatch, caplog):
    def broken():
        raise AttributeError("no such mapping")

    monkeypatch.setattr(auto, "register_config", broken)
    with caplog.at_level(logging.WARNING):
        hook.install()
    assert "do not know FitHubertModel (no such mapping)" in caplog.text


def test_without_transformers(monkeypatch):
    import fithubert_upstream
    from fithubert_upstream.errors import MissingPackage

    monkeypatch.setitem(sys.modules, "transformers", None)
    for name in [name for name in sys.modules if name.startswith("transformers.")]:
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(MissingPackage, match=r"FitHubertModel needs transformers; pip install '.*\[hf\]'$"):
        fithubert_upstream.FitHubertModel  # noqa: B018

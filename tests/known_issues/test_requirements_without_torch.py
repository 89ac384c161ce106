"""`extract` failed after the documented installation without torch: requirements-onnx.txt lacked filelock."""

import json
import re
import subprocess
import sys
from importlib import metadata

from ..conftest import REPO

LOADED = """
import importlib, json, sys
for name in ("extract.run", "extract.onnx_encoder", "joint.listen", "joint.spotting", "streaming.encoder"):
    importlib.import_module(f"fithubert_upstream.{name}")
print(json.dumps(sorted({name.partition(".")[0] for name in sys.modules})))
"""


def plain(requirement: str) -> str:
    return re.split(r"[^\w.-]", requirement.strip())[0].lower().replace("_", "-")


def test_what_is_imported_is_listed():
    lines = (REPO / "requirements-onnx.txt").read_text().splitlines()
    listed = {plain(line) for line in lines if line and not line.startswith("#")}
    brought, new = set(), set(listed)
    while new:  # with what they require themselves
        brought |= new
        needed = {text for name in new for text in metadata.requires(name) or () if "extra ==" not in text}
        new = {plain(text) for text in needed if _there(plain(text))} - brought
    run = subprocess.run([sys.executable, "-c", LOADED], capture_output=True, text=True, check=True, cwd=REPO)
    owners = metadata.packages_distributions()
    imported = {plain(owner) for name in json.loads(run.stdout) for owner in owners.get(name, ())}
    assert {"numpy", "soxr", "soundfile", "filelock"} <= imported
    assert imported - brought <= {"fithubert-upstream", "setuptools"}  # the latter by its startup file


def _there(name: str) -> bool:
    try:
        metadata.distribution(name)
    except metadata.PackageNotFoundError:
        return False
    return True

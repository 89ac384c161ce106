"""Put onnxruntime-web and the model beside the page:   python docs/web/get_files.py

Needs npm, and this package with the extra `onnx`. The page then runs from any web server, also as a copy elsewhere.
"""

import argparse
import base64
import hashlib
import shutil
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

import onnxruntime

from fithubert_upstream.assets import JOINT
from fithubert_upstream.errors import FitHubertError, expect
from fithubert_upstream.files import atomic_path, write_json, write_text
from fithubert_upstream.joint.model import load_joint
from fithubert_upstream.joint.onnx import export_joint_onnx

PAGE = Path(__file__).resolve().parent
PACKAGE, VERSION = "onnxruntime-web", "1.30.0"
INTEGRITY = "q0y+JrrtukXSzsBWEMccVfqX25LRmosXHF+CaRJmg8pZClzcV7svNc4rKY3jL02Vb7QmRMDs1SigqR4CXAfKYQ=="  # sha512
RUNTIME = ("ort.wasm.min.mjs", "ort-wasm-simd-threaded.mjs", "ort-wasm-simd-threaded.wasm")
LICENCES = ("LICENSE", "ThirdPartyNotices.txt")  # in the wheel of onnxruntime; the npm package has none
MOST_BYTES = 3_000_000  # of the model


def get_runtime(folder: Path) -> None:
    """Fetch the pinned release with npm, check it, and keep the files that run on one thread of a processor."""
    npm = shutil.which("npm")
    expect(npm is not None, "npm on the PATH", "none; install Node.js, which brings it")
    with tempfile.TemporaryDirectory() as temporary:
        command = [npm, "pack", f"{PACKAGE}@{VERSION}", "--silent", "--pack-destination", temporary]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            reason = (done.stderr.strip() or "no reason given").splitlines()[-1]
            raise FitHubertError(f"{PACKAGE} {VERSION}: npm could not fetch it: {reason}; try again online")
        (archive,) = Path(temporary).glob("*.tgz")
        unpack_runtime(archive, folder)
    source = Path(onnxruntime.__file__).parent
    for name in LICENCES:
        write_text(folder / name, (source / name).read_text(encoding="utf-8"))


def unpack_runtime(archive: Path, folder: Path) -> None:
    """Write the runtime's files of npm's archive. Raises FitHubertError if it is not the release that we tested."""
    content = archive.read_bytes()
    found = base64.b64encode(hashlib.sha512(content).digest()).decode()
    if found != INTEGRITY:
        raise FitHubertError(f"{PACKAGE} {VERSION}: expected sha512 {INTEGRITY}, found {found}; nothing was written")
    folder.mkdir(parents=True, exist_ok=True)
    with tarfile.open(archive) as files:
        for name in RUNTIME:
            with atomic_path(folder / name) as temporary:
                temporary.write_bytes(files.extractfile(f"package/dist/{name}").read())


def get_model(folder: Path, name: str = JOINT) -> None:
    """Export a joint model in int8, with what the page must know of it in model.json."""
    model = load_joint(name)
    config = model.config
    expect(config.tasks == ("ks", "sv"), f"{name}: a model of keywords and speakers", " ".join(config.tasks))
    expect(config.threshold is not None, f"{name}: a threshold for speakers", "none")
    expect(not config.trim_db, f"{name}: a model that takes recordings whole", f"trim_db {config.trim_db:g}")
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "joint.onnx"
    measured = export_joint_onnx(model, path, int8=True, products=False)
    size = path.stat().st_size
    expect(size <= MOST_BYTES, f"{path}: at most {MOST_BYTES:,} bytes, small enough for a page", f"{size:,}")
    about = {"name": Path(name).stem, "bytes": size, "labels": config.classes, "threshold": config.threshold}
    write_json(folder / "model.json", about)
    print(f"{path}: {size / 1e6:.1f} MB, {measured}")


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-m", "--model", default=JOINT, help="a joint model's .safetensors (default %(default)s)")
    args = parser.parse_args(argv)
    try:
        get_model(PAGE / "model", args.model)
        get_runtime(PAGE / "runtime")
    except FitHubertError as error:
        print(error, file=sys.stderr)
        raise SystemExit(2) from error
    total = sum(path.stat().st_size for name in ("model", "runtime") for path in (PAGE / name).iterdir())
    print(f"{total / 1e6:.1f} MB in {PAGE}; to see the page: python -m http.server -d {PAGE}")


if __name__ == "__main__":
    main()

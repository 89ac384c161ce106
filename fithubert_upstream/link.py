"""FitHuBERT in an s3prl checkout, so that its own `run_downstream.py` and `run_pretrain.py` know it.

A marked block of two lines goes into three of s3prl's files, and a pretrain task into `pretrain/`. Taking them out
leaves every file as it was, byte for byte.
"""

import argparse
import ast
import atexit
import contextlib
import hashlib
import importlib.util
import logging
import shutil
import stat
import sys
from pathlib import Path

from .errors import FitHubertError
from .files import atomic_path

logger = logging.getLogger(__name__)

_BEGIN = b"# >>> fithubert_upstream: added by `fithubert link`, taken out by `fithubert link PATH --remove`"
_END = b"# <<< fithubert_upstream"
_RUN = (b"from fithubert_upstream.link import linked_run", b"linked_run()")
# The underscore keeps the name out of s3prl.hub.options().
_HUB = (b"import fithubert_upstream as _fithubert_upstream", b"_fithubert_upstream.register()")
_BLOCKS = {"run_downstream.py": _RUN, "run_pretrain.py": _RUN, "hub.py": _HUB}

_SIGNATURE = b"# fithubert_upstream: written by `fithubert link`, sha256 of the rest "
_PRETRAIN_EXPERT = b'''"""For `run_pretrain.py -u fithubert`; fills in datarc's `${ENVIRONMENT_VARIABLES}`."""

from fithubert_upstream.link import pretrain_expert

UpstreamPretrainExpert = pretrain_expert()
'''


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="fithubert link",
        description="Add FitHuBERT to a git clone of s3prl: its own run_downstream.py and run_pretrain.py take "
        "-u fithubert, and S3PRLUpstream finds it. Safe to repeat.",
        epilog="example: fithubert link ~/s3prl && cd ~/s3prl/s3prl && python run_downstream.py -m train "
        "-u fithubert -k student.safetensors -d ctc -c downstream/ctc/libriphone.yaml -n pr",
    )
    parser.add_argument("path", help="the clone, or the folder s3prl in it")
    parser.add_argument("--remove", action="store_true", help="undo all changes")
    return parser


def main(argv: list[str]) -> None:
    """Link a checkout, or put it back as it was; tells what changed."""
    args = build_parser().parse_args(argv)

    checkout = find_checkout(args.path)
    try:
        changed = unlink(checkout) if args.remove else link(checkout)
    except OSError as error:
        place = error.filename or checkout
        raise FitHubertError(f"{place}: expected to be able to read and write, found: {error.strerror}") from error
    for path in changed:
        print(path.relative_to(checkout))
    state = "as it was before" if args.remove else "linked"
    print(f"{checkout}: {state} ({len(changed)} changed)")
    if not args.remove:
        warn_of_another_s3prl(checkout)


def linked_run() -> None:
    """Provide our repairs, upstreams, corpora of PR and SF, and joint task, before the linked scripts import anything.

    Flags, defaults (`--device cuda`) and configs stay s3prl's own; `downstream.run` has ours.
    """
    from .compat.s3prl_workers import repaired_workers
    from .downstream.run import provide_modules, task_repairs
    from .downstream.tasks import downstream_names
    from .upstream.hubconf import register

    register()  # on whichever s3prl is imported; applies the repairs
    provide_modules()

    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument("-d", "--downstream")
    parser.add_argument("--device", default="cuda")
    args, _ = parser.parse_known_args(sys.argv[1:])
    for_the_process = contextlib.ExitStack()
    atexit.register(for_the_process.close)
    # -e alone does not say which task it is
    tasks = [args.downstream] if args.downstream else downstream_names()
    for repair in dict.fromkeys(repair for task in tasks for repair in task_repairs(task, args.device)):
        for_the_process.enter_context(repair())
    for_the_process.enter_context(repaired_workers())


def pretrain_expert() -> type:
    """The pretrain task for a checkout's own `run_pretrain.py`, which fills in no `${VARIABLES}`."""
    from .pretrain.expert import UpstreamPretrainExpert
    from .settings.files import expand_variables

    class Filled(UpstreamPretrainExpert):
        def __init__(self, datarc, *args, **kwargs):
            datarc.update(expand_variables(datarc, "config.pretrain_expert.datarc"))  # the runner reads it afterwards
            super().__init__(datarc, *args, **kwargs)

    return Filled


def find_checkout(path: str | Path) -> Path:
    """The folder with s3prl's run_downstream.py: `path`, or `path/s3prl`. Raises FitHubertError if neither is."""
    needed = (*_BLOCKS, "upstream", "pretrain")
    folders = (Path(path), Path(path, "s3prl"))
    for folder in folders:
        if all((folder / name).exists() for name in needed):
            return folder.resolve()
    if not Path(path).is_dir():
        found = "no such folder"
    else:
        found = "none of " + ", ".join(n for n in needed if not any((folder / n).exists() for folder in folders))
    raise FitHubertError(f"{path}: expected a git clone of s3prl with {', '.join(needed)}, found {found}")


def link(checkout: Path) -> list[Path]:
    """Add blocks and pretrain task where they are missing; returns what changed.

    Raises
    ------
    FitHubertError
        Before anything is written: see `add_block`, or another's `pretrain/fithubert` is there.
    """
    after = {checkout / name: add_block(checkout / name, code) for name, code in _BLOCKS.items()}
    for path, content in _pretrain_files(checkout).items():
        found = path.read_bytes() if path.exists() else None
        if found is not None and not found.startswith(_SIGNATURE):
            raise FitHubertError(f"{path}: expected no file or one of `fithubert link`, found another; move it away")
        after[path] = content if found is None or _is_untouched(found) else found  # the user's changes stay
    return _write(after)


def unlink(checkout: Path) -> list[Path]:
    """Take blocks and pretrain task out; returns what changed.

    Raises
    ------
    FitHubertError
        Before anything is written: a block or a file was changed by hand, and that would be lost.
    """
    after = {checkout / name: remove_block(checkout / name, code) for name, code in _BLOCKS.items()}
    ours, folder = _pretrain_files(checkout), checkout / "pretrain" / "fithubert"
    for path in folder.iterdir() if folder.is_dir() else ():
        if path.name != "__pycache__" and not (path in ours and _is_untouched(path.read_bytes())):
            raise FitHubertError(f"{path}: expected a file as `fithubert link` wrote it, found another; move it away")
    changed = _write(after)
    if folder.is_dir():
        shutil.rmtree(folder)
        changed.append(folder)
    return changed


def _write(after: dict[Path, bytes]) -> list[Path]:
    """Write the files whose content is not that already, each whole or not at all, with its permissions."""
    changed = [path for path, content in after.items() if not path.exists() or path.read_bytes() != content]
    for path in changed:
        real = path.resolve()  # a symbolic link stays one
        mode = stat.S_IMODE(real.stat().st_mode) if real.exists() else None
        with atomic_path(real) as temporary:
            temporary.write_bytes(after[path])
        if mode is not None:
            real.chmod(mode)
    return changed


def add_block(path: Path, code: tuple[bytes, ...]) -> bytes:
    """A Python file with the marked block before its first import, once, in the file's own line endings.

    Raises
    ------
    FitHubertError
        There is no import at the beginning of a line, or a block that was changed by hand.
    """
    content = path.read_bytes()
    if _has_block(path, content, code):
        return content
    try:
        statements = ast.parse(content).body
    except (SyntaxError, ValueError) as error:
        raise FitHubertError(f"{path}: expected Python, found: {error}; update the checkout") from error
    for node in statements:
        is_future = isinstance(node, ast.ImportFrom) and node.module == "__future__"
        if isinstance(node, (ast.Import, ast.ImportFrom)) and node.col_offset == 0 and not is_future:
            lines = content.splitlines(keepends=True)  # bytes split where Python's own lines end
            return b"".join([*lines[: node.lineno - 1], _block(content, code), *lines[node.lineno - 1 :]])
    raise FitHubertError(f"{path}: expected an import to put ours before, found none; update the checkout")


def remove_block(path: Path, code: tuple[bytes, ...]) -> bytes:
    """The file without the block; raises FitHubertError if that was changed by hand."""
    content = path.read_bytes()
    return content.replace(_block(content, code), b"") if _has_block(path, content, code) else content


def _block(content: bytes, code: tuple[bytes, ...]) -> bytes:
    line_end = b"\r\n" if b"\r\n" in content else b"\n"
    return b"".join(line + line_end for line in (_BEGIN, *code, _END))


def _has_block(path: Path, content: bytes, code: tuple[bytes, ...]) -> bool:
    marks = [i for i, line in enumerate(content.splitlines(), 1) if b">>> fithubert_" in line or _END in line]
    if len(marks) == 2 and _block(content, code) in content:
        return True
    if marks:
        raise FitHubertError(
            f"{path}: expected the block of `fithubert link` as it was written, found it changed by hand; "
            f"delete what is left of it (lines {marks[0]} to {marks[-1]}) and repeat"
        )
    return False


def _pretrain_files(checkout: Path) -> dict[Path, bytes]:
    """The pretrain task, under the names that s3prl's run_pretrain.py looks for."""
    folder, configs = checkout / "pretrain" / "fithubert", Path(__file__).with_name("configs")
    files = {
        "__init__.py": b"",
        "pretrain_expert.py": _PRETRAIN_EXPERT,
        "config_model.yaml": (configs / "fithubert.yaml").read_bytes(),
        "config_runner.yaml": (configs / "fithubert_runner.yaml").read_bytes(),
    }
    return {folder / name: _signed(content) for name, content in files.items()}


def _signed(content: bytes) -> bytes:
    return _SIGNATURE + hashlib.sha256(content).hexdigest()[:16].encode() + b"\n" + content


def _is_untouched(content: bytes) -> bool:
    """Whether a file is as this or another version of ours wrote it."""
    return content == _signed(content.partition(b"\n")[2])


def warn_of_another_s3prl(checkout: Path) -> None:
    """The checkout's scripts use the s3prl that Python finds, which need not be the checkout."""
    spec = importlib.util.find_spec("s3prl")
    found = [Path(place).resolve() for place in spec.submodule_search_locations] if spec else []
    if checkout not in found:
        logger.warning(
            "`import s3prl` finds %s: the checkout's scripts run that (-u fithubert works too); "
            "for the checkout's own: pip install -e %s",
            found[0] if found else "nothing",
            checkout.parent,
        )

"""Whether the results in a folder can be had again: their stored checkpoints are evaluated once more."""

import contextlib
import json
import os
import shlex
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import torch

from ..downstream import run as run_downstream
from ..errors import FitHubertError
from ..models.inference import INFERENCE_VARIABLES
from ..report import aligned_table
from ..runs.provenance import device_name
from .names import digest_of


class Verdict(NamedTuple):
    """What became of one number of one run."""

    run: str
    tag: str
    stored: float
    again: float | None
    remark: str

    @property
    def same(self) -> bool:
        return self.stored == self.again


def verify(folder: str | Path) -> list[Verdict]:
    """Evaluate the checkpoint of every finished run below a folder, and compare with its result.json.

    Nothing in the folder changes.

    Raises
    ------
    FitHubertError
        The folder holds no results.
    """
    root = Path(folder)
    files = sorted(root.rglob("result.json"))
    found = [(file, json.loads(file.read_text(encoding="utf-8"))) for file in files]
    runs = [(file, result) for file, result in found if "search" not in result]  # its chosen run has one of its own
    if not runs:
        raise FitHubertError(f"--verify {folder}: expected a folder of results, found no result.json below it")
    verdicts: list[Verdict] = []
    for file, result in runs:
        name = file.parent.relative_to(root).as_posix()
        print(f"\n== {name}", flush=True)
        again, remark = _evaluate(file.parent, result)
        stored = result.get("logged") or {"value": result.get("value", float("nan"))}
        verdicts += [Verdict(name, tag, value, again.get(tag), remark) for tag, value in stored.items()]
    return verdicts


def _evaluate(folder: Path, result: dict[str, Any]) -> tuple[dict[str, float], str]:
    """What the test logs now, and why it does not where it fails."""
    if "logged" not in result:
        return {}, "written by an older version, which did not record what was logged"
    flags = shlex.split(result["command"][1])[2:]
    if "-e" not in flags:  # nothing was trained
        flags[flags.index("-c") + 1] = str(folder / "config.yaml")
        if "-k" in flags and digest_of(flags[flags.index("-k") + 1]) != result["settings"]["ckpt"]:
            return {}, f"{flags[flags.index('-k') + 1]} is not the upstream's file that was tested"
        return _again(flags, result)
    at = flags.index("-e") + 1
    tested = folder / Path(flags[at]).name if Path(flags[at]).suffix == ".ckpt" else folder  # it may have moved
    if tested.is_file() and digest_of(str(tested)) != result["checkpoint"]:
        return {}, f"{tested.name} is not the checkpoint that was tested"
    flags[at] = str(tested)
    return _again(flags, result)


def _again(flags: list[str], result: dict[str, Any]) -> tuple[dict[str, float], str]:
    """What `fithubert downstream` logs with these flags, in a folder of its own, and what may make it differ."""
    there = result.get("device", device_name())
    remark = "" if there == device_name() else f"differs; it was made on {there}"
    with tempfile.TemporaryDirectory() as temporary, _as_then(result):
        try:
            return run_downstream.main([*flags, "-p", temporary]), remark
        except FitHubertError as error:
            return {}, str(error)


@contextlib.contextmanager
def _as_then(result: dict[str, Any]) -> Iterator[None]:
    """As many threads, and the same way to run a student, as when the result was made."""
    threads, settings = torch.get_num_threads(), result["settings"]
    before = {name: os.environ.pop(name, None) for name in INFERENCE_VARIABLES}
    os.environ.update({name: settings[name] for name in INFERENCE_VARIABLES if name in settings})
    torch.set_num_threads(result.get("threads", threads))
    try:
        yield
    finally:
        torch.set_num_threads(threads)
        for name, value in before.items():
            os.environ.pop(name, None)
            if value is not None:
                os.environ[name] = value


def report(verdicts: list[Verdict]) -> str:
    """The verdicts as a table."""
    body = []
    for verdict in verdicts:
        again = "-" if verdict.again is None else repr(verdict.again)
        remark = "same" if verdict.same else verdict.remark or "differs"
        body.append([verdict.run, verdict.tag, repr(verdict.stored), again, remark])
    return "\n".join(aligned_table(["run", "number", "stored", "again", ""], body, {0, 1, 4}))

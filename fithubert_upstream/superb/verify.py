"""Whether the results in a folder can be had again: their stored checkpoints are evaluated once more."""

import json
import shlex
import tempfile
from pathlib import Path
from typing import Any, NamedTuple

from ..downstream import run as run_downstream
from ..errors import FitHubertError
from ..report import aligned_table
from .upstreams import digest_of


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
        return _again(flags)
    at = flags.index("-e") + 1
    tested = folder / Path(flags[at]).name if Path(flags[at]).suffix == ".ckpt" else folder  # it may have moved
    if tested.is_file() and digest_of(str(tested)) != result["checkpoint"]:
        return {}, f"{tested.name} is not the checkpoint that was tested"
    flags[at] = str(tested)
    return _again(flags)


def _again(flags: list[str]) -> tuple[dict[str, float], str]:
    """What `fithubert downstream` logs with these flags, in a folder of its own."""
    with tempfile.TemporaryDirectory() as temporary:
        try:
            return run_downstream.main([*flags, "-p", temporary]), ""
        except FitHubertError as error:
            return {}, str(error)


def report(verdicts: list[Verdict]) -> str:
    """The verdicts as a table."""
    body = []
    for verdict in verdicts:
        again = "-" if verdict.again is None else repr(verdict.again)
        remark = "same" if verdict.same else verdict.remark or "differs"
        body.append([verdict.run, verdict.tag, repr(verdict.stored), again, remark])
    return "\n".join(aligned_table(["run", "number", "stored", "again", ""], body, {0, 1, 4}))

"""Jobs that only count: each part adds a line to a file, however many processes are at it."""

import time
from dataclasses import dataclass
from pathlib import Path

from fithubert_upstream.downstream.tasks import TASKS
from fithubert_upstream.errors import FitHubertError


@dataclass(frozen=True)
class CountingJob:
    """Two parts that may run at once, then a third that leaves the result."""

    folder: Path
    seconds: float = 0.0
    fails: str = ""

    task = TASKS["ks"]

    @property
    def identity(self) -> dict:
        return {"seconds": self.seconds}

    def note(self) -> None:
        pass

    def check(self) -> None:
        pass

    @property
    def result_file(self) -> Path:
        return self.folder / "result.json"

    def parts(self) -> list[str]:
        if self.result_file.is_file():
            return []
        return [name for name in ("a", "b") if not (self.folder / f"{name}.done").is_file()] or ["choose"]

    def run_part(self, name: str) -> None:
        with (self.folder / "log").open("a") as log:
            log.write(f"{name}\n")
        time.sleep(self.seconds)
        if name == self.fails:
            raise FitHubertError(f"{name} is\nbroken")
        if name == "boom":
            raise RuntimeError("no such thing")
        (self.result_file if name == "choose" else self.folder / f"{name}.done").write_text("{}")

    def log(self) -> list[str]:
        return (self.folder / "log").read_text().split()


FAKE_SBATCH = """#!/bin/bash
# Runs what is submitted in the background, as a job with a number of its own.
number=$(( $(cat "$FAKE_SLURM/number" 2>/dev/null || echo 100) + 1 ))
echo $number > "$FAKE_SLURM/number"
echo $number >> "$FAKE_SLURM/submitted"
SLURM_JOB_ID=$number SLURM_JOBID=$number SLURM_NTASKS=1 SLURM_JOB_NUM_NODES=1 SLURM_NODEID=0 SLURM_PROCID=0 \\
    SLURM_LOCALID=0 setsid bash -c "bash '$1'; touch $FAKE_SLURM/over-$number" > /dev/null 2>&1 < /dev/null &
echo "Submitted batch job $number"
"""
FAKE_SRUN = """#!/bin/bash
while [[ "$1" == --* ]]; do
    case "$1" in --output|--error) shift 2;; *) shift;; esac
done
exec "$@"
"""
FAKE_SACCT = """#!/bin/bash
echo "JobID|State|NodeList"
for number in $(cat "$FAKE_SLURM/submitted"); do
    state=RUNNING; [ -e "$FAKE_SLURM/over-$number" ] && state=COMPLETED
    echo "$number|$state|node1"
done
"""


def fake_slurm(folder: Path, monkeypatch) -> Path:
    """Commands of Slurm first on PATH, which run jobs as processes. Gives their notes."""
    (folder / "bin").mkdir()
    for name, text in (("sbatch", FAKE_SBATCH), ("srun", FAKE_SRUN), ("sacct", FAKE_SACCT)):
        path = folder / "bin" / name
        path.write_text(text)
        path.chmod(0o755)
    monkeypatch.setenv("FAKE_SLURM", str(folder))
    monkeypatch.setenv("PATH", str(folder / "bin"), prepend=":")
    return folder

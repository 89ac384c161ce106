"""Which launcher started this process, and how many with it: torchrun, SLURM's srun, MPI. Imports nothing heavy."""

import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ..errors import FitHubertError

# How launchers of MPI tell each process the number of all: Open MPI, MPICH and Intel MPI, MVAPICH, jsrun.
_MPI_SIZES = ("OMPI_COMM_WORLD_SIZE", "PMI_SIZE", "MV2_COMM_WORLD_SIZE", "JSM_NAMESPACE_SIZE")
_SHELLS = ("bash", "interactive")  # names of jobs in which somebody types
_NO_SRUN = 0xFFFF_FFF0  # from here on numbers of steps stand for the batch script, the interactive shell, ...


@dataclass(frozen=True)
class Launch:
    """What started this process.

    Parameters
    ----------
    name : str
        `torchrun`, `srun`, another that set RANK and WORLD_SIZE, a variable of MPI, or empty: none.
    processes, nodes : int
        Of all that were started together.
    is_first : bool
        Whether this is the process that may speak for all.
    """

    name: str = ""
    processes: int = 1
    nodes: int = 1
    is_first: bool = True


def find_launch(environment: Mapping[str, str] = os.environ) -> Launch:
    """Look at what the launchers leave in the environment; the innermost counts.

    Raises
    ------
    FitHubertError
        A process count is not a number, or not a multiple of the number of nodes.
    """

    def number(name: str, default: int = 1) -> int:
        text = environment.get(name) or str(default)
        if not text.isdecimal():
            raise FitHubertError(f"environment variable {name}: expected a number of processes, found {text!r}")
        return int(text)

    world, rank = number("WORLD_SIZE"), number("RANK", 0)
    if "TORCHELASTIC_RUN_ID" in environment:
        local = max(number("LOCAL_WORLD_SIZE"), 1)
        return _launch("torchrun", world, world // local, rank)
    if "RANK" in environment and world > 1:
        return _launch("RANK and WORLD_SIZE", world, 1, rank)
    step = number("SLURM_STEP_ID", _NO_SRUN)
    tasks = number("SLURM_STEP_NUM_TASKS", number("SLURM_NTASKS"))
    in_srun = step < _NO_SRUN and "SLURM_PROCID" in environment and not _is_shell(environment, step)
    for name in _MPI_SIZES:  # before srun, with which mpirun starts its helpers
        size = number(name)
        if size > 1 and not (in_srun and size == tasks):
            return _launch(name, size, 1, number("OMPI_COMM_WORLD_RANK", number("PMI_RANK", 0)))
    if in_srun:
        nodes = number("SLURM_STEP_NUM_NODES", number("SLURM_NNODES"))
        return _launch("srun", tasks, nodes, number("SLURM_PROCID", 0))
    return Launch()


def check_alone(what: str, argv: Sequence[str] = ()) -> None:
    """Raise FitHubertError when several processes were started for a job that is made for one."""
    launch = find_launch()
    if launch.processes > 1:
        raise FitHubertError(
            f"expected one process, found {launch.processes} ({launch.name}); {what} does not share its work, start it "
            "without a launcher"
        )
    given = [word for word in argv if word.replace("_", "-").partition("=")[0] == "--local-rank"]
    if given:
        raise FitHubertError(f"{given[0]}: expected one process, which has no rank; leave it out")


def tell_of_slurm(environment: Mapping[str, str] = os.environ) -> None:
    """Say that one process trains where SLURM reserved room for several and srun did not start them."""
    tasks = environment.get("SLURM_NTASKS", "1")
    if find_launch(environment).name == "" and tasks != "1":
        print(f"training in one process, though SLURM_NTASKS is {tasks}; to use all, start with srun", file=sys.stderr)


def _launch(name: str, processes: int, nodes: int, rank: int) -> Launch:
    if processes < 1 or nodes < 1 or processes % nodes:
        raise FitHubertError(
            f"{name}: expected the same number of processes on each node, found {processes} processes on {nodes} "
            "nodes; correct the launch command"
        )
    return Launch(name, processes, nodes, rank == 0)


def _is_shell(environment: Mapping[str, str], step: int) -> bool:
    """Whether srun started a shell in which somebody typed the command: `srun --pty bash`."""
    name = environment.get("SLURM_JOB_NAME")
    return step == 0 and name in _SHELLS and (name == "bash" or "SLURM_PTY_PORT" in environment)

"""One process or many: as torchrun or srun started them, over Lightning Fabric."""

import sys
from typing import Any

import torch
from torch import distributed

from ..errors import FitHubertError, from_extra
from ..runs.launcher import find_launch, tell_of_slurm
from ..runs.precision import choose_precision

with from_extra("distill", "distillation"):
    from lightning_fabric import Fabric
    from lightning_fabric.plugins.environments import LightningEnvironment, SLURMEnvironment, TorchElasticEnvironment


class _Srun(SLURMEnvironment):
    """The step's own numbers hold, which need not be those that the job was given."""

    @staticmethod
    def _validate_srun_variables() -> None:
        pass

    def validate_settings(self, num_devices: int, num_nodes: int) -> None:
        pass


class _One(LightningEnvironment):
    """One process, whatever variables of a launcher are around it."""

    def local_rank(self) -> int:
        return 0


_ENVIRONMENTS = {"": _One, "srun": _Srun, "torchrun": TorchElasticEnvironment}


def build_fabric(precision: str) -> Fabric:
    """Fabric on the GPU where there is one, with as many processes as torchrun or srun started, else one."""
    launch = find_launch()
    if launch.name not in _ENVIRONMENTS:
        raise FitHubertError(
            f"expected processes started by torchrun or srun, found {launch.processes} ({launch.name}), which would "
            "each train alone; start them with torchrun or srun"
        )
    tell_of_slurm()
    accelerator = "cuda" if torch.cuda.is_available() else "cpu"
    precision, why = choose_precision(precision, accelerator)
    if why and launch.is_first:
        print(why, file=sys.stderr)
    fabric = Fabric(
        accelerator=accelerator,
        devices=launch.processes // launch.nodes,
        num_nodes=launch.nodes,
        precision=precision,
        plugins=[_ENVIRONMENTS[launch.name]()],  # Lightning's own guess takes any SLURM job for srun
    )
    fabric.launch()
    return fabric


def cpu_group(fabric: Fabric) -> distributed.ProcessGroup | None:
    """A group to compare small things in without waiting for GPUs; None where there is one process."""
    return distributed.new_group(backend="gloo") if fabric.world_size > 1 else None


def highest(number: int, group: distributed.ProcessGroup | None) -> int:
    """The highest of all processes' numbers."""
    if group is None:
        return number
    value = torch.tensor(number)
    distributed.all_reduce(value, distributed.ReduceOp.MAX, group=group)
    return int(value)


def gather(value: Any, group: distributed.ProcessGroup | None) -> list[Any]:
    """Every process's value, in the order of their ranks."""
    if group is None:
        return [value]
    values = [None] * distributed.get_world_size(group)
    distributed.all_gather_object(values, value, group=group)
    return values

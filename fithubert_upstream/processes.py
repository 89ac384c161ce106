"""One process or many: as torchrun or srun started them, over Lightning Fabric."""

import os
import sys
from typing import Any

import torch
from torch import distributed

from .errors import from_extra
from .precision import choose_precision

with from_extra("distill", "distillation"):
    from lightning_fabric import Fabric
    from lightning_fabric.plugins.environments import SLURMEnvironment


def build_fabric(precision: str) -> Fabric:
    """Fabric on the GPU where there is one, with as many processes as torchrun or srun started, else one."""
    environment = os.environ
    nodes = devices = 1
    if "TORCHELASTIC_RUN_ID" in environment:
        devices = int(environment["LOCAL_WORLD_SIZE"])
        nodes = int(environment["WORLD_SIZE"]) // devices
    elif SLURMEnvironment.detect():
        nodes = int(environment.get("SLURM_NNODES", 1))
        devices = int(environment["SLURM_NTASKS"]) // nodes
    accelerator = "cuda" if torch.cuda.is_available() else "cpu"
    precision, why = choose_precision(precision, accelerator)
    if why and environment.get("RANK", "0") == "0":
        print(why, file=sys.stderr)
    fabric = Fabric(accelerator=accelerator, devices=devices, num_nodes=nodes, precision=precision)
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

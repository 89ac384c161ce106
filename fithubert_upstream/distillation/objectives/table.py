"""The objective of each `loss.kind`."""

from ..config import DistillationConfig
from ..task import DistillationTask, Task
from . import clusters, gram, masked

# `losses.ERRORS`, the errors of hint and prediction heads, are DistillationTask's.
OBJECTIVES: dict[str, type[Task]] = {
    masked.KIND: masked.MaskedTask,
    gram.KIND: gram.GramTask,
    clusters.KIND: clusters.ClusterTask,
}


def build_task(config: DistillationConfig) -> Task:
    """A fresh student beside its teachers, with the objective that `loss.kind` names.

    Raises FitHubertError when student, teachers and objective do not fit each other.
    """
    return OBJECTIVES.get(config.loss.kind, DistillationTask).from_config(config)

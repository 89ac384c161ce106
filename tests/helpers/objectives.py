"""Tasks of each objective on a tiny teacher, and what tests do with them."""

import torch

from fithubert_upstream.distillation.config import DistillationConfig
from fithubert_upstream.distillation.objectives.table import build_task
from fithubert_upstream.distillation.task import Task

from .tiny import STUDENT
from .training import NO_DROPOUT

ONE_RATE = STUDENT | {"time_reduction": 1}

# kind -> blocks of a model's file, and what the student has instead of hint heads on every layer
RECIPES = {
    "masked": ({"loss": {"kind": "masked", "mask": {"probability": 0.5, "length": 4}}, "layer_grad_scale": True}, {}),
    "gram": ({"loss": {"kind": "gram"}}, {"head_layers": []}),
    "clusters": (
        {"loss": {"kind": "clusters", "mask": {"overlap": True}, "clusters": {"layer": 2, "number": 6}}},
        {"head_layers": []},
    ),
}


def task_of(folder, loss: dict, student: dict | None = None, **changes) -> Task:
    """A task by a config as a file has it; `folder` is the teacher's."""
    content = {
        "student": ONE_RATE | NO_DROPOUT | (student or {}),
        "teacher": {"model": str(folder)},
        "loss": loss,
    }
    return build_task(DistillationConfig.from_dict(content | changes))


def learn(task: Task, steps: int = 30, rate: float = 3e-3) -> tuple[float, float]:
    """The loss of one batch in eval mode, before and after some updates on it."""
    wavs = torch.randn(4, 8000)
    before = task.eval()(wavs)[0].item()
    optimizer = torch.optim.AdamW(task.train().learner.parameters(), lr=rate)
    for _ in range(steps):
        loss, _ = task(wavs)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return before, task.eval()(wavs)[0].item()

"""Joint models at random."""

import dataclasses

from fithubert_upstream.joint.model import JointModel, JointModelConfig

from .tiny import SMALL

CLASSES = ("yes", "no", "_silence_")
TWO_LAYERS = dataclasses.replace(
    SMALL, time_reduction=1, num_layers=2, head_kind="prediction", head_layers=(4, 8, 12), head_dim=24
)


def make(student=SMALL, **config) -> JointModel:
    options = {"classes": CLASSES, "embedding_dim": 5, "threshold": 0.25} | config
    return JointModel(JointModelConfig(student, **options)).eval()

"""Students for an export, and a trace of each: made once, as a trace takes seconds."""

import functools

import torch

from fithubert_upstream.assets import NAMES, find
from fithubert_upstream.checkpoints.load import load_fithubert
from fithubert_upstream.checkpoints.student import save_fithubert
from fithubert_upstream.export.onnx import trace
from fithubert_upstream.models.config import FitHubertConfig
from fithubert_upstream.models.fithubert import FitHubert
from fithubert_upstream.upstream.expert import UpstreamExpert

from .tiny import RELATIVES, STUDENT, TWO_LAYER

FEW_CONVS = {"conv_layers": "[(16, 10, 5), (16, 8, 8), (24, 8, 8)]"}  # a trace takes half the time
STUDENTS = {
    "a head for each layer": STUDENT | FEW_CONVS,
    "prediction heads": STUDENT | TWO_LAYER | FEW_CONVS | {"head_layers": [2, 4, 6]},
    "no head": STUDENT | FEW_CONVS | {"time_reduction": 3, "pos_conv_kernel": 15, "num_layers": 1, "head_layers": []},
    **{name: config | FEW_CONVS for name, config in RELATIVES.items()},
}


@functools.cache
def make_student(kind: str) -> FitHubert:
    torch.manual_seed(0)
    return load_fithubert(find(kind)) if kind in NAMES else FitHubert(FitHubertConfig.from_dict(STUDENTS[kind])).eval()


@functools.cache
def trace_once(model: FitHubert) -> bytes:
    return trace(model).SerializeToString()


def upstream_of(kind: str, folder) -> UpstreamExpert:
    save_fithubert(make_student(kind), folder / "student.safetensors")
    return UpstreamExpert(folder / "student.safetensors").eval()

"""The models that `fithubert benchmark inference` measures side by side, and the ways in which each can run."""

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import safetensors.torch
import torch
from torch import Tensor, nn

from ..checkpoints.load import load_fithubert
from ..compat.torchaudio import mend_torchaudio_import
from ..errors import from_extra
from ..models.config import FitHubertConfig
from ..models.fithubert import FitHubert
from ..models.inference import prepare
from ..models.lengths import valid_mask
from ..settings.files import find_config, read_yaml
from .baseline import plain_teacher

SEED = 1337
Forward = Callable[[Tensor, Tensor], Tensor]  # (B, T) waveforms, (B,) samples -> (B, L, D) features

# name -> (precision, compiled)
VARIANTS = {
    "fp32": ("fp32", False),
    "fp32-compiled": ("fp32", True),
    "bf16": ("bf16", False),
    "bf16-compiled": ("bf16", True),
    "onnx-fp32": ("fp32", False),
    "onnx-int8": ("int8", False),
}


@dataclass(frozen=True)
class Model:
    """A model by its maker. Students are measured in every variant, on a CPU the others only as they are."""

    label: str
    make: Callable[[], nn.Module]
    student: bool = False
    family: bool = False  # measured where it is named only

    def module(self) -> nn.Module:
        """The model in eval mode; random weights are the same ones each time."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(SEED)
            return self.make().eval().requires_grad_(False)

    def variants(self, device: str) -> list[str]:
        if device == "cuda":
            return [variant for variant in VARIANTS if not variant.startswith("onnx")]
        return list(VARIANTS) if self.student else ["fp32"]


def _distilhubert_size() -> nn.Module:
    mend_torchaudio_import()
    with from_extra("distill", "a model of HuBERT's shape"):
        from transformers import HubertConfig, HubertModel

    return HubertModel(HubertConfig(num_hidden_layers=2))


def _embedded(name: str) -> FitHubert:
    return load_fithubert(name)


def _packaged(name: str) -> FitHubert:
    """A student of the family at its published size, with every head that its upstream computes."""
    config = find_config(f"{name}.yaml")
    return FitHubert(FitHubertConfig.from_dict(read_yaml(config)["student"], str(config)))


MODELS = {
    "hubert_base": Model("HuBERT Base", lambda: plain_teacher("base")),
    "distilhubert": Model("DistilHuBERT size", _distilhubert_size),
    "fithubert": Model("FitHuBERT", lambda: FitHubert(FitHubertConfig(head_layers=(12,))), student=True),
    "hubert_mini": Model("hubert_mini", lambda: _embedded("hubert_mini")),
    "fithubert_mini": Model("fithubert_mini", lambda: _embedded("fithubert_mini"), student=True),
}
# Of DPHuBERT and DPWavLM only their files tell how they were pruned: there is no row for them.
FAMILY = {
    "distilhubert_here": ("DistilHuBERT, as it loads here", "distilhubert"),
    "maskhubert": ("MaskHuBERT", "maskhubert"),
    "armhubert": ("ARMHuBERT", "armhubert"),
    "armhubert_s": ("ARMHuBERT-S", "armhubert_s"),
    "starhubert": ("STaRHuBERT", "starhubert"),
}
MODELS |= {
    name: Model(label, partial(_packaged, config), student=True, family=True)
    for name, (label, config) in FAMILY.items()
}


def import_code(name: str, variant: str) -> None:
    """Import what a model needs in a variant: code is no part of the model's memory."""
    if variant.startswith("onnx"):
        with from_extra("onnx", f"variant {variant}"):
            importlib.import_module("onnxruntime")
    elif name in ("hubert_base", "distilhubert"):
        mend_torchaudio_import()
        importlib.import_module("transformers.models.hubert.modeling_hubert")


def shape_of(module: nn.Module) -> FitHubertConfig:
    """A model's shape, for counting; that of transformers' HubertModel is a student's without reduction and heads."""
    if isinstance(module, FitHubert):
        return module.config
    config = module.config
    return FitHubertConfig(
        conv_layers=tuple(zip(config.conv_dim, config.conv_kernel, config.conv_stride, strict=True)),
        embed_dim=config.hidden_size,
        pos_conv_kernel=config.num_conv_pos_embeddings,
        pos_conv_groups=config.num_conv_pos_embedding_groups,
        time_reduction=1,
        num_layers=config.num_hidden_layers,
        ffn_dim=config.intermediate_size,
        num_heads=config.num_attention_heads,
        head_layers=(),
    )


def count_parameters(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def file_bytes(module: nn.Module, precision: str) -> int:
    """Size of a model's weights as a safetensors file, which is not written."""
    dtype = torch.bfloat16 if precision == "bf16" else torch.float32
    return len(safetensors.torch.save({name: tensor.to(dtype) for name, tensor in module.state_dict().items()}))


def build(name: str, variant: str, device: torch.device, folder: Path) -> Forward:
    """What computes a model's features in one way.

    Takes waveforms on `device` and lengths on the CPU; gives the last head's output at 20 ms (of a model without heads
    its last layer's) on `device`. `folder` is where ONNX files are made, once.
    """
    if variant.startswith("onnx"):
        return _onnx_forward(onnx_file(name, variant, folder))
    module = MODELS[name].module().to(device)
    make = _student_forward if isinstance(module, FitHubert) else _hubert_forward
    return torch.inference_mode()(make(module, *VARIANTS[variant]))


def _student_forward(model: FitHubert, precision: str, compiled: bool) -> Forward:
    heads = bool(model.config.head_layers)
    model = prepare(model, precision, compile=compiled)
    return lambda waveforms, lengths: (model if heads else model.encode)(waveforms, lengths)[0][-1]


def _hubert_forward(model: nn.Module, precision: str, compiled: bool) -> Forward:
    dtype = torch.bfloat16 if precision == "bf16" else torch.float32
    model = model.to(dtype)
    model = torch.compile(model) if compiled else model

    def forward(waveforms: Tensor, lengths: Tensor) -> Tensor:
        size, mask = waveforms.size(1), None
        if bool((lengths != size).any()):
            mask = valid_mask(lengths, size, waveforms.device).long()
        return model(waveforms.to(dtype), attention_mask=mask).last_hidden_state

    return forward


def onnx_file(name: str, variant: str, folder: Path) -> Path:
    """The model's ONNX file in `folder`, made there if it is not."""
    path = folder / f"{name}-{variant}.onnx"
    if not path.is_file():
        from ..export.onnx import export

        export(MODELS[name].module(), path, int8=VARIANTS[variant][0] == "int8")
    return path


def _onnx_forward(path: Path) -> Forward:
    """onnxruntime as users get it."""
    from ..export.session import open_session

    session = open_session(path)

    def forward(waveforms: Tensor, lengths: Tensor) -> Tensor:
        inputs = {"waveforms": waveforms.numpy(), "lengths": lengths.numpy()}
        return torch.from_numpy(session.run(["last_hidden_state"], inputs)[0])

    return forward

"""Gradients that are scaled on their way through the student; what it computes stays as it is."""

from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from ...models.fithubert import FitHubert


class _Scale(torch.autograd.Function):
    @staticmethod
    def forward(context: Any, x: Tensor, factor: float) -> Tensor:
        context.factor = factor
        return x.view_as(x)

    @staticmethod
    def backward(context: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        return gradients[0] * context.factor, None


def scale_gradient(x: Tensor, factor: float) -> Tensor:
    """x, whose gradient is multiplied by a factor."""
    return _Scale.apply(x, factor)


def scale_feature_gradient(student: FitHubert, factor: float) -> None:
    """Multiply the gradient of the convolutions on the waveform (fairseq's and s3prl's `feature_grad_mult`)."""
    student.feature_extractor.register_forward_hook(partial(_scale_output, factor))


def scale_layer_gradients(student: FitHubert) -> None:
    """Let each layer follow the mean of the gradients of all heads from its own on (ARMHuBERT's `layer_grad_scale`).

    Of N layers, the output of layer l gets (N - l) / (N - l + 1) of the gradient from the layers above and
    1 / (N - l + 1) of that from its own head: each of these N - l + 1 heads counts the same there, instead of their sum
    growing towards the input. Without it the gradients would be added up.
    """
    count = student.config.num_layers
    for number, layer in enumerate(student.layers, start=1):
        if number > 1:  # what it passes on down, into the output of the layer before
            above = count - number + 1
            layer.register_forward_pre_hook(partial(_scale_input, above / (above + 1)))
        if str(number) in student.heads:
            student.heads[str(number)].register_forward_pre_hook(partial(_scale_input, 1 / (count - number + 1)))


def _scale_output(factor: float, module: nn.Module, inputs: tuple, output: Tensor) -> Tensor:
    return scale_gradient(output, factor)


def _scale_input(factor: float, module: nn.Module, inputs: tuple) -> tuple:
    return scale_gradient(inputs[0], factor), *inputs[1:]

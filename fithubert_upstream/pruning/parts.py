"""What can go of a model, and what its readers read of some speech.

Attention heads, FFN units and convolution channels are each read by one linear layer.
"""

from contextlib import ExitStack
from dataclasses import dataclass, field

from torch import Tensor, nn
from torch.nn import functional as F

from ..data.batches import Batch
from ..models.fithubert import FitHubert
from ..models.lengths import valid_mask
from .reconstruction import Moments


@dataclass
class Part:
    """The units of one layer, and what reads them: `kind` is the field of `Masks`, `number` the layer there.

    `per_unit` are the reader's inputs from one unit, `cost` what one unit weighs, and `scale` what errors are shares
    of: the mean square, summed over channels, of what the reader's output becomes part of.
    """

    kind: str
    number: int
    reader: nn.Linear | nn.Conv1d
    per_unit: int
    cost: float
    total: float = 0.0  # of the squares that `scale` is the mean of
    count: int = 0  # frames
    moments: Moments = field(init=False)

    def __post_init__(self) -> None:
        self.moments = Moments(self.units * self.per_unit, self.reader.weight.device)

    @property
    def units(self) -> int:
        return self.reader.weight[0].numel() // self.per_unit

    @property
    def weight(self) -> Tensor:
        """(C, D) float64"""
        return self.reader.weight.flatten(1).T.double()

    @property
    def second(self) -> Tensor:
        """(C, C) float64, second moments of what the reader reads; around the mean where a bias makes up for that."""
        return self.moments.second(centred=self.reader.bias is not None)

    @property
    def scale(self) -> float:
        return self.total / self.count


def parts_of(model: FitHubert, time_weight: float) -> list[Part]:
    """All that can go: channels of every convolution but the last, heads and FFN units."""
    config, parts = model.config, []
    dim, width = config.embed_dim, config.width_of_head
    convs, rates, before = list(model.feature_extractor.convs), _rates(model), 1
    for number, (conv, reader) in enumerate(zip(convs[:-1], convs[1:], strict=True)):
        made, read = before * conv.kernel_size[0], reader.kernel_size[0] * reader.out_channels
        cost = made + read + time_weight * (made * rates[number] + read * rates[number + 1])
        parts.append(Part("convs", number, reader, reader.kernel_size[0], cost))
        before = conv.out_channels
    for number, layer in enumerate(model.layers):
        shared = 1 + time_weight / config.time_reduction  # each weight is used once a frame
        if layer.attention is not None:
            parts.append(Part("heads", number, layer.attention.out, width, width * (4 * dim + 3) * shared))
        if layer.fc2 is not None:
            parts.append(Part("ffns", number, layer.fc2, 1, (2 * dim + 1) * shared))
    return parts


def _rates(model: FitHubert) -> list[float]:
    """Frames that each convolution gives in the 20 ms of one frame of the last."""
    rates = [1.0]
    for _, _, stride in model.config.conv_layers[:0:-1]:
        rates.insert(0, rates[0] * stride)
    return rates


def listen(model: FitHubert, parts: list[Part], batch: Batch) -> None:
    """Count in what the readers read of a batch."""
    batch = batch.to(model.encoder_norm.weight.device)
    padded = bool((batch.lengths != batch.waveforms.size(1)).any())
    lengths = batch.lengths if padded else None
    x, frames, _ = model.extract(batch.waveforms, lengths)
    valid = valid_mask(frames // model.config.time_reduction, x.size(1) // model.config.time_reduction, x.device)
    with ExitStack() as hooks:
        for part in parts:
            if part.kind == "convs":
                continue
            layer = model.layers[part.number]
            norm = layer.attention_norm if part.kind == "heads" else layer.ffn_norm
            for module, heard in ((part.reader, _hear_reader), (norm, _hear_norm)):
                hook = module.register_forward_pre_hook(
                    lambda _, inputs, part=part, heard=heard: heard(part, inputs[0][valid])
                )
                hooks.callback(hook.remove)
        model.transform(x, frames if padded else None)
    convs = [part for part in parts if part.kind == "convs"]
    for waveform, length in zip(batch.waveforms, batch.lengths.tolist(), strict=True):
        if length >= model.shortest:
            _hear_convs(model, convs, waveform[:length])


def _hear_reader(part: Part, rows: Tensor) -> None:
    part.moments.add(rows)


def _hear_norm(part: Part, rows: Tensor) -> None:
    part.total += float(rows.double().var(1, unbiased=False).sum()) * rows.size(1)
    part.count += len(rows)


def _hear_convs(model: FitHubert, parts: list[Part], waveform: Tensor) -> None:
    """The same for the convolutions, one utterance at a time: padding reaches none of them."""
    extractor = model.feature_extractor
    x = F.gelu(extractor.norm(extractor.convs[0](waveform[None, None])))  # (1, C, L)
    for part in parts:
        conv = part.reader
        taps = x[0].unfold(1, conv.kernel_size[0], conv.stride[0])  # (C, L, K)
        part.moments.add(taps.transpose(0, 1).flatten(1))  # (L, C K)
        x = conv(x)
        part.total += float(x.double().square().sum())
        part.count += x.size(2)
        x = F.gelu(x)

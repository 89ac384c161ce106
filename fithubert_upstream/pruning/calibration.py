"""Prune a model at once, by what its layers read of some speech: neither gates nor training.

Attention heads, FFN units and convolution channels are each read by one linear layer. `removal_order` says in which
order that layer can do without them, and at what error; the cheapest of all go until the model is small enough; and
`refit` gives each reader the weights that make up for what it lost.
"""

from collections.abc import Iterable
from contextlib import ExitStack
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from tqdm import tqdm

from ..data.batches import Batch
from ..errors import FitHubertError
from ..models.fithubert import FitHubert
from ..models.lengths import valid_mask
from .gates import Masks, size_of
from .reconstruction import Moments, Removal, refit, removal_order
from .shrink import shrink


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
    scale: float = 0.0
    count: int = 0  # frames that make up `scale`
    moments: Moments = field(init=False)
    removal: Removal = field(init=False)
    gone: int = 0

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
        return self.moments.second(centred=self.reader.bias is not None)

    def mask(self) -> Tensor:
        """(U,) 1 for the units that stay, else 0."""
        mask = torch.ones(self.units, device=self.reader.weight.device)
        mask[self.removal.order[: self.gone]] = 0
        return mask

    def next_error(self) -> float:
        """What the next unit to go adds to the error, by its cost."""
        return self._error_of(self.gone)

    def last_error(self) -> float:
        """The same for the last that went."""
        return self._error_of(self.gone - 1)

    def _error_of(self, place: int) -> float:
        errors = self.removal.errors
        return (errors[place + 1] - errors[place]) / (self.scale * self.cost)

    def order(self) -> None:
        """Find in which order units go."""
        self.removal = removal_order(self.second, self.weight, self.per_unit)
        if self.reader.bias is not None:  # without any unit the layer goes, and with it what it gives on average
            left = self.moments.mean @ self.weight + self.reader.bias
            self.removal.errors[-1] += float(left.square().sum())

    def refit(self) -> None:
        """Let the reader make up for what has gone."""
        kept = self.mask().repeat_interleave(self.per_unit).nonzero().flatten()
        before = self.weight
        weight = refit(self.second, before, kept)
        if self.reader.bias is not None:
            self.reader.bias += self.moments.mean @ (before - weight)
        self.reader.weight.copy_(weight.T.view_as(self.reader.weight))


@torch.no_grad()
def prune_at_once(model: FitHubert, batches: Iterable[Batch], size: float, time_weight: float = 0.0) -> FitHubert:
    """The small model, in eval mode; `model`, a `students.copy_of`, is changed too.

    Parameters
    ----------
    batches : the speech by which units are judged; a minute or more.
    size : parameters to keep at most.
    time_weight : how much one multiplication per 20 ms counts beside one parameter. At 0 only size counts, and the
        convolutions, which are few parameters and half of the time, hardly shrink.

    Raises
    ------
    FitHubertError
        What always stays is larger than that, or nothing would be left of all layers.
    """
    model.eval()
    parts = _parts(model, time_weight)
    for batch in batches:
        _listen(model, parts, batch)
    for part in tqdm(parts, desc="prune", unit="layer"):
        part.scale /= part.count
        part.order()
    _choose(model, parts, size)
    for part in parts:
        part.refit()
    return shrink(model, _masks(model, parts))


def _parts(model: FitHubert, time_weight: float) -> list[Part]:
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


def _listen(model: FitHubert, parts: list[Part], batch: Batch) -> None:
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
    part.scale += float(rows.double().var(1, unbiased=False).sum()) * rows.size(1)
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
        part.scale += float(x.double().square().sum())
        part.count += x.size(2)
        x = F.gelu(x)


def _choose(model: FitHubert, parts: list[Part], size: float) -> None:
    """Let units go where that costs least until `size` is met, then give FFN units back that still fit.

    Every convolution keeps a channel.
    """
    while _size(model, parts) > size:
        left = [part for part in parts if part.gone < part.units - (part.kind == "convs")]
        if not left:
            raise FitHubertError(
                f"expected a size of at least {_size(model, parts):,} parameters, which always stay, found "
                f"{size:,.0f}; set a lower model.sparsity"
            )
        min(left, key=Part.next_error).gone += 1
    while back := [part for part in parts if part.kind == "ffns" and part.gone]:
        part = max(back, key=Part.last_error)
        part.gone -= 1
        if _size(model, parts) > size:
            part.gone += 1
            break


def _size(model: FitHubert, parts: list[Part]) -> int:
    """Parameters that are left."""
    config = model.config
    counts = {
        "convs": [channels for channels, _, _ in config.conv_layers],
        "heads": list(config.layer_heads),
        "ffns": list(config.layer_ffn_dims),
    }
    for part in parts:
        counts[part.kind][part.number] -= part.gone
    attends, feeds = ([int(count > 0) for count in counts[kind]] for kind in ("heads", "ffns"))
    return size_of(config, *counts.values(), attends, feeds)


def _masks(model: FitHubert, parts: list[Part]) -> Masks:
    config, device = model.config, model.encoder_norm.weight.device
    counts = ([channels for channels, _, _ in config.conv_layers], config.layer_heads, config.layer_ffn_dims)
    masks = Masks(*([torch.ones(units, device=device) for units in layers] for layers in counts))
    for part in parts:
        getattr(masks, part.kind)[part.number] = part.mask()
    return masks

"""Prune a model at once, by what its layers read of some speech: neither gates nor training.

`removal_order` says in which order a layer's reader can do without its units, and at what error; the cheapest of all go
until the model is small enough; and `refit` gives each reader the weights that make up for what it lost.
"""

from collections.abc import Iterable

import torch
from torch import Tensor
from tqdm import tqdm

from ..data.batches import Batch
from ..errors import FitHubertError
from ..models.fithubert import FitHubert
from .gates import Masks, size_of
from .parts import Part, listen, parts_of
from .reconstruction import refit, removal_order
from .shrink import shrink


class Cut:
    """The units of a part in the order in which they go, of which the first `gone` have gone."""

    def __init__(self, part: Part):
        self.part, self.gone = part, 0
        self.removal = removal_order(part.second, part.weight, part.per_unit)
        if part.reader.bias is not None:  # without any unit the layer goes, and with it what it gives on average
            left = part.moments.mean @ part.weight + part.reader.bias
            self.removal.errors[-1] += float(left.square().sum())

    def mask(self) -> Tensor:
        """(U,) 1 for the units that stay, else 0."""
        mask = torch.ones(self.part.units, device=self.part.reader.weight.device)
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
        return (errors[place + 1] - errors[place]) / (self.part.scale * self.part.cost)

    def refit(self) -> None:
        """Let the reader make up for what has gone."""
        part = self.part
        kept = self.mask().repeat_interleave(part.per_unit).nonzero().flatten()
        before = part.weight
        weight = refit(part.second, before, kept)
        if part.reader.bias is not None:
            part.reader.bias += part.moments.mean @ (before - weight)
        part.reader.weight.copy_(weight.T.view_as(part.reader.weight))


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
    parts = parts_of(model, time_weight)
    for batch in batches:
        listen(model, parts, batch)
    cuts = [Cut(part) for part in tqdm(parts, desc="prune", unit="layer")]
    _choose(model, cuts, size)
    for cut in cuts:
        cut.refit()
    return shrink(model, _masks(model, cuts))


def _choose(model: FitHubert, cuts: list[Cut], size: float) -> None:
    """Let units go where that costs least until `size` is met, then give FFN units back that still fit.

    Every convolution keeps a channel.
    """
    while _size(model, cuts) > size:
        left = [cut for cut in cuts if cut.gone < cut.part.units - (cut.part.kind == "convs")]
        if not left:
            raise FitHubertError(
                f"expected a size of at least {_size(model, cuts):,} parameters, which always stay, found "
                f"{size:,.0f}; set a lower model.sparsity"
            )
        min(left, key=Cut.next_error).gone += 1
    while back := [cut for cut in cuts if cut.part.kind == "ffns" and cut.gone]:
        cut = max(back, key=Cut.last_error)
        cut.gone -= 1
        if _size(model, cuts) > size:
            cut.gone += 1
            break


def _size(model: FitHubert, cuts: list[Cut]) -> int:
    """Parameters that are left."""
    config = model.config
    counts = {
        "convs": [channels for channels, _, _ in config.conv_layers],
        "heads": list(config.layer_heads),
        "ffns": list(config.layer_ffn_dims),
    }
    for cut in cuts:
        counts[cut.part.kind][cut.part.number] -= cut.gone
    attends, feeds = ([int(count > 0) for count in counts[kind]] for kind in ("heads", "ffns"))
    return size_of(config, *counts.values(), attends, feeds)


def _masks(model: FitHubert, cuts: list[Cut]) -> Masks:
    config, device = model.config, model.encoder_norm.weight.device
    counts = ([channels for channels, _, _ in config.conv_layers], config.layer_heads, config.layer_ffn_dims)
    masks = Masks(*([torch.ones(units, device=device) for units in layers] for layers in counts))
    for cut in cuts:
        getattr(masks, cut.part.kind)[cut.part.number] = cut.mask()
    return masks

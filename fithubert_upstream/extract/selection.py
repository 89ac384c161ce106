"""Which upstream, and which of its features are kept. Imports no torch."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from ..errors import FitHubertError
from ..superb.names import Upstream, parse_upstream

CHECKPOINTS = (".safetensors", ".onnx", ".ckpt", ".pth")
ALL = "all"

_LISTS = (list, tuple, Mapping)


class Selection(NamedTuple):
    """Which features are kept.

    Parameters
    ----------
    layer : int, "all" or None
        An entry of `hidden_states` (or of the feature that the upstream's name ends with), from 0; all of them; or
        None for `last_hidden_state`.
    pool : "mean" or None
        The mean over the frames in place of the frames.
    """

    layer: int | str | None = None
    pool: str | None = None


def name_upstream(text: str) -> Upstream:
    """Read what `fithubert superb -u` takes, or the path of a checkpoint, `FILE[@FEATURE]`.

    Raises
    ------
    FitHubertError
        It is neither.
    """
    match = re.fullmatch(r"(?P<path>.+?)(?:@(?P<feature>\w+))?", text, re.S)
    path = match["path"] if match else ""
    if Path(path).is_file() or (Path(path).suffix in CHECKPOINTS and not re.match(r"[\w.=-]+:", path)):
        return Upstream(Path(path).stem, "fithubert_local", path, match["feature"] if match else None)
    return parse_upstream(text)


def is_onnx(upstream: Upstream) -> bool:
    return upstream.name in ("fithubert", "fithubert_local") and str(upstream.ckpt).endswith(".onnx")


def pick(features: Mapping[str, Any], upstream: Upstream, layer: int | str | None) -> list[Any]:
    """The layers that are kept of what an upstream gives; a feature is an array, or a list with one for each layer."""
    key = upstream.feature or ("last_hidden_state" if layer is None else "hidden_states")
    if key not in features and upstream.feature is None and layer is None:
        key = "hidden_states"
    if key not in features:
        there = ", ".join(name for name in features if not name.startswith("_"))
        raise FitHubertError(f"-u {upstream.label}: expected a feature named {key}, found {there}")
    value = features[key]
    layers = list(value.values() if isinstance(value, Mapping) else value) if isinstance(value, _LISTS) else None
    if layers is None and layer is not None:
        raise FitHubertError(f"-u {upstream.label}: expected a feature with layers, found {key}, which has none")
    if layers is None:
        return [value]
    if layer == ALL:
        widths = sorted({part.shape[-1] for part in layers})
        if len(widths) > 1:
            raise FitHubertError(f"--layers all: expected layers of one width, found {widths}; take one with --layer")
        return layers
    if layer is None:
        return layers[-1:]
    if not 0 <= int(layer) < len(layers):
        raise FitHubertError(
            f"--layer {layer}: expected a layer from 0 to {len(layers) - 1} ({key} of {upstream.label}), found {layer}"
        )
    return [layers[int(layer)]]

"""The frames of each item, layer by layer, on disk: all layers of a large corpus do not fit into memory."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import nn
from tqdm import tqdm

from ..audio import SAMPLE_RATE
from ..audio.waveforms import load_waveform
from ..corpora.items import Item
from ..errors import FitHubertError
from ..files import named


class Frames:
    """Frames of items for each layer of an upstream.

    Parameters
    ----------
    ends : list of int
        Where the frames of each item end, one after another.
    files : list of Path
        Of each layer, (N, D) in float32.
    """

    def __init__(self, ends: list[int], files: list[Path]) -> None:
        self.ends, self._files = ends, files

    def __len__(self) -> int:
        return len(self._files)

    def layer(self, number: int) -> torch.Tensor:
        """(N, D)"""
        flat = torch.from_numpy(np.fromfile(self._files[number], dtype=np.float32))
        return flat.view(self.ends[-1], -1)  # (N, D)


@torch.no_grad()
def extract(
    model: nn.Module,
    feature: str,
    items: Sequence[Item],
    recordings: Mapping[str, Path],
    folder: Path,
    device: str = "cpu",
) -> Frames:
    """Run an upstream over the recordings, one at a time.

    Parameters
    ----------
    model
        A frozen upstream of s3prl's hub.
    feature
        A key of what it gives: a list of layers, or one.
    items
        Those of a recording stand together.
    recordings
        Name -> file.
    folder
        Gets a file for each layer.

    Raises
    ------
    FitHubertError
        An item has no frame, or there is no room on the disk.
    """
    rate = SAMPLE_RATE / model.get_downsample_rates(feature)
    ends: list[int] = []
    files: list[Path] = []
    with named(folder):
        writers = []
        try:
            for name, own in tqdm(_by_recording(items), total=len(recordings), unit="file", dynamic_ncols=True):
                layers = model([load_waveform(recordings[name]).to(device)])[feature]
                layers = [layers] if torch.is_tensor(layers) else list(layers)
                if not writers:
                    files = [folder / f"layer{number}.f32" for number in range(len(layers))]
                    writers = [file.open("wb") for file in files]
                spans = [_span(item, rate, layers[0].size(1)) for item in own]
                for first, end in spans:
                    ends.append((ends[-1] if ends else 0) + end - first)
                for layer, writer in zip(layers, writers, strict=True):
                    cut = torch.cat([layer[0, first:end] for first, end in spans])  # (frames of its items, D)
                    writer.write(cut.float().cpu().numpy().tobytes())
        finally:
            for writer in writers:
                writer.close()
    return Frames(ends, files)


def _by_recording(items: Sequence[Item]) -> Iterator[tuple[str, list[Item]]]:
    start = 0
    for number in range(1, len(items) + 1):
        if number == len(items) or items[number].file != items[start].file:
            yield items[start].file, list(items[start:number])
            start = number


def _span(item: Item, rate: float, length: int) -> tuple[int, int]:
    first, end = item.frames(rate)
    end = min(end, length)
    if first >= end:
        raise FitHubertError(
            f"{item.file}: expected a frame between {float(item.onset):.3f} and {float(item.offset):.3f} s, found none "
            f"at {rate:g} frames a second; use an upstream with more"
        )
    return first, end

"""An upstream of s3prl's hub, ours or another, as an encoder of recordings."""

import contextlib
from collections.abc import Iterator, Sequence
from threading import Lock

import numpy as np
import torch
from torch import Tensor

from ..audio import SAMPLE_RATE
from ..downstream.upstream_checks import check_device
from ..errors import FitHubertError
from ..superb.names import Upstream
from ..superb.upstreams import build
from ..upstream.expert import UpstreamExpert
from .selection import ALL, Selection, pick

BATCH_SECONDS = 320  # of a padded batch on a GPU


class TorchEncoder:
    """An upstream, on a GPU where there is one.

    A student of ours gives an utterance the same features in any batch. On a GPU it takes utterances of like length
    in batches, on a CPU one by one, several at a time on one core each: many threads for a small matrix wait for each
    other. Other upstreams, whose features depend on the padding, take one by one.

    Parameters
    ----------
    upstream, selection
        What is kept of which features.
    device : str, optional
        Default: cuda where there is a GPU.

    Raises
    ------
    FitHubertError
        The upstream cannot be built or downloaded, or there is no such device.
    """

    def __init__(self, upstream: Upstream, selection: Selection, device: str | None = None):
        device = device or ("cuda" if torch.cuda.is_available() else "cpu")
        check_device(device)
        self.upstream, self.selection, self.device = upstream, selection, torch.device(device)
        try:
            self.model = build(upstream).to(self.device)
        except OSError as error:  # URLError and those of requests and huggingface_hub among them
            first: BaseException = error  # libraries tell the same once more at each level
            while first.__cause__ or first.__context__:
                first = first.__cause__ or first.__context__  # type: ignore[assignment]
            reason = " ".join(str(first).split())[:200] or type(first).__name__
            raise FitHubertError(
                f"-u {upstream.name}: expected an upstream that can be loaded or downloaded, found: {reason}"
            ) from error
        ours, on_cpu = isinstance(self.model, UpstreamExpert), self.device.type == "cpu"
        self.parallel = ours and on_cpu
        self.batches = ours and not on_cpu and upstream.feature != "hidden_states_40ms"
        self.lock = contextlib.nullcontext() if self.parallel else Lock()

    def __call__(self, waveforms: Sequence[np.ndarray]) -> list[tuple[np.ndarray, int]]:
        with torch.inference_mode(), self.lock:
            tensors = [torch.from_numpy(np.require(wav, np.float32, "W")).to(self.device) for wav in waveforms]
            if not self.batches:
                return [result for tensor in tensors for result in self._encode([tensor])]
            found: dict[int, tuple[np.ndarray, int]] = {}
            for batch in by_length([len(tensor) for tensor in tensors], BATCH_SECONDS * SAMPLE_RATE):
                found |= zip(batch, self._encode([tensors[i] for i in batch]), strict=True)
            return [found[i] for i in range(len(tensors))]

    def _encode(self, wavs: list[Tensor]) -> list[tuple[np.ndarray, int]]:
        layers = pick(self.model(wavs), self.upstream, self.selection.layer)
        block = torch.stack(layers, 1) if self.selection.layer == ALL else layers[0]  # (B, N, L, D) or (B, L, D)
        if len(wavs) == 1:
            lengths = [block.size(-2)]
        else:
            lengths = self.model.model.frame_lengths(torch.tensor([len(wav) for wav in wavs])).tolist()
        values = [value[..., :length, :] for value, length in zip(block, lengths, strict=True)]
        values = [value.mean(dim=-2) if self.selection.pool else value for value in values]
        return [(value.float().cpu().numpy(), length) for value, length in zip(values, lengths, strict=True)]

    @contextlib.contextmanager
    def running(self) -> Iterator[None]:
        """One core for each utterance where they are encoded in parallel."""
        before = torch.get_num_threads()
        if self.parallel:
            torch.set_num_threads(1)
        try:
            yield
        finally:
            torch.set_num_threads(before)


def by_length(lengths: Sequence[int], most: int) -> list[list[int]]:
    """Indices in batches of rising length that hold `most` samples with their padding, or one utterance."""
    batches: list[list[int]] = []
    for i in sorted(range(len(lengths)), key=lengths.__getitem__):
        if batches and lengths[i] * (len(batches[-1]) + 1) <= most:
            batches[-1].append(i)
        else:
            batches.append([i])
    return batches

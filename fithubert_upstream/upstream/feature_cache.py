"""Features of a frozen upstream, kept on disk: they are the same in every epoch, so few forward passes are enough.

The numbers stay what they are without the cache, to the last bit. Where an upstream treats each utterance by
itself, utterances are kept; where an utterance's features depend on what it is batched with (as in HuBERT,
through the padding), whole batches are, which are found again only if the same utterances come together again.
Training caches only what it sees twice, so that random crops and batches do not fill the disk.
"""

import argparse
import contextlib
import hashlib
import sys
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from ..compat.runs import wrapped_upstream
from ..errors import FitHubertError
from ..files import atomic_path
from ..models.inference import Feature, stack_utterances
from ..runs.provenance import processor

RECOUNT = 0.02  # of the limit


class CachedUpstream(nn.Module):
    """A frozen s3prl upstream that answers from disk what it was asked before.

    Parameters
    ----------
    upstream : Module
        As s3prl's hub builds it: list of (T,) waveforms -> dict of features.
    feature : str
        The only key of that dict that is kept and answered (`-s`).
    folder : path
        Entries lie in sub-folders named after a digest of the upstream (its class, weights and `identity`), so
        that one folder serves many.
    identity : iterable of str
        What else its features depend on, such as the text of a config file.
    keep_from : int
        What comes this many times is kept.
    limit : int
        Bytes that the folder may hold; when it is full nothing more is added, nothing is thrown out. Other processes
        may fill it too: it is measured again after every 2 % of the limit that this one adds.
    """

    def __init__(
        self,
        upstream: Any,
        feature: str,
        folder: str | Path,
        identity: Iterable[str] = (),
        keep_from: int = 1,
        limit: int = 50 * 10**9,
    ):
        super().__init__()
        self.upstream = upstream
        self.feature = feature
        self.identity = tuple(identity)
        self.root, self.keep_from, self.limit = Path(folder), keep_from, limit
        self.bytes, self._added = self._count(), 0
        self.found = self.asked = 0
        self._computed: Counter[str] = Counter()
        self._folders: dict[str, Path] = {}

    def _count(self) -> int:
        total = 0
        for path in self.root.rglob("*.safetensors"):
            with contextlib.suppress(FileNotFoundError):  # another process is done with the table
                total += path.stat().st_size
        return total

    def get_downsample_rates(self, key: str) -> int:
        return self.upstream.get_downsample_rates(key)

    def forward(self, wavs: list[Tensor]) -> dict[str, Feature]:
        """The one feature of the waveforms; while the upstream trains or is differentiated, all it answers.

        Raises
        ------
        FitHubertError
            The folder cannot be written to, or the upstream has no such feature.
        """
        is_replica = getattr(self, "_is_replica", False)  # of nn.DataParallel, which has no weights to go by
        if self.upstream.training or torch.is_grad_enabled() or is_replica:
            return self.upstream(wavs)
        groups = [[wav] for wav in wavs] if is_utterance_wise(self.upstream) else [wavs]
        folder = self._folder(wavs[0].device)
        features = [self._recall(group, folder) for group in groups]
        return {self.feature: features[0] if len(features) == 1 else stack_utterances(features)}

    def _folder(self, device: torch.device) -> Path:
        """Where entries of this upstream lie; with mixed precision they are others."""
        mixed = torch.is_autocast_enabled(device.type) and torch.get_autocast_dtype(device.type)
        precision = f"{mixed} {torch.get_float32_matmul_precision()}"
        if precision not in self._folders:  # not before: s3prl moves the upstream to its device and loads weights first
            identity = (*self.identity, precision)
            self._folders[precision] = self.root / _upstream_digest(self.upstream, self.feature, identity, device)
        return self._folders[precision]

    def _compute(self, wavs: list[Tensor]) -> Feature:
        features = self.upstream(wavs)
        if self.feature not in features:
            there = ", ".join(key for key in features if not key.startswith("_"))
            raise FitHubertError(f"-s {self.feature}: the upstream has no such feature; it has {there}")
        feature = features[self.feature]
        feature = list(feature.values()) if isinstance(feature, dict) else feature  # as s3prl's Featurizer takes them
        return list(feature) if isinstance(feature, tuple) else feature

    def _recall(self, wavs: list[Tensor], folder: Path) -> Feature:
        name = _digest(part for wav in wavs for part in (str(len(wav)), wav.detach().cpu().numpy().tobytes()))
        path = folder / name[:2] / f"{name}.safetensors"
        self.asked += 1
        try:
            tensors = load_file(path, device=str(wavs[0].device))
            self.found += 1
            return tensors["only"] if "only" in tensors else [tensors[str(i)] for i in range(len(tensors))]
        except (OSError, SafetensorError, KeyError):  # not there yet, damaged or something else: written anew
            feature = self._compute(wavs)
            self._computed[name] += 1
            if self._computed[name] >= self.keep_from:
                self._keep(feature, path)
            return feature

    def _keep(self, feature: Feature, path: Path) -> None:
        layers = {str(i): layer for i, layer in enumerate(feature)} if isinstance(feature, list) else {"only": feature}
        size = sum(layer.numel() * layer.element_size() for layer in layers.values())
        if self.bytes + size > self.limit:
            return
        # clone: layers may share memory, which safetensors refuses
        layers = {name: layer.detach().cpu().contiguous().clone() for name, layer in layers.items()}
        try:
            with atomic_path(path, durable=False) as temporary:  # a damaged one is computed anew
                save_file(layers, temporary)
            written = path.stat().st_size
            self.bytes, self._added = self.bytes + written, self._added + written
            if self._added > RECOUNT * self.limit:
                self.bytes, self._added = self._count(), 0
        except FitHubertError as error:
            if not self.root.is_dir():
                raise FitHubertError(f"feature cache {self.root}: expected a folder to write to; {error}") from error
            print(f"feature cache {self.root}: nothing more is kept: {error}", file=sys.stderr)
            self.limit = 0

    def summary(self) -> str:
        """One line for the end of a run."""
        return (
            f"feature cache {self.root}: {self.found:,} of {self.asked:,} from disk, it holds "
            f"{self.bytes / 10**9:.2f} of {self.limit / 10**9:g} GB"
        )


def is_utterance_wise(upstream: Any) -> bool:
    """Whether an upstream's features of an utterance are the same bits in any batch."""
    if hasattr(upstream, "utterance_wise"):
        return bool(upstream.utterance_wise)
    # s3prl's fbank, mfcc and spectrogram loop over the waveforms
    return type(upstream).__module__ == "s3prl.upstream.baseline.expert" and "kaldi" in upstream.config


def _upstream_digest(upstream: nn.Module, feature: str, identity: Iterable[str], device: torch.device) -> str:
    """A name for all that features depend on beside the waveforms."""
    kind = type(upstream)
    # Kernels, and with them the last bits, change with these.
    machine = [
        torch.__version__,
        torch.cuda.get_device_name(device) if device.type == "cuda" else processor(),
        torch.backends.cpu.get_cpu_capability(),
        str(torch.get_num_threads()),
    ]
    weights = (
        part
        for name, tensor in sorted(upstream.state_dict().items())
        for part in (
            name,
            str(tensor.dtype),
            tensor.detach().cpu().reshape(-1).contiguous().view(torch.uint8).numpy().tobytes(),
        )
    )
    module = kind.__module__.replace("fithubert_upstream.upstream.", "fithubert_upstream.")  # where 0.1 had it
    return _digest([module, kind.__qualname__, upstream.extra_repr(), feature, *identity, *machine, *weights])


def _digest(parts: Iterable[str | bytes]) -> str:
    digest = hashlib.blake2b(digest_size=16)
    for part in parts:
        part = part.encode() if isinstance(part, str) else part
        digest.update(len(part).to_bytes(8, "little"))
        digest.update(part)
    return digest.hexdigest()


@contextlib.contextmanager
def cached_upstreams(args: argparse.Namespace, folder: str | Path, limit: int) -> Iterator[None]:
    """Let s3prl's hub build the upstream of `args` with a cache around it, in the block; then say what it did."""
    config = args.upstream_model_config
    text = Path(config).read_text(encoding="utf-8") if config and Path(config).is_file() else str(config)
    caches = []

    def with_cache(upstream: nn.Module) -> CachedUpstream:
        identity = (args.upstream, text)
        keep_from = 2 if args.mode == "train" else 1
        caches.append(CachedUpstream(upstream, args.upstream_feature_selection, folder, identity, keep_from, limit))
        return caches[-1]

    with wrapped_upstream(args.upstream, with_cache):
        yield
    for cache in caches:
        print(cache.summary())

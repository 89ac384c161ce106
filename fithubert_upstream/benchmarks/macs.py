"""Multiply-accumulates of a forward pass, from a model's shape; the lengths of the utterances that SUPERB profiles.

Of the mathematics: neither the device, nor the library, nor a faster way to the same numbers (Fourier transforms,
merged products) changes them. Norms, activations and sums of two tensors are not counted, as is usual.
"""

from collections.abc import Iterable
from pathlib import Path

from ..audio.scan import count_samples_16k
from ..audio.walk import find_audio
from ..corpora.layouts.librispeech import split_folder
from ..errors import FitHubertError
from ..models.attention import GATE
from ..models.config import FitHubertConfig
from ..models.lengths import conv_frames, shortest_input

SUPERB_UTTERANCES, SUPERB_STEP = 32, 82  # the (82 i + 1)-th of test-clean, i = 0..31
SUPERB_BUCKETS = ("short", "medium", "long", "longer")


def count_macs(config: FitHubertConfig, samples: int) -> int:
    """Multiply-accumulates of a forward pass of one utterance.

    Parameters
    ----------
    config : the model's shape; HuBERT's own is one without time reduction and heads.
    samples : its length; what is shorter than the shortest input counts as that, to which it is padded.
    """
    samples = max(samples, shortest_input(config.conv_layers, config.time_reduction))
    total, inside = 0, 1
    for place, (channels, kernel, _) in enumerate(config.conv_layers, start=1):
        total += conv_frames(samples, config.conv_layers[:place]) * kernel * inside * channels
        inside = channels
    dim, rate = config.embed_dim, config.time_reduction
    frames = conv_frames(samples, config.conv_layers)
    total += frames * inside * dim if config.feature_projection else 0
    total += frames * config.pos_conv_kernel * dim * (dim // config.pos_conv_groups)

    reduced = frames // rate
    resample = reduced * rate * dim * dim if rate > 1 else 0  # the time reduction, and the way back in each head
    total += resample + sum(_layer_macs(config, layer, reduced) for layer in range(1, config.num_layers + 1))

    head = reduced * rate * dim * config.head_dim
    if config.head_kind == "prediction":
        head += reduced * rate * dim * dim
    return total + len(config.head_layers) * (resample + head)


def _layer_macs(config: FitHubertConfig, layer: int, frames: int) -> int:
    """Multiply-accumulates of one transformer layer, counted from 1."""
    dim, heads, ffn_dim = config.embed_dim, config.layer_heads[layer - 1], config.layer_ffn_dims[layer - 1]
    width = heads * config.width_of_head
    reused = layer in config.reuse_attention
    products = (2 if reused else 4) * dim * width  # of a frame: q, k, v and out, or v and out
    if config.position_buckets:
        products += GATE * width
    attention = (1 if reused else 2) * frames * frames * width  # queries with keys, weights with values
    return frames * (products + 2 * dim * ffn_dim) + attention


def superb_samples(root: str | Path) -> list[int]:
    """Lengths, rising, of the utterances that SUPERB's profile takes from LibriSpeech's test-clean.

    Which these are depends on the order, which is here that of the file names.

    Raises
    ------
    FitHubertError
        There is no test-clean in `root`, or it is not whole, or a file is not 16 kHz audio.
    """
    folder = split_folder(root, "test-clean")
    files = sorted(find_audio(folder), key=lambda file: file.name)
    needed = SUPERB_STEP * (SUPERB_UTTERANCES - 1) + 1
    if len(files) < needed:
        raise FitHubertError(
            f"{folder}: expected LibriSpeech's test-clean (2,620 utterances), found {len(files):,}; "
            "SUPERB's profile needs all of it"
        )
    return sorted(count_samples_16k(file) for file in files[:needed:SUPERB_STEP])


def superb_macs(config: FitHubertConfig, samples: Iterable[int]) -> dict[str, int]:
    """`total` multiply-accumulates over the profiled utterances, and of each quarter of them by length."""
    macs = [count_macs(config, length) for length in sorted(samples)]
    size = len(macs) // len(SUPERB_BUCKETS)
    buckets = {name: sum(macs[i * size : (i + 1) * size]) for i, name in enumerate(SUPERB_BUCKETS)}
    return {"total": sum(macs)} | buckets

"""What a student knows, on dev data: phones by a linear CTC head, voices by the cosine of a linear map.

    python examples/mini/probe.py student.safetensors --data ../shared/data

PER: the head learns from `LibriSpeech-excerpt/mini-train` (3 speakers) and reads `mini-dev` (3 others); utterances with
a word that the CMU dictionary lacks are left out. EER: the map learns four fifths of the speakers of
`VoxCeleb1-layout/dev` and compares all pairs of the rest's recordings. Both see a weighted sum of the layers, which is
learned too, or one layer (`--layer`). Seeds differ by about one point. No test set is read.
"""

import argparse
from itertools import pairwise
from pathlib import Path

import editdistance
import numpy as np
import torch
from sklearn.metrics import roc_curve
from torch import Tensor, nn
from torch.nn import functional as F
from tqdm import tqdm, trange

from fithubert_upstream.audio.walk import find_audio
from fithubert_upstream.audio.waveforms import load_any_waveform
from fithubert_upstream.corpora.cmudict import entries
from fithubert_upstream.corpora.layouts.librispeech import read_splits
from fithubert_upstream.upstream.hubconf import fithubert_local, whisper_local

UPDATES, BATCH, WIDTH = 500, 4, 256


class WeightedSum(nn.Module):
    """(N, B, L, D) layers, each frame normalised -> (B, L, D)."""

    def __init__(self, layers: int):
        super().__init__()
        self.weights = nn.Parameter(torch.zeros(layers))

    def forward(self, layers: Tensor) -> Tensor:
        layers = F.layer_norm(layers, layers.shape[-1:])
        return (self.weights.softmax(0)[:, None, None, None] * layers).sum(0)


def hidden_states(upstream: nn.Module, paths: list[Path], layer: int | None) -> list[Tensor]:
    """(N, L, D) float16 of each recording."""
    found = []
    for path in tqdm(paths, "features", leave=False):
        with torch.inference_mode():
            layers = upstream([load_any_waveform(path)])["hidden_states"]
        kept = torch.cat(list(layers) if layer is None else [layers[layer]]).half()
        found.append(kept)
    return found


def batches(features: list[Tensor], draw: np.random.Generator):
    """(indices, (N, B, L, D), (B,) frames), shuffled, without end."""
    while True:
        order = draw.permutation(len(features))
        for start in range(0, len(order) - BATCH + 1, BATCH):
            chosen = order[start : start + BATCH].tolist()
            padded = nn.utils.rnn.pad_sequence([features[i].transpose(0, 1) for i in chosen], batch_first=True)
            lengths = torch.tensor([features[i].size(1) for i in chosen])
            yield chosen, padded.permute(2, 0, 1, 3).float(), lengths  # (B, L, N, D) -> (N, B, L, D)


def phone_error_rate(upstream: nn.Module, corpus: Path, layer: int | None, seed: int) -> float:
    said: dict[str, tuple[str, ...]] = {}
    for word, phones in entries():
        said.setdefault(word.upper(), phones)
    splits, _ = read_splits(corpus, ["mini-train", "mini-dev"], progress=False)
    known = [[u for u in split if all(word in said for word in u.words)] for split in splits.values()]
    symbols = ["<blank>", *sorted({phone for phones in said.values() for phone in phones})]
    number = {symbol: i for i, symbol in enumerate(symbols)}
    phones = [[[number[p] for word in u.words for p in said[word]] for u in split] for split in known]
    train, dev = (hidden_states(upstream, [u.audio for u in split], layer) for split in known)

    torch.manual_seed(seed)
    count, _, width = train[0].shape
    head = nn.Sequential(WeightedSum(count), nn.Linear(width, WIDTH), nn.Linear(WIDTH, len(symbols)))
    optimizer = torch.optim.Adam(head.parameters(), 3e-3)
    stream = batches(train, np.random.default_rng(seed))
    for _ in trange(UPDATES, desc="phones", leave=False):
        chosen, layers, lengths = next(stream)
        targets = [torch.tensor(phones[0][i]) for i in chosen]
        loss = F.ctc_loss(
            head(layers).log_softmax(2).transpose(0, 1),  # (B, L, S) -> (L, B, S)
            torch.cat(targets),
            lengths,
            torch.tensor([len(t) for t in targets]),
            zero_infinity=True,
        )
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(head.parameters(), 1.0)
        optimizer.step()
    wrong = total = 0
    for features, wanted in zip(dev, phones[1], strict=True):
        with torch.inference_mode():
            best = head(features[:, None].float())[0].argmax(1).tolist()
        read = [b for a, b in pairwise([0, *best]) if b not in (0, a)]
        wrong, total = wrong + editdistance.eval(wanted, read), total + len(wanted)
    return 100 * wrong / total


def equal_error_rate(upstream: nn.Module, corpus: Path, layer: int | None, seed: int) -> float:
    speakers = sorted(folder for folder in (corpus / "dev" / "wav").iterdir() if folder.is_dir())
    paths = [(i, path) for i, folder in enumerate(speakers) for path in find_audio(folder)]
    features = hidden_states(upstream, [path for _, path in paths], layer)
    held_out = torch.tensor([i % 5 == 0 for i, _ in paths])
    labels = torch.tensor([i for i, _ in paths])

    torch.manual_seed(seed)
    count, _, width = features[0].shape
    total, linear = WeightedSum(count), nn.Linear(2 * width, WIDTH)
    classes = nn.Parameter(torch.randn(len(speakers), WIDTH) / WIDTH**0.5)

    def embed(layers: Tensor, lengths: Tensor) -> Tensor:
        frames = total(layers)  # (B, L, D)
        parts = [torch.cat([f[:n].mean(0), f[:n].std(0)]) for f, n in zip(frames, lengths.tolist(), strict=True)]
        return F.normalize(linear(torch.stack(parts)), dim=1)  # (B, 256)

    optimizer = torch.optim.Adam([*total.parameters(), *linear.parameters(), classes], 1e-3)
    mine = [i for i in range(len(paths)) if not held_out[i]]
    stream = batches([features[i] for i in mine], np.random.default_rng(seed))
    for _ in trange(4 * UPDATES, desc="voices", leave=False):
        chosen, layers, lengths = next(stream)
        wanted = labels[[mine[i] for i in chosen]]
        scores = embed(layers, lengths) @ F.normalize(classes, dim=1).T
        loss = F.cross_entropy(30 * (scores - 0.2 * F.one_hot(wanted, len(speakers))), wanted)  # AM-softmax
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    kept = held_out.nonzero()[:, 0].tolist()
    with torch.inference_mode():
        voices = torch.cat([embed(features[i][:, None].float(), torch.tensor([features[i].size(1)])) for i in kept])
    one, two = torch.triu_indices(len(kept), len(kept), 1)
    same = labels[kept][one] == labels[kept][two]
    accepted, found, _ = roc_curve(same, (voices[one] * voices[two]).sum(1))
    return 100 * float(accepted[np.abs(accepted - 1 + found).argmin()])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("students", nargs="+", help="files of ours; whisper:FOLDER for a Whisper")
    parser.add_argument("--data", type=Path, required=True, help="LibriSpeech-excerpt and VoxCeleb1-layout are below")
    parser.add_argument("--layer", type=int, help="of the hidden states, instead of all")
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    for name in args.students:
        whisper = name.startswith("whisper:")
        upstream = (whisper_local(name.removeprefix("whisper:")) if whisper else fithubert_local(name)).eval()
        per = phone_error_rate(upstream, args.data / "LibriSpeech-excerpt", args.layer, args.seed)
        eer = equal_error_rate(upstream, args.data / "VoxCeleb1-layout", args.layer, args.seed)
        print(f"{name}: PER {per:.1f} %, EER {eer:.1f} %", flush=True)


if __name__ == "__main__":
    main()

"""HuBERT's masked prediction for a small model: targets from k-means of MFCCs, then of its own features.

    python examples/mini/pretrain_hubert.py speech hubert

The model is `FitHubert` without time reduction and heads, which is what HuBERT is. As Hsu et al. (2021), with what so
brief a training asks for: frames that are not masked count as well; the second iteration goes on from the weights
of the first; rooms, microphones and noise are added to the input while the targets stay those of clean speech
(as WavLM does). Interrupted, it goes on from its last checkpoint; what is finished is skipped.
"""

import argparse
import csv
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from pathlib import Path

import librosa
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from tqdm import tqdm

from fithubert_upstream.audio import SAMPLE_RATE
from fithubert_upstream.audio.decode import read_audio
from fithubert_upstream.audio.walk import find_audio, folders_in
from fithubert_upstream.checkpoints.student import save_fithubert
from fithubert_upstream.corpora.synthetic.recordings import random_conditions
from fithubert_upstream.data.centers import fit_kmeans
from fithubert_upstream.distillation.losses import cluster_loss
from fithubert_upstream.distillation.objectives.learner import MaskedLearner
from fithubert_upstream.files import atomic_path
from fithubert_upstream.models.config import FitHubertConfig
from fithubert_upstream.models.fithubert import FitHubert
from fithubert_upstream.models.lengths import FRAME_RATE

CONFIG = FitHubertConfig(
    conv_layers=((32, 10, 5), (48, 3, 2), (64, 3, 2), (96, 3, 2), (96, 3, 2), (128, 2, 2), (192, 2, 2)),
    embed_dim=256,
    ffn_dim=1024,
    num_heads=4,
    num_layers=6,
    pos_conv_kernel=64,
    pos_conv_groups=16,
    time_reduction=1,
    head_layers=(),
    dropout_input=0.0,  # the training is too brief to overfit
    dropout=0.0,
    attention_dropout=0.0,
    activation_dropout=0.0,
)
CLUSTERS = (100, 250)
FEATURE_LAYER = 4  # whose outputs are the second iteration's targets
BATCH, CROP_SECONDS = 4, 2.5  # many small updates do better than few large ones, in the same time
LEARNING_RATES, WARMUP = (1e-3, 7e-4), 0.08
UNMASKED_WEIGHT = 1.0  # HuBERT: 0
MASK_PROBABILITY, MASK_SPAN = 0.65, 5  # HuBERT: spans of 10; half of it is easier to begin with
CLEAN = 0.25  # share of the crops that are left as they are
WINDOW = 400  # samples that a frame sees, of the MFCCs as of the convolutions: no shift between the two
FRAMES = int(CROP_SECONDS * SAMPLE_RATE) // FRAME_RATE
SAVE_EVERY = 500


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("speech", type=Path, help="folder that make_speech.py wrote")
    parser.add_argument("output", type=Path)
    parser.add_argument("--steps", type=int, nargs=2, default=[3000, 6000], help="updates (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=1337)
    args = parser.parse_args()
    args.output.mkdir(parents=True, exist_ok=True)

    speech = {split: read_speakers(args.speech / split) for split in ("train", "dev")}
    weights: dict[str, Tensor] | None = None
    for iteration, steps in enumerate(args.steps):
        folder = args.output / f"iteration-{iteration + 1}"
        folder.mkdir(exist_ok=True)
        targets = find_targets(speech, iteration, weights, folder, args.seed)
        weights = train(speech, targets, iteration, steps, weights, folder, args.seed)
    model = FitHubert(CONFIG)
    model.load_state_dict(weights)
    save_fithubert(model, args.output / "hubert_mini.safetensors")
    print(f"{args.output / 'hubert_mini.safetensors'}: {sum(p.numel() for p in model.parameters()):,} parameters")


def read_speakers(folder: Path) -> list[np.ndarray]:
    """All that a speaker says, one utterance after the other: (T,) int16 for each speaker."""
    speakers = folders_in(folder)

    def read(speaker: Path) -> np.ndarray:
        return np.concatenate([read_audio(path, "int16").samples[:, 0] for path in find_audio(speaker)])

    with ThreadPoolExecutor(2) as pool:
        return list(tqdm(pool.map(read, speakers), f"Read {folder.name}", len(speakers)))


# --- targets ------------------------------------------------------------------------------------------


def find_targets(speech, iteration: int, weights, folder: Path, seed: int) -> dict[str, list[Tensor]]:
    """The cluster of every frame: (L,) for each speaker of each split."""
    file = folder / "targets.npz"
    if not file.is_file():
        if iteration == 0:
            features = {split: [mfcc(wav) for wav in tqdm(wavs, "MFCC")] for split, wavs in speech.items()}
        else:
            features = {split: hidden_features(wavs, weights) for split, wavs in speech.items()}
        draw = np.random.default_rng(seed)
        sample = np.concatenate([draw.permutation(frames)[:500] for frames in features["train"]]).astype(np.float32)
        kmeans = fit_kmeans(sample, CLUSTERS[iteration], seed)
        found = {
            f"{split}-{i}": kmeans.predict(frames.astype(np.float32)).astype(np.int16)
            for split, speakers in features.items()
            for i, frames in enumerate(speakers)
        }
        with atomic_path(file) as temporary, temporary.open("wb") as stream:
            np.savez_compressed(stream, **found)
    found = np.load(file)
    return {
        split: [torch.from_numpy(found[f"{split}-{i}"].astype(np.int64)) for i in range(len(wavs))]
        for split, wavs in speech.items()
    }


def mfcc(wav: np.ndarray) -> np.ndarray:
    """(T,) -> (L, 39): 13 MFCCs of zero mean and unit variance over the speaker, and their first two differences.

    The differences count a quarter: at full weight, the clusters have less to do with phones.
    """
    wav = wav.astype(np.float32) / 32768
    kwargs = {"n_fft": WINDOW, "hop_length": FRAME_RATE, "n_mels": 40, "center": False}
    cepstra = librosa.feature.mfcc(y=wav, sr=SAMPLE_RATE, n_mfcc=13, **kwargs)
    cepstra = (cepstra - cepstra.mean(1, keepdims=True)) / (cepstra.std(1, keepdims=True) + 1e-5)
    deltas = [librosa.feature.delta(cepstra, order=order, mode="nearest") for order in (1, 2)]
    scaled = [0.25 * delta / (delta.std(1, keepdims=True) + 1e-5) for delta in deltas]
    return np.concatenate([cepstra, *scaled]).T.astype(np.float16)


@torch.no_grad()
def hidden_features(wavs: list[np.ndarray], weights: dict[str, Tensor]) -> list[np.ndarray]:
    """(L, D) of layer FEATURE_LAYER for each speaker, computed in pieces of 10 s."""
    model = FitHubert(CONFIG).eval()
    model.load_state_dict(weights)
    features = []
    for wav in tqdm(wavs, f"Features of layer {FEATURE_LAYER}"):
        frames = (len(wav) - WINDOW) // FRAME_RATE + 1
        bounds = [*range(0, frames - 100, 500), frames]  # no piece is shorter than 2 s
        pieces = []
        for start, end in pairwise(bounds):
            piece = wav[start * FRAME_RATE : (end - 1) * FRAME_RATE + WINDOW]
            layers, _ = model.encode(torch.from_numpy(piece)[None].float() / 32768)
            pieces.append(layers[FEATURE_LAYER - 1][0].half())
        features.append(torch.cat(pieces).numpy())
    return features


# --- training -----------------------------------------------------------------------------------------


class MaskedPrediction(MaskedLearner):
    """The model with what pretraining adds: a vector for masked frames, and a classifier."""

    def __init__(self, clusters: int):
        super().__init__(FitHubert(CONFIG))
        self.classifier = nn.Linear(CONFIG.embed_dim, clusters)

    def forward(self, waveforms: Tensor, targets: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """The loss; the cross-entropy of masked frames and of the others, and the share of masked ones found."""
        logits = self.classifier(self.encode(waveforms, None, mask).layers[-1])  # (B, L, clusters)
        return cluster_loss(logits, targets, mask, None, UNMASKED_WEIGHT)


def train(speech, targets, iteration: int, steps: int, weights, folder: Path, seed: int) -> dict[str, Tensor]:
    """Train one iteration and return the model's weights."""
    done = folder / "model.pt"
    if done.is_file():
        return torch.load(done, weights_only=True)
    torch.manual_seed(seed)
    task = MaskedPrediction(CLUSTERS[iteration])
    if weights is not None:
        task.student.load_state_dict(weights)
    decayed = [p for p in task.parameters() if p.dim() > 1]
    others = [p for p in task.parameters() if p.dim() <= 1]
    groups = [{"params": decayed, "weight_decay": 0.01}, {"params": others, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=LEARNING_RATES[iteration], betas=(0.9, 0.98), fused=True)
    warmup = WARMUP * steps
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: min((step + 1) / warmup, (steps - step) / (steps - warmup))
    )
    first, log = 0, []
    state_file = folder / "state.pt"
    if state_file.is_file():
        state = torch.load(state_file, weights_only=True)
        task.load_state_dict(state["task"])
        optimizer.load_state_dict(state["optimizer"])
        schedule.load_state_dict(state["schedule"])
        first, log = state["step"], state["log"]

    bar = tqdm(range(first, steps), f"HuBERT, iteration {iteration + 1}", initial=first, total=steps)
    for step in bar:
        draw = np.random.default_rng([seed, iteration, step])
        loss, (masked, seen, found) = task(*random_batch(speech["train"], targets["train"], draw))
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(task.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        if (step + 1) % 10 == 0:
            bar.set_postfix(masked=f"{masked.item():.2f}", seen=f"{seen.item():.2f}", found=f"{found.item():.2f}")
        if (step + 1) % SAVE_EVERY == 0 or step + 1 == steps:
            log.append([step + 1, masked.item(), seen.item(), *validate(task, speech["dev"], targets["dev"])])
            save(
                {
                    "task": task.state_dict(),
                    "optimizer": optimizer.state_dict(),
                    "schedule": schedule.state_dict(),
                    "step": step + 1,
                    "log": log,
                },
                state_file,
            )
            with atomic_path(folder / "log.csv") as temporary, temporary.open("w", newline="") as stream:
                writer = csv.writer(stream)
                writer.writerow(["step", "masked", "seen", "dev_masked", "dev_seen", "dev_found"])
                writer.writerows(log)
    save(task.student.state_dict(), done)
    return task.student.state_dict()


@torch.no_grad()
def validate(task: MaskedPrediction, speech: list[np.ndarray], targets: list[Tensor]) -> list[float]:
    """Means over 20 batches, the same each time."""
    draws = (np.random.default_rng([1, batch]) for batch in range(20))
    results = [task(*random_batch(speech, targets, draw))[1] for draw in draws]
    return torch.stack(results).mean(0).tolist()


def random_batch(speech: list[np.ndarray], targets: list[Tensor], draw: np.random.Generator):
    """(B, T) waveforms, (B, L) targets, (B, L) mask."""
    wavs, wanted = [], []
    for speaker in draw.integers(len(speech), size=BATCH):
        start = int(draw.integers(len(targets[speaker]) - FRAMES + 1))
        samples = slice(start * FRAME_RATE, (start + FRAMES - 1) * FRAME_RATE + WINDOW)
        wav = speech[speaker][samples].astype(np.float32) / 32768
        if draw.random() >= CLEAN and wav.any():
            wav = random_conditions(draw).apply(wav, draw)
        wavs.append(torch.from_numpy(wav))
        wanted.append(targets[speaker][start : start + FRAMES])
    starts = torch.from_numpy(draw.random((BATCH, FRAMES)) < MASK_PROBABILITY / MASK_SPAN)
    starts[0, FRAMES // 2] = True  # one span at least
    mask = F.pad(starts, (MASK_SPAN - 1, 0)).unfold(1, MASK_SPAN, 1).any(-1)
    return torch.stack(wavs), torch.stack(wanted), mask


def save(content: dict, path: Path) -> None:
    with atomic_path(path) as temporary:
        torch.save(content, temporary)


if __name__ == "__main__":
    main()

"""A brief HuBERT pretraining: a small but real teacher, where no large one can be had."""

import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path

import librosa
import numpy as np
import torch
import torch.nn.functional as F
from sklearn.cluster import MiniBatchKMeans
from torch import Tensor
from tqdm import tqdm

from .audio import load_waveform
from .errors import FitHubertError
from .lengths import FRAME_RATE, SAMPLE_RATE
from .torchaudio_compat import mend_torchaudio_import

WINDOW = 400  # samples that a frame sees, of the MFCCs as of the convolutions: no shift between the two
MIN_SECONDS = 0.5
MASK_PROBABILITY, MASK_SPAN = 0.65, 10  # as HuBERT: each frame would be masked so often if spans never met


def pretrain_mini_hubert(
    waveform_paths: Sequence[str | Path],
    out_dir: str | Path,
    steps: int,
    seed: int = 0,
    *,
    batch_size: int = 4,
    crop_seconds: float = 2.5,
    clusters: int = 100,
    learning_rate: float = 1e-3,
    unmasked_weight: float = 1.0,
    conv_dim: Sequence[int] = (32, 32, 64, 64, 96, 96, 128),
    hidden_size: int = 192,
    layers: int = 4,
    heads: int = 4,
    progress: bool = True,
) -> list[float]:
    """Train a small HuBERT from nothing on k-means clusters of MFCCs (the first iteration of HuBERT).

    Parameters
    ----------
    waveform_paths : list of paths
        Mono recordings at 16 kHz of 0.5 s or more, in whatever format soundfile reads; all are held in
        memory (4 MB a minute).
    out_dir : path
        Must not exist. Becomes a model folder for `transformers.HubertModel.from_pretrained`, and thereby
        for s3prl's `hf_hubert_custom`; there is none until the training is complete.
    steps : int
        Updates, each on `batch_size` random crops of `crop_seconds`; 500 take some 2.5 minutes on a core.
    unmasked_weight : float
        Weight of the frames that are not masked, whose loss is added. HuBERT has 0; in so few steps the
        features come out clearly better with 1.

    Returns
    -------
    list of float
        Cross-entropy in nats of the masked frames' clusters at each step.

    Raises
    ------
    FitHubertError
        No recordings; one is unreadable, too short, silent, not mono or not at 16 kHz; `out_dir` exists.
    """
    mend_torchaudio_import()  # transformers imports it wherever it is installed
    from transformers import HubertConfig, HubertModel, Wav2Vec2FeatureExtractor

    out_dir = Path(out_dir)
    if out_dir.exists():
        raise FitHubertError(f"expected a new folder, found {out_dir}: remove it or name another")
    waveforms = [_read(path) for path in tqdm(waveform_paths, "Reading", disable=not progress)]
    if not waveforms:
        raise FitHubertError("expected recordings to train on, found an empty list: give it some paths")
    features = [_mfcc(waveform) for waveform in tqdm(waveforms, "MFCC", disable=not progress)]
    clusters = min(clusters, sum(map(len, features)))
    kmeans = MiniBatchKMeans(clusters, batch_size=10_000, n_init=3, random_state=seed)
    kmeans.fit(np.concatenate(features))
    targets = [torch.from_numpy(kmeans.predict(frames).astype(np.int64)) for frames in features]

    torch.manual_seed(seed)
    # No dropout of any kind: the training is too brief to overfit.
    kinds = ("hidden_dropout", "activation_dropout", "attention_dropout", "feat_proj_dropout", "layerdrop")
    config = HubertConfig(
        conv_dim=tuple(conv_dim),
        hidden_size=hidden_size,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        intermediate_size=4 * hidden_size,
        num_conv_pos_embeddings=64,
        num_conv_pos_embedding_groups=heads,
        **dict.fromkeys(kinds, 0.0),
    )
    model = HubertModel(config).train()
    classifier = torch.nn.Linear(hidden_size, clusters)
    parameters = [*model.parameters(), *classifier.parameters()]
    optimizer = torch.optim.AdamW(parameters, lr=learning_rate, betas=(0.9, 0.98), weight_decay=0.01)
    warmup = max(1, steps // 10)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: min((step + 1) / warmup, (steps - step) / max(1, steps - warmup))
    )

    generator = torch.Generator().manual_seed(seed)
    losses = []
    with tqdm(range(steps), "Mini HuBERT", disable=not progress) as bar:
        for _ in bar:
            audio, target = _random_crops(waveforms, targets, batch_size, crop_seconds, generator)
            mask = _random_spans(target.shape, generator)
            hidden = model(audio, mask_time_indices=mask).last_hidden_state  # (B, L, D)
            logits = classifier(hidden)
            frame_loss = F.cross_entropy(logits.transpose(1, 2), target, reduction="none")  # (B, L)
            loss = frame_loss[mask].mean()
            seen = frame_loss[~mask].sum() / max(1, int((~mask).sum()))
            optimizer.zero_grad()
            (loss + unmasked_weight * seen).backward()
            torch.nn.utils.clip_grad_norm_(parameters, 1.0)
            optimizer.step()
            schedule.step()
            losses.append(loss.item())
            accuracy = (logits.argmax(-1) == target)[mask].float().mean().item()
            bar.set_postfix(loss=f"{losses[-1]:.2f}", masked_accuracy=f"{accuracy:.2f}")

    out_dir.parent.mkdir(parents=True, exist_ok=True)
    unfinished = Path(tempfile.mkdtemp(prefix=f".{out_dir.name}.", dir=out_dir.parent))
    try:
        unfinished.chmod(0o755)  # mkdtemp makes it private
        model.eval().save_pretrained(unfinished)
        Wav2Vec2FeatureExtractor(do_normalize=False, return_attention_mask=False).save_pretrained(unfinished)
        unfinished.rename(out_dir)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
    return losses


def _mfcc(waveform: np.ndarray) -> np.ndarray:
    """(T,) -> (L, 39): 13 MFCCs of zero mean and unit variance, and their first two differences.

    The differences count a quarter: at full weight, the clusters have less to do with phones.
    """
    kwargs = {"n_fft": WINDOW, "hop_length": FRAME_RATE, "n_mels": 40, "center": False}
    mfcc = librosa.feature.mfcc(y=waveform, sr=SAMPLE_RATE, n_mfcc=13, **kwargs)
    mfcc = (mfcc - mfcc.mean(1, keepdims=True)) / (mfcc.std(1, keepdims=True) + 1e-5)
    deltas = [librosa.feature.delta(mfcc, order=order, mode="nearest") for order in (1, 2)]
    scaled = [0.25 * delta / (delta.std(1, keepdims=True) + 1e-5) for delta in deltas]
    return np.concatenate([mfcc, *scaled]).T


def _read(path: str | Path) -> np.ndarray:
    waveform = load_waveform(path).numpy()
    if len(waveform) < MIN_SECONDS * SAMPLE_RATE:
        seconds = len(waveform) / SAMPLE_RATE
        raise FitHubertError(f"{path}: expected {MIN_SECONDS} s at least, found {seconds:.2f} s; leave it out")
    if not waveform.std() > 0:
        raise FitHubertError(f"{path}: expected speech, found silence; leave it out")
    return waveform


def _count_frames(samples: int) -> int:
    return (samples - WINDOW) // FRAME_RATE + 1


def _random_crops(waveforms, targets, batch_size: int, crop_seconds: float, generator: torch.Generator):
    """(B, T) audio and (B, L) targets, cut to the shortest of the batch: nothing is padded."""
    chosen = torch.randint(len(waveforms), (batch_size,), generator=generator).tolist()
    frames = min(_count_frames(int(crop_seconds * SAMPLE_RATE)), *(len(targets[i]) for i in chosen))
    samples = (frames - 1) * FRAME_RATE + WINDOW
    audio, target = [], []
    for i in chosen:
        start = int(torch.randint(len(targets[i]) - frames + 1, (), generator=generator))
        audio.append(torch.from_numpy(waveforms[i][start * FRAME_RATE : start * FRAME_RATE + samples]))
        target.append(targets[i][start : start + frames])
    return torch.stack(audio), torch.stack(target)


def _random_spans(shape: tuple[int, int], generator: torch.Generator) -> Tensor:
    """(B, L) bool: True in spans that begin anywhere, at least one span in all."""
    starts = torch.rand(shape, generator=generator) < MASK_PROBABILITY / MASK_SPAN
    starts[0, torch.randint(shape[1], (), generator=generator)] = True
    return F.pad(starts, (MASK_SPAN - 1, 0)).unfold(1, MASK_SPAN, 1).any(-1)

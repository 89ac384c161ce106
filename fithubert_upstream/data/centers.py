"""The centers of a teacher's clusters, found once by k-means and kept on disk."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor
from tqdm import tqdm

from ..errors import FitHubertError
from ..files import atomic_path
from ..teachers.teacher import Teacher
from .sources import Corpus
from .targets import identify

FRAMES = 200_000  # that k-means sees: 600 MB of HuBERT Base's, of an hour of speech
FRAMES_OF_EACH = 100  # of an utterance, so that there are many voices among them
BATCH = 10_000  # frames, of mini-batch k-means
_IDENTITY = "fithubert_centers"  # in the header


def fit_kmeans(frames: np.ndarray, number: int, seed: int = 0) -> Any:
    """scikit-learn's mini-batch k-means of frames (N, D) float32, the best of three beginnings.

    Raises FitHubertError where there are fewer frames than clusters.
    """
    from sklearn.cluster import MiniBatchKMeans

    if len(frames) < number:
        raise FitHubertError(f"expected at least {number} frames for as many clusters, found {len(frames)}")
    return MiniBatchKMeans(number, batch_size=BATCH, n_init=3, random_state=seed).fit(frames)


def find_centers(path: Path, corpus: Corpus, teacher: Teacher, layer: int, number: int) -> Tensor:
    """The centers (number, D) of a layer, counted from 1: those in the file at `path`, or found now and written there.

    Raises
    ------
    FitHubertError
        The file holds others, or is damaged; too little speech; no room on the disk.
    """
    identity = {"teacher": identify(teacher), "layer": layer, "number": number, "utterances": corpus.digest()}
    if path.is_file():
        words = {
            "teacher": f"teacher {teacher.name}",
            "layer": f"layer {layer}",
            "number": f"{number} clusters",
            "utterances": f"these {len(corpus)} utterances",
        }
        return _read(path, identity, words)
    frames = sample_frames(corpus, teacher, [layer], FRAMES)[:, 0]
    centers = torch.from_numpy(fit_kmeans(frames, number).cluster_centers_.astype(np.float32))
    with atomic_path(path) as temporary:
        save_file({"centers": centers}, temporary, {_IDENTITY: json.dumps(identity)})
    return centers


def sample_frames(corpus: Corpus, teacher: Teacher, layers: Sequence[int], most: int) -> np.ndarray:
    """(N, len(layers), D) float32, up to `most` frames of layers, counted from 1; the same ones each time.

    Some frames of each of some utterances; what cannot be read is passed over, training says what is wrong with it.
    """
    draw = np.random.default_rng(0)
    device = next(teacher.parameters()).device
    chosen = [np.zeros((0, len(layers), teacher.width), np.float32)]
    order = draw.permutation(len(corpus))[: -(-most // FRAMES_OF_EACH)]
    for index in tqdm(order.tolist(), "sample frames", unit="utterance"):
        try:
            waveform = corpus.load(index)
        except Exception:
            continue
        found = teacher(waveform[None].to(device), depth=max(layers))
        frames = torch.stack([found[layer - 1][0] for layer in layers], 1)  # (L, N, D)
        places = torch.from_numpy(draw.permutation(len(frames))[:FRAMES_OF_EACH])
        chosen.append(frames[places.to(device)].float().cpu().numpy())
    return np.concatenate(chosen)[:most]


def _read(path: Path, identity: dict, words: dict[str, str]) -> Tensor:
    try:
        with safe_open(path, "pt") as file:
            found, centers = json.loads((file.metadata() or {})[_IDENTITY]), file.get_tensor("centers")
    except (OSError, SafetensorError, KeyError, ValueError) as error:
        raise FitHubertError(
            f"{path}: expected centers of clusters, found a damaged file or another ({error}); remove it"
        ) from error
    for key, wanted in identity.items():
        if found.get(key) != wanted:
            raise FitHubertError(
                f"{path}: expected centers of {words[key]}, found others; name another folder as data.targets, or "
                "remove this one"
            )
    return centers

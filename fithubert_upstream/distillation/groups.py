"""`fithubert groups`: which of a teacher's layers are alike, for `teacher.groups` (SKILL).

Zampierin et al. (2024), arXiv 2402.16830, cluster a teacher's layers hierarchically by the similarity of what they
represent, and distil each group's mean. We know the abstract only. That similarity is linear CKA here and clusters join
by the mean similarity of their layers is our choice.
"""

import argparse

import numpy as np

from ..data.centers import sample_frames
from ..data.loader import DataConfig, open_corpus
from ..errors import FitHubertError
from ..settings.files import expand_variables, find_config, read_yaml
from ..teachers.teachers import load_teacher
from .config import DistillationConfig

FRAMES = 10_000  # 370 MB of HuBERT Base's twelve layers


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="fithubert groups",
        description="Group a teacher's layers by how alike they are (linear CKA, hierarchical clustering), for "
        "teacher.groups.",
        epilog="example: fithubert groups -g skill.yaml --number 4 data/LibriSpeech/dev",
    )
    parser.add_argument("-g", "--model", default="skill.yaml", help="names the teacher (%(default)s)")
    parser.add_argument("--number", type=int, default=4, help="of groups (%(default)s)")
    parser.add_argument("audio", nargs="+", help="folders of audio, lhotse cuts files or Shar folders")
    return parser


def main(argv: list[str]) -> list[list[int]]:
    """Print, and return, the groups. Raises FitHubertError for anything wrong in the flags, the config or the audio."""
    args = build_parser().parse_args(argv)
    path = find_config(args.model)
    config = DistillationConfig.from_dict(expand_variables(read_yaml(path), "", flag=""), str(path)).teacher
    teacher = load_teacher(config)
    teacher = getattr(teacher, "source", teacher)  # without the groups that the config may have
    if teacher.pooled or not 1 <= args.number <= teacher.num_layers:
        raise FitHubertError(
            f"--number: expected 1 to {0 if teacher.pooled else teacher.num_layers} groups of the frame-level layers "
            f"of {teacher.name}, found {args.number}"
        )
    corpus = open_corpus(args.audio, DataConfig(tuple(args.audio), batch_size=1))
    frames = sample_frames(corpus, teacher, range(1, teacher.num_layers + 1), FRAMES)
    if len(frames) < 2:
        raise FitHubertError(f"{', '.join(args.audio)}: expected speech to compare layers on, found none")
    similarity = layer_similarity(frames)
    groups = find_groups(similarity, args.number)
    print("linear CKA of layers, in hundredths:")
    for number, row in enumerate(similarity, start=1):
        print(f"{number:3d}  {' '.join(f'{100 * value:3.0f}' for value in row)}")
    print(f"model.teacher.groups={groups}")
    return groups


def layer_similarity(frames: np.ndarray) -> np.ndarray:
    """(F, N, D) frames of N layers -> (N, N), their linear CKA (Kornblith et al., 2019, arXiv 1905.00414).

    CKA(X, Y) = |Y^T X|^2 / (|X^T X| |Y^T Y|) with Frobenius norms and X, Y (F, D) of zero mean: 1 for layers that are
    rotations of each other.
    """
    layers = np.moveaxis(frames - frames.mean(0), 1, 0).astype(np.float32)  # (N, F, D)
    products = np.array([[np.square(y.T @ x, dtype=np.float64).sum() for x in layers] for y in layers])
    norms = np.sqrt(np.diag(products))
    return products / np.outer(norms, norms)


def find_groups(similarity: np.ndarray, number: int) -> list[list[int]]:
    """(N, N) -> `number` groups of layers, counted from 1, by hierarchical clustering with average linkage."""
    from sklearn.cluster import AgglomerativeClustering

    distance = 1 - (similarity + similarity.T) / 2
    labels = AgglomerativeClustering(number, metric="precomputed", linkage="average").fit_predict(distance)
    groups = [(np.flatnonzero(labels == label) + 1).tolist() for label in range(number)]
    return sorted(groups)

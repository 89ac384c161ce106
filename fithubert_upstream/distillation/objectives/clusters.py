"""The teacher's clusters of masked frames, without hints: DiceHuBERT (Chi et al., 2025, arXiv 2507.02911).

The student is trained as HuBERT was (Hsu et al., 2021, arXiv 2106.07447), on clusters (k-means) of a layer of the
teacher's. Of DiceHuBERT's paper we know the abstract: layer, number of clusters and masks are HuBERT's.
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ...data.centers import find_centers
from ...data.loader import AudioLoader
from ...errors import FitHubertError
from ...models.fithubert import FitHubert, fit_frames
from ...models.layers import HintHead
from ...teachers.derived import ClusterTeacher
from ...teachers.teacher import Teacher
from ..config import LossConfig
from ..losses import cluster_loss
from ..task import Task
from .learner import MaskedLearner, samples_of
from .lessons import Lesson, expect_no_heads, the_only_lesson
from .masks import draw_mask

KIND = "clusters"
PROJECTED = 256  # HuBERT Base's `final_dim`
TEMPERATURE = 0.1  # HuBERT's `logit_temp`


class ClusterLearner(MaskedLearner):
    """A student with HuBERT's predictor: p(c) ~ exp(cos(A o, e_c) / 0.1), o being the last layer at 20 ms."""

    def __init__(self, student: FitHubert, clusters: int):
        super().__init__(student)
        config = student.config
        self.projection = HintHead(config.embed_dim, PROJECTED, config.time_reduction)
        self.embeddings = nn.Parameter(torch.rand(clusters, PROJECTED))

    def forward(  # type: ignore[override]
        self, waveforms: Tensor, lengths: Tensor | None, mask: Tensor
    ) -> tuple[Tensor, Tensor]:
        """(B, L, clusters) logits, and (B,) frames; `mask` (B, L) says which are hidden."""
        encoded = self.encode(waveforms, lengths, mask)
        frames = self.student.frame_lengths(samples_of(waveforms, lengths))
        rate = self.student.config.time_reduction
        projected = fit_frames(self.projection(encoded.layers[-1]), rate * encoded.lengths, frames)  # (B, L, 256)
        cosines = F.normalize(projected, dim=2) @ F.normalize(self.embeddings, dim=1).T
        return cosines / TEMPERATURE, frames


class ClusterTask(Task):
    """Masked prediction of the teacher's clusters (`losses.cluster_loss`), which `prepare` finds and keeps.

    In eval mode the masks are the same each time.

    Raises FitHubertError for several teachers, for one without frames or that layer, and for a student with heads.
    """

    error_names = ["masked", "unmasked", "found"]
    selected = 0

    def __init__(self, student: FitHubert, *lessons: Teacher | Lesson, loss: LossConfig | None = None):
        loss = loss or LossConfig(KIND)
        lesson = the_only_lesson(lessons, KIND)
        expect_no_heads(student.config, KIND)
        teacher, layer = lesson.teacher, loss.clusters.layer
        if lesson.layers is not None:
            raise FitHubertError(
                f"teacher.layers: expected none with loss.kind {KIND}, found {lesson.layers}; the layer whose clusters "
                "are learned is loss.clusters.layer"
            )
        if teacher.pooled or layer > teacher.num_layers:
            raise FitHubertError(
                f"teacher {teacher.name}: expected loss.clusters.layer among its frame-level layers, "
                f"{0 if teacher.pooled else teacher.num_layers} in number, found {layer}"
            )
        super().__init__(ClusterLearner(student, loss.clusters.number), [teacher], [(layer,)], loss)

    def prepare(
        self,
        loaders: Mapping[str, AudioLoader],
        folder: str | None,
        rank: int = 0,
        world_size: int = 1,
        barrier: Callable[[], object] = lambda: None,
    ) -> None:
        if folder is None:
            raise FitHubertError(
                f"data.targets: expected a folder with loss.kind {KIND}, found none; name one for the frames' clusters"
            )
        config, teacher = self.loss_config.clusters, self.teacher
        path = Path(folder) / "centers.safetensors"
        corpus = loaders["train"].dataset.corpus
        if rank == 0:
            find_centers(path, corpus, teacher, config.layer, config.number)
        barrier()
        centers = find_centers(path, corpus, teacher, config.layer, config.number)  # in the file by now
        centers = centers.to(next(teacher.parameters()).device)
        self.teachers[0] = ClusterTeacher(teacher, config.layer, centers)
        self.teacher_layers = [(1,)]
        super().prepare(loaders, folder, rank, world_size, barrier)

    def loss(
        self,
        learner: nn.Module,
        waveforms: Tensor,
        lengths: Tensor | None = None,
        clean: Tensor | None = None,
        targets: Sequence[Tensor] | None = None,
    ) -> tuple[Tensor, Tensor]:
        if not isinstance(self.teacher, ClusterTeacher):
            raise FitHubertError(f"loss.kind {KIND}: expected `prepare` before the first loss, found no clusters")
        ((wanted,),) = self.wanted(waveforms, lengths, clean, targets)
        frames = self.student.frame_lengths(samples_of(waveforms, lengths))
        mask = draw_mask(frames, self.loss_config.mask, None if self.student.training else np.random.default_rng(0))
        mask = mask.to(waveforms.device, non_blocking=True)
        logits, frames = learner(waveforms, lengths, mask)
        size, valid = self.counted(frames)
        clusters = wanted[:, :size, 0].long()  # (B, L)
        return cluster_loss(
            logits[:, :size].float(), clusters, mask[:, :size], valid, self.loss_config.clusters.unmasked_weight
        )

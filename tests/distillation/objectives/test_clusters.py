import math

import pytest
import torch

from fithubert_upstream.data.loader import DataConfig, build_dataloader
from fithubert_upstream.distillation.losses import cluster_loss
from fithubert_upstream.distillation.objectives.clusters import ClusterLearner
from fithubert_upstream.distillation.objectives.masks import draw_mask
from fithubert_upstream.errors import FitHubertError
from fithubert_upstream.models.config import FitHubertConfig
from fithubert_upstream.models.fithubert import FitHubert

from ...helpers.objectives import ONE_RATE, task_of
from ...helpers.tiny import build_whisper, make_corpus, make_teacher

LOSS = {"kind": "clusters", "mask": {"probability": 0.6, "length": 4}, "clusters": {"layer": 2, "number": 5}}
NO_HEADS = {"head_layers": []}


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    folder = tmp_path_factory.mktemp("clusters")
    make_teacher(folder / "teacher"), make_corpus(folder / "corpus", utterances=6)
    return folder


def loader_of(world, **changes):
    return build_dataloader(DataConfig((str(world / "corpus"),), batch_size=3, **changes), seed=1)


def prepared(world, folder, student: dict | None = None, **loss):
    task = task_of(world / "teacher", LOSS | loss, NO_HEADS | (student or {}))
    loader = loader_of(world, crop="none")
    task.prepare({"train": loader}, str(folder))
    return task, loader


def test_the_loss_by_loops():
    logits, mask = torch.randn(2, 5, 4), torch.rand(2, 5) < 0.5
    mask[0, 0], mask[0, 1] = True, False
    clusters = torch.randint(4, (2, 5))
    for lengths in ([5, 3], [5, 5]):
        sums = {True: [0.0, 0], False: [0.0, 0]}
        hits = 0
        for b, frames in enumerate(lengths):
            for i in range(frames):
                powers = [math.exp(value) for value in logits[b, i].tolist()]
                part = sums[bool(mask[b, i])]
                part[0] -= math.log(powers[clusters[b, i]] / sum(powers))
                part[1] += 1
                hits += bool(mask[b, i]) and powers[clusters[b, i]] == max(powers)
        masked, seen = (sums[key][0] / sums[key][1] for key in (True, False))
        loss, errors = cluster_loss(logits, clusters, mask, torch.tensor(lengths), 0.3)
        torch.testing.assert_close(loss.item(), masked + 0.3 * seen)
        torch.testing.assert_close(errors, torch.tensor([masked, seen, hits / sums[True][1]]))
    torch.testing.assert_close(cluster_loss(logits, clusters, mask, None, 0.3)[0], loss)


def test_all_frames_may_be_masked():
    loss, errors = cluster_loss(
        torch.randn(1, 3, 4), torch.zeros(1, 3).long(), torch.ones(1, 3, dtype=torch.bool), None
    )
    assert loss.isfinite() and errors[1] == 0


@torch.no_grad()
@pytest.mark.parametrize("reduction", [1, 2])
def test_logits_are_cosines_to_the_embeddings(reduction):
    student = FitHubert(FitHubertConfig.from_dict(ONE_RATE | NO_HEADS | {"time_reduction": reduction}))
    learner = ClusterLearner(student, 5).eval()
    wavs, lengths = torch.randn(2, 8000), torch.tensor([8000, 4960])
    mask = torch.zeros(2, 24, dtype=torch.bool)
    logits, frames = learner(wavs, lengths, mask)
    assert logits.shape == (2, 24, 5) and frames.tolist() == [24, 15]
    last = student.encode(wavs[1:, :4960]).layers[-1]
    head = learner.projection
    place = 7
    frame = head.upsample(last)[0, place] if reduction > 1 else last[0, place]
    projected = head.linear(frame)
    for cluster, embedding in enumerate(learner.embeddings):
        cosine = (projected @ embedding) / (projected.norm() * embedding.norm())
        torch.testing.assert_close(logits[1, place, cluster], cosine / 0.1, atol=1e-4, rtol=1e-4)


@torch.no_grad()
def test_the_clusters_are_the_nearest_centers_of_transformers_layer(world, tmp_path):
    from safetensors.torch import load_file
    from transformers import HubertModel

    task, loader = prepared(world, tmp_path / "kept")
    centers = load_file(tmp_path / "kept" / "centers.safetensors")["centers"]
    assert centers.shape == (5, 24)
    live = HubertModel.from_pretrained(world / "teacher").eval()
    seen = set()
    for wavs, lengths, _, targets in loader:
        (kept,) = targets  # (B, L, 1, 1)
        for wav, n, row in zip(wavs, lengths.tolist(), kept, strict=True):
            layer = live(wav[None, :n], output_hidden_states=True).hidden_states[2][0]
            distances = torch.cdist(layer, centers)
            found = row[: len(layer), 0, 0].long()
            seen |= set(found.tolist())
            near = distances.gather(1, found[:, None])[:, 0] - distances.min(1).values
            assert near.max() < 1e-3
    assert len(seen) > 1 and seen <= set(range(5))


def test_the_loss_of_a_batch_by_hand(world, tmp_path):
    task, loader = prepared(world, tmp_path / "kept", clusters=LOSS["clusters"] | {"unmasked_weight": 0.5})
    batch = next(iter(loader))
    task.train()
    torch.manual_seed(3)
    loss, errors = task(*batch)
    torch.manual_seed(3)
    frames = task.student.frame_lengths(batch.lengths)
    mask = draw_mask(frames, task.loss_config.mask)
    logits, _ = task.learner(batch.waveforms, batch.lengths, mask)
    expected, parts = cluster_loss(logits, batch.targets[0][:, :, 0, 0].long(), mask, frames, 0.5)
    torch.testing.assert_close(loss, expected)
    torch.testing.assert_close(errors, parts)
    torch.testing.assert_close(loss, errors[0] + 0.5 * errors[1])
    assert task.error_names == ["masked", "unmasked", "found"] and task.selected == 0


@torch.no_grad()
def test_validation_has_the_same_masks_each_time(world, tmp_path):
    task, loader = prepared(world, tmp_path / "kept")
    batch = next(iter(loader))
    assert torch.equal(task.eval()(*batch)[0], task(*batch)[0])
    assert not torch.equal(task.train()(*batch)[0], task(*batch)[0])


def test_the_teacher_can_be_asked_where_nothing_is_kept(world, tmp_path):
    task, loader = prepared(world, tmp_path / "kept")
    batch = next(iter(loader))
    with torch.no_grad():
        torch.testing.assert_close(task.eval()(*batch)[0], task(*batch[:3])[0], rtol=0.05, atol=0.05)


@pytest.mark.parametrize("reduction", [1, 2])
def test_a_student_learns(world, tmp_path, reduction):
    task, loader = prepared(world, tmp_path / "kept", {"time_reduction": reduction})
    batch = next(iter(loader))
    before = task.eval()(*batch)[0].item()
    optimizer = torch.optim.AdamW(task.train().learner.parameters(), lr=3e-3)
    for _ in range(40):
        loss, _ = task(*batch)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert task.eval()(*batch)[0].item() < 0.8 * before
    assert all(p.grad is not None for p in task.learner.parameters())
    assert set(task.learner.beside()) >= {"mask_vector", "embeddings", "projection.linear.weight"}


def test_what_is_kept_is_found_again_and_others_are_refused(world, tmp_path):
    folder = tmp_path / "kept"
    prepared(world, folder)
    made = {path: path.stat().st_mtime_ns for path in folder.rglob("*.safetensors")}
    assert {path.relative_to(folder).as_posix() for path in made} == {
        "centers.safetensors",
        "train/part-00000.safetensors",
    }
    prepared(world, folder)
    assert made == {path: path.stat().st_mtime_ns for path in folder.rglob("*.safetensors")}
    for clusters, words in (
        (
            {"layer": 1, "number": 5},
            "centers.safetensors: expected centers of layer 1, found others; name another",
        ),
        ({"layer": 2, "number": 6}, "expected centers of 6 clusters, found others"),
    ):
        with pytest.raises(FitHubertError, match=words):
            prepared(world, folder, clusters=clusters)
    (folder / "centers.safetensors").write_bytes(b"half of it")
    with pytest.raises(FitHubertError, match="expected centers of clusters, found a damaged file"):
        prepared(world, folder)


def test_too_little_speech_for_so_many_clusters(world, tmp_path):
    with pytest.raises(FitHubertError, match="expected at least 2000 frames for as many clusters, found"):
        prepared(world, tmp_path / "kept", clusters={"layer": 2, "number": 2000})
    assert not (tmp_path / "kept" / "centers.safetensors").exists()


@pytest.mark.parametrize(
    ("student", "changes", "words"),
    [
        ({}, {}, "expected a student without heads with loss.kind clusters"),
        (NO_HEADS, {"layers": [1]}, r"teacher.layers: expected none with loss.kind clusters, found \(1,\)"),
        (NO_HEADS, {"layer": 3}, "expected loss.clusters.layer among its frame-level layers, 2 in number, found 3"),
    ],
)
def test_what_does_not_fit(world, student, changes, words):
    loss = LOSS | {"clusters": {"layer": changes.pop("layer", 2), "number": 5}}
    with pytest.raises(FitHubertError, match=words):
        task_of(world / "teacher", loss, student, teacher={"model": str(world / "teacher")} | changes)


def test_a_folder_is_needed(world):
    task = task_of(world / "teacher", LOSS, NO_HEADS)
    with pytest.raises(FitHubertError, match="data.targets: expected a folder with loss.kind clusters, found none"):
        task.prepare({"train": loader_of(world)}, None)
    with pytest.raises(FitHubertError, match="expected `prepare` before the first loss"):
        task(torch.randn(1, 8000))


def test_whisper_has_clusters_too(world, tmp_path):
    build_whisper().save_pretrained(tmp_path / "whisper")
    teacher = {"source": "whisper", "model": str(tmp_path / "whisper")}
    task = task_of(world / "teacher", LOSS, NO_HEADS, teacher=teacher)
    loader = loader_of(world)
    task.prepare({"train": loader}, str(tmp_path / "kept"))
    assert task(*next(iter(loader)))[0].isfinite()

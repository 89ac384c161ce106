"""What a GPU must give: run by `benchmarks/gpu.sh`, skipped where there is no CUDA device.

FITHUBERT_CUDA_TESTS_ON=cpu runs the same tests on the CPU, to try the tests themselves.
"""

import copy
import os

import pytest
import torch
from torch import distributed
from torch.nn.parallel import DistributedDataParallel

from fithubert_upstream import assets
from fithubert_upstream.checkpoints.load import load_fithubert
from fithubert_upstream.checkpoints.student import save_fithubert
from fithubert_upstream.distillation.optimizer import OptimizerConfig, build_optimizer
from fithubert_upstream.distillation.task import DistillationTask
from fithubert_upstream.models.config import FitHubertConfig
from fithubert_upstream.models.fithubert import FitHubert
from fithubert_upstream.teachers.teachers import HubertTeacher

from .helpers.tiny import SMALL, make_corpus, make_teacher

DEVICE = torch.device(os.environ.get("FITHUBERT_CUDA_TESTS_ON", "cuda"))
pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(DEVICE.type == "cuda" and not torch.cuda.is_available(), reason="no CUDA device"),
]
TEACHER = FitHubertConfig.from_dict(SMALL.to_dict() | {"time_reduction": 1, "head_layers": []})
STUDENT = FitHubertConfig.from_dict(
    SMALL.to_dict()
    | {"head_dim": SMALL.embed_dim}
    | dict.fromkeys(("dropout_input", "dropout", "attention_dropout", "activation_dropout"), 0.0)
)


@pytest.fixture(autouse=True)
def full_float32():
    """Without TF32, whose 10 bits of mantissa are PyTorch's default in convolutions."""
    backends = (torch.backends.cudnn, torch.backends.cuda.matmul)
    before = [backend.allow_tf32 for backend in backends]
    for backend in backends:
        backend.allow_tf32 = False
    yield
    for backend, value in zip(backends, before, strict=True):
        backend.allow_tf32 = value


@pytest.fixture(scope="module")
def student(tmp_path_factory):
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("cuda") / "student.safetensors"
    save_fithubert(FitHubert(SMALL), path)
    return path


def wavs() -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    return [torch.randn(size, generator=generator) for size in (16000, 9001, 700, 1)]


def upstream_of(path, **options):
    pytest.importorskip("s3prl")
    from fithubert_upstream.upstream.hubconf import fithubert_local, register

    register()
    return fithubert_local(path, **options).eval()


def features(upstream, device) -> dict[str, list[torch.Tensor]]:
    found = upstream.to(device)([wav.to(device) for wav in wavs()])
    return {key: [v.cpu() for v in (value if isinstance(value, list) else [value])] for key, value in found.items()}


@pytest.mark.parametrize("grad", [False, True])
def test_features_are_those_of_the_cpu(student, grad):
    with torch.set_grad_enabled(grad):
        here, there = (features(upstream_of(student), device) for device in ("cpu", DEVICE))
    for key, layers in here.items():
        for one, other in zip(layers, there[key], strict=True):
            torch.testing.assert_close(other, one, atol=1e-4, rtol=0)


def test_the_embedded_student_alone_and_in_a_batch():
    upstream = upstream_of(assets.find("fithubert_mini")).to(DEVICE)
    with torch.no_grad():
        together = upstream([wav.to(DEVICE) for wav in wavs()])["last_hidden_state"]
        for row, wav in zip(together, wavs(), strict=True):
            alone = upstream([wav.to(DEVICE)])["last_hidden_state"][0]
            torch.testing.assert_close(row[: len(alone)], alone, atol=1e-3, rtol=0)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("scale", [1.0, 32768.0, 1e30])
def test_autocast(student, dtype, scale):
    if DEVICE.type == "cpu" and dtype is torch.float16:
        pytest.skip("autocast of a CPU is bfloat16's")
    model, wav = load_fithubert(student), wavs()[0][None]
    with torch.no_grad():
        exact = model(wav)[0][-1]
        with torch.autocast(DEVICE.type, dtype):
            rough = model.to(DEVICE)(wav.to(DEVICE) * scale)[0][-1].float().cpu()
    assert torch.cosine_similarity(rough, exact, dim=-1).min() > 0.99


def test_bf16_weights(student):
    with torch.no_grad():
        exact = features(upstream_of(student), "cpu")["last_hidden_state"][0]
        rough = features(upstream_of(student, precision="bf16"), DEVICE)["last_hidden_state"][0]
    valid = exact.norm(dim=-1) > 0
    assert torch.cosine_similarity(rough[valid], exact[valid], dim=-1).min() > 0.99


@pytest.mark.slow
def test_compiled_layers(student):
    with torch.no_grad():
        plain = features(upstream_of(student), DEVICE)
        compiled = features(upstream_of(student, compile=True), DEVICE)
    for one, other in zip(plain["hidden_states"], compiled["hidden_states"], strict=True):
        torch.testing.assert_close(other, one, atol=1e-3, rtol=0)


def task_on(device) -> DistillationTask:
    torch.manual_seed(0)
    return DistillationTask(FitHubert(STUDENT), HubertTeacher("tiny", FitHubert(TEACHER))).to(device)


def batch(device) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(2)
    return torch.randn(3, 12000, generator=generator).to(device), torch.tensor([12000, 12000, 7000])


def update(task, learner, optimizer, device) -> float:
    loss, _ = task.loss(learner, *batch(device))
    loss.backward()
    optimizer.step()
    optimizer.zero_grad()
    return loss.item()


def test_a_distillation_step_is_that_of_the_cpu():
    losses = []
    for device in ("cpu", DEVICE):
        task = task_on(device)
        optimizer = build_optimizer(task.student, OptimizerConfig(lr=1e-3), fused=True)
        losses.append([update(task, task.learner, optimizer, device) for _ in range(5)])
    assert losses[1] == pytest.approx(losses[0], rel=1e-3) and losses[0][-1] < losses[0][0]


def test_ddp_over_one_device(tmp_path):
    backend = "nccl" if DEVICE.type == "cuda" else "gloo"
    distributed.init_process_group(backend, init_method=f"file://{tmp_path}/store", rank=0, world_size=1)
    try:
        plain = task_on(DEVICE)
        wrapped = copy.deepcopy(plain)
        learner = DistributedDataParallel(wrapped.learner)
        for task, model in ((plain, plain.learner), (wrapped, learner)):
            optimizer = build_optimizer(task.student, OptimizerConfig(lr=1e-3), fused=True)
            task.losses = [update(task, model, optimizer, DEVICE) for _ in range(3)]
        assert wrapped.losses == pytest.approx(plain.losses, rel=1e-5)
    finally:
        distributed.destroy_process_group()


@pytest.mark.slow
def test_a_run_goes_on_where_it_was_broken_off(tmp_path, monkeypatch):
    pytest.importorskip("lightning_fabric")
    pytest.importorskip("lhotse")
    from fithubert_upstream.distillation.train import Training, main

    from .helpers.training import flags, losses, weights

    make_teacher(tmp_path / "teacher"), make_corpus(tmp_path / "corpus", utterances=10)
    steps = {"steps": 8, "save_every": 2, "valid_every": 4}
    main(flags(tmp_path, tmp_path / "whole", **steps))
    broken, update = flags(tmp_path, tmp_path / "broken", **steps), Training.update

    def update_or_break(self, batches):
        if self.step == 5:
            raise KeyboardInterrupt
        update(self, batches)

    monkeypatch.setattr(Training, "update", update_or_break)
    with pytest.raises(KeyboardInterrupt):
        main(broken)
    monkeypatch.setattr(Training, "update", update)
    main(broken)  # from step 4 on
    for one, other in zip(losses(tmp_path / "broken"), losses(tmp_path / "whole"), strict=True):
        assert one["step"] == other["step"] and one["loss"] == pytest.approx(other["loss"], rel=1e-4)
    torch.testing.assert_close(weights(tmp_path / "broken"), weights(tmp_path / "whole"), atol=1e-4, rtol=0)

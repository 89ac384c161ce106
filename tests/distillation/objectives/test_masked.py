import pytest
import torch
from safetensors.torch import load_file

from fithubert_upstream.checkpoints.hubert import from_state
from fithubert_upstream.distillation.config import DistillationConfig
from fithubert_upstream.distillation.objectives.masks import draw_mask
from fithubert_upstream.distillation.objectives.table import build_task
from fithubert_upstream.distillation.task import DistillationTask
from fithubert_upstream.errors import FitHubertError
from fithubert_upstream.teachers.config import TeacherConfig
from fithubert_upstream.teachers.teachers import load_teacher

from ...helpers.objectives import learn, task_of
from ...helpers.tiny import STUDENT, TWO_LAYER, build_whisper, make_teacher

LOSS = {"kind": "masked", "mask": {"probability": 0.6, "length": 4}}


@pytest.fixture(scope="module")
def teacher(tmp_path_factory):
    return make_teacher(tmp_path_factory.mktemp("masked") / "teacher")


def live(folder):
    """transformers' own model, and the layers it gives an utterance (T,) with some frames (L,) masked or none."""
    from transformers import HubertModel

    model = HubertModel.from_pretrained(folder).eval()

    def layers(wav, mask=None):
        mask = None if mask is None else mask[None]
        return model(wav[None], mask_time_indices=mask, output_hidden_states=True).hidden_states[1:]

    return layers


@torch.no_grad()
def test_a_masked_teacher_is_transformers_own(teacher):
    found, layers = load_teacher(TeacherConfig(model=str(teacher))), live(teacher)
    wavs, lengths = torch.randn(2, 8000), torch.tensor([8000, 5000])
    mask = torch.rand(2, 24) < 0.4
    mask[1, 15:] = False
    plain, masked = found.with_mask(wavs, lengths, mask, 2)
    for place, (wav, n, count) in enumerate(zip(wavs, lengths.tolist(), (24, 15), strict=True)):
        for ours, theirs in ((plain, layers(wav[:n])), (masked, layers(wav[:n], mask[place, :count]))):
            for a, b in zip(ours, theirs, strict=True):
                torch.testing.assert_close(a[place, :count], b[0], atol=1e-5, rtol=1e-5)
                assert not a[place, count:].any()


@pytest.mark.parametrize("kind", ["wav2vec2", "hubert"])
def test_every_container_brings_its_mask_vector(tmp_path, kind):
    """transformers' names as they are, fairseq's and s3prl's `mask_emb`, with a fine-tuned model's prefix."""
    folder = make_teacher(tmp_path / "t", kind)
    vector = load_file(folder / "model.safetensors")["masked_spec_embed"]
    found = load_teacher(TeacherConfig(model=str(folder)))
    assert torch.equal(found.mask_vector, vector) and "mask_vector" not in found.state_dict()
    state = load_file(folder / "model.safetensors")
    del state["masked_spec_embed"]
    assert from_state(state, {"num_attention_heads": 4}, "x").mask_vector is None
    for name in ("mask_emb", "w2v_encoder.w2v_model.mask_emb"):
        assert torch.equal(from_state(state | {name: vector}, {"num_attention_heads": 4}, "x").mask_vector, vector)


@torch.no_grad()
@pytest.mark.parametrize("reduction", [1, 2])
def test_the_loss_by_loops(teacher, reduction):
    """facts 1.2: the clean teacher in masked frames, the masked one elsewhere; the last layer + 0.1 x the other."""
    task = task_of(teacher, LOSS, {"time_reduction": reduction}).train()
    wavs, lengths = torch.randn(2, 8000), torch.tensor([8000, 4960])
    torch.manual_seed(5)
    loss, errors = task(wavs, lengths)
    torch.manual_seed(5)
    frames = task.student.frame_lengths(lengths)
    mask = draw_mask(frames, task.loss_config.mask)
    assert mask[:, :14].any() and not mask[:, :14].all()
    layers, student = live(teacher), task.student
    total, count = torch.zeros(2), 0
    for wav, n, row, size in zip(wavs, lengths.tolist(), mask, frames.tolist(), strict=True):
        row = row[:size]
        x, _, _ = student.extract(wav[None, :n])
        for frame in range(size):
            if row[frame]:
                x[0, frame] = task.learner.mask_vector
        encoded = student.transform(x)
        heads = student.project(encoded, torch.tensor([size]))
        clean, hidden = layers(wav[:n]), layers(wav[:n], row)
        even = size // reduction * reduction
        for frame in range(even):
            for layer in range(2):
                target = (clean if row[frame] else hidden)[layer][0, frame]
                total[layer] += (heads[layer][0, frame] - target).square().mean()
        count += even
    torch.testing.assert_close(errors, total / count, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(loss, errors[1] + 0.1 * errors[0])
    assert task.error_names == ["layer_1", "layer_2"] and task.selected == 1


@torch.no_grad()
def test_validation_masks_nothing(teacher):
    task = task_of(teacher, LOSS).eval()
    wavs, lengths = torch.randn(2, 8000), torch.tensor([8000, 5000])
    plain = DistillationTask(task.student, task.teacher).eval()
    for found, expected in zip(task(wavs, lengths), plain(wavs, lengths), strict=True):
        torch.testing.assert_close(found, expected)


def test_a_student_learns_and_so_does_its_mask_vector(teacher):
    task = task_of(teacher, LOSS)
    vector = task.learner.mask_vector.detach().clone()
    before, after = learn(task)
    assert after < 0.85 * before
    assert not torch.allclose(task.learner.mask_vector, vector, atol=1e-3)
    assert all(p.grad is None for p in task.teacher.parameters())


def test_what_is_beside_the_student_goes_into_a_checkpoint(teacher):
    one, other = task_of(teacher, LOSS), task_of(teacher, LOSS)
    assert list(one.learner.beside()) == ["mask_vector"]
    other.learner.load_beside(one.learner.beside())
    assert torch.equal(one.learner.mask_vector, other.learner.mask_vector)
    with pytest.raises(FitHubertError, match="expected a checkpoint with mask_vector beside the student, found noth"):
        other.learner.load_beside({})


def refused(words, **content):
    with pytest.raises(FitHubertError, match=words) as caught:
        build_task(DistillationConfig.from_dict({"student": STUDENT, "loss": LOSS} | content))
    assert "\n" not in str(caught.value)


def test_teachers_that_take_no_mask(tmp_path, teacher):
    build_whisper().save_pretrained(tmp_path / "whisper")
    whisper = {"source": "whisper", "model": str(tmp_path / "whisper")}
    refused("expected HuBERT or wav2vec 2.0 with loss.kind masked.*found WhisperTeacher", teacher=whisper)
    wavlm = {"model": str(make_teacher(tmp_path / "wavlm", "wavlm"))}
    refused("expected HuBERT or wav2vec 2.0 with loss.kind masked.*found TransformersTeacher", teacher=wavlm)
    mini = {"source": "fithubert", "model": "hubert_mini"}
    refused("hubert_mini: expected a mask vector.*found none; take fairseq's", teacher=mini)
    two = [{"model": str(teacher)}] * 2
    refused("teachers: expected one with loss.kind masked, found 2", teachers=two)
    groups = {"model": str(teacher), "groups": [[1], [2]]}
    refused("loss.kind masked.*found GroupTeacher", teacher=groups)


def test_students_and_targets_that_do_not_fit(teacher):
    prediction = STUDENT | TWO_LAYER | {"head_layers": [1, 2]}
    refused("expected hint heads with loss.kind masked", student=prediction, teacher={"model": str(teacher)})
    with pytest.raises(FitHubertError, match="data.targets: expected none with loss.kind masked.*found kept; leave it"):
        task_of(teacher, LOSS).prepare({}, "kept")

import pytest
import torch

from fithubert_upstream.data.loader import DataConfig, build_dataloader
from fithubert_upstream.distillation.losses import gram_loss
from fithubert_upstream.errors import FitHubertError

from ...helpers.objectives import learn, task_of
from ...helpers.tiny import build_whisper, make_corpus, make_teacher

LOSS = {"kind": "gram"}
NO_HEADS = {"head_layers": []}


@pytest.fixture(scope="module")
def teacher(tmp_path_factory):
    return make_teacher(tmp_path_factory.mktemp("gram") / "teacher")


def slow_terms(student, teacher, lengths):
    """facts 1.2, pair of frames by pair of frames; layers are lists of (B, L, D)."""
    depth = len(student) - 1
    pairs = [(layer, layer) for layer in range(depth + 1)] + [(layer - 1, layer) for layer in range(1, depth + 1)]
    terms = []
    for a, b in pairs:
        total, count = 0.0, 0
        for utterance, frames in enumerate(lengths):
            for i in range(frames):
                for j in range(frames):
                    ours = sum((student[a][utterance, i] * student[b][utterance, j]).tolist())
                    theirs = sum((teacher[a][utterance, i] * teacher[b][utterance, j]).tolist())
                    total, count = total + (ours - theirs) ** 2, count + 1
        terms.append(total / count)
    return terms


def test_the_loss_by_loops():
    student, teacher = torch.randn(3, 2, 5, 4), torch.randn(3, 2, 5, 7)  # of another width
    for lengths in ([5, 3], [5, 5]):
        loss, terms = gram_loss(list(student), list(teacher), torch.tensor(lengths))
        expected = slow_terms(student, teacher, lengths)
        torch.testing.assert_close(terms, torch.tensor(expected), rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(loss.item(), sum(expected), rtol=1e-4, atol=1e-5)
    full, _ = gram_loss(list(student), list(teacher), None)
    torch.testing.assert_close(full, loss)


def test_rotations_of_the_teacher_have_no_loss():
    layers = list(torch.randn(3, 2, 6, 4))
    rotation, _ = torch.linalg.qr(torch.randn(4, 4))
    wide = [torch.cat([layer @ rotation, torch.zeros(2, 6, 3)], 2) for layer in layers]
    assert gram_loss(wide, layers, None)[0] < 1e-8


def test_the_products_stay_in_float32_under_autocast():
    student, teacher = list(torch.randn(2, 2, 30, 64)), list(torch.randn(2, 2, 30, 64))
    exact = gram_loss(student, teacher, None)[0]
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(gram_loss(student, teacher, None)[0], exact)


@torch.no_grad()
@pytest.mark.parametrize("reduction", [1, 2])
def test_a_padded_batch_has_the_terms_of_its_utterances(teacher, reduction):
    from transformers import HubertModel

    task = task_of(teacher, LOSS, NO_HEADS | {"time_reduction": reduction}).eval()
    live = HubertModel.from_pretrained(teacher).eval()
    wavs, lengths = torch.randn(2, 8000), torch.tensor([8000, 4960])  # 24 and 15 frames
    loss, errors = task(wavs, lengths)
    total, count = torch.zeros(5), 0
    for wav, n in zip(wavs, lengths.tolist(), strict=True):
        features = live.feature_projection(live.feature_extractor(wav[None, :n]).transpose(1, 2))
        wanted = [features, *live(wav[None, :n], output_hidden_states=True).hidden_states[1:]]
        x, frames, _ = task.student.extract(wav[None, :n])
        layers = [layer.repeat_interleave(reduction, 1) for layer in task.student.transform(x).layers]
        size = int(frames) // reduction * reduction
        _, terms = gram_loss([layer[:, :size] for layer in (x, *layers)], [w[:, :size] for w in wanted], None)
        total, count = total + terms * size**2, count + size**2
    torch.testing.assert_close(errors, total / count, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(loss, errors.sum())
    assert task.error_names == ["layer_0", "layer_1", "layer_2", "pair_1", "pair_2"] and task.selected == 2


def test_a_student_learns(teacher):
    task = task_of(teacher, LOSS, NO_HEADS)
    before, after = learn(task)
    assert after < 0.85 * before
    unlearned = [name for name, p in task.student.named_parameters() if p.grad is None]
    assert unlearned == []


def test_the_teachers_layers_may_be_chosen(tmp_path):
    deep = make_teacher(tmp_path / "t", layers=4)
    task = task_of(deep, LOSS, NO_HEADS, teacher={"model": str(deep), "layers": [2, 4]}).eval()
    wavs = torch.randn(1, 6000)
    with torch.no_grad():
        kept = task.wanted(wavs, None, None, None)[0]
        for found, layer in zip(kept[1:], (2, 4), strict=True):
            torch.testing.assert_close(found, task.teacher.source(wavs)[layer - 1])


def test_kept_targets_hold_the_input_too(teacher, tmp_path):
    make_corpus(tmp_path / "corpus", utterances=3)
    task = task_of(teacher, LOSS, NO_HEADS).eval()
    loader = build_dataloader(DataConfig((str(tmp_path / "corpus"),), batch_size=3, crop="none"), seed=1)
    (plain,) = list(loader)
    task.prepare({"train": loader}, str(tmp_path / "targets"))
    (batch,) = list(loader)
    assert [kept.shape[2] for kept in batch.targets] == [3]
    with torch.no_grad():
        torch.testing.assert_close(task(*batch)[0], task(*plain)[0], rtol=1e-2, atol=1e-2)


@pytest.mark.parametrize(
    ("student", "changes", "words"),
    [
        (
            {},
            {},
            r"a student without heads with loss.kind gram, found heads \(1, 2\); set student.head_layers",
        ),
        (NO_HEADS | {"num_layers": 3}, {}, "a layer for each of the student's 3, among its own 1 to 2"),
        (NO_HEADS, {"layers": [1, 3]}, r"among its own 1 to 2, found \(1, 3\)"),
        (NO_HEADS, {"layers": [2]}, r"for each of the student's 2.*found \(2,\)"),
    ],
)
def test_students_that_do_not_fit(teacher, student, changes, words):
    with pytest.raises(FitHubertError, match=words):
        task_of(teacher, LOSS, student, teacher={"model": str(teacher)} | changes)


def test_teachers_that_do_not_fit(tmp_path, teacher):
    build_whisper().save_pretrained(tmp_path / "whisper")
    whisper = {"source": "whisper", "model": str(tmp_path / "whisper")}
    with pytest.raises(FitHubertError, match="expected HuBERT or wav2vec 2.0 with loss.kind gram.*WhisperTeacher"):
        task_of(teacher, LOSS, NO_HEADS, teacher=whisper)
    with pytest.raises(FitHubertError, match="teachers: expected one with loss.kind gram, found 2"):
        content = {"teachers": [{"model": str(teacher)}] * 2}
        task_of(teacher, LOSS, NO_HEADS, **content, teacher={"model": str(teacher)})

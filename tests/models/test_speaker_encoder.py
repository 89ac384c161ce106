"""The speaker encoder beside librosa and loops, and what a student learns from it."""

import librosa
import pytest
import torch

from fithubert_upstream.data import targets as module
from fithubert_upstream.data.loader import DataConfig, build_dataloader
from fithubert_upstream.distillation.config import DistillationConfig
from fithubert_upstream.distillation.task import DistillationTask, Lesson
from fithubert_upstream.errors import FitHubertError
from fithubert_upstream.models.config import FitHubertConfig
from fithubert_upstream.models.fithubert import FitHubert
from fithubert_upstream.models.speaker_encoder import SpeakerEncoder, mel_powers
from fithubert_upstream.teachers.config import TeacherConfig
from fithubert_upstream.teachers.teachers import TransformersTeacher, load_teacher

from ..helpers.tiny import STUDENT, make_corpus, make_teacher


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    """A file as Resemblyzer's, random."""
    torch.manual_seed(0)
    state = SpeakerEncoder().state_dict() | {"similarity_weight": torch.ones(1), "similarity_bias": torch.ones(1)}
    path = tmp_path_factory.mktemp("speaker") / "pretrained.pt"
    torch.save({"step": 1, "model_state": state, "optimizer_state": {}}, path)
    return path


@pytest.fixture(scope="module")
def speaker(path):
    return load_teacher(TeacherConfig("speaker", str(path)))


def test_mels_are_librosas():
    wave = torch.randn(1, 20000) * 0.1
    expected = librosa.feature.melspectrogram(y=wave[0].numpy(), sr=16000, n_fft=400, hop_length=160, n_mels=40)
    torch.testing.assert_close(mel_powers(wave)[0].T, torch.from_numpy(expected), atol=1e-6, rtol=1e-4)


def test_an_embedding_is_the_mean_of_stretches(speaker):
    wave = torch.randn(1, 48000) * 0.2  # louder than -30 dB
    encoder, mels, voices = speaker.model, mel_powers(wave)[0], []
    for start in range(0, len(mels) - 160 + 1, 77):
        hidden = encoder.lstm(mels[None, start : start + 160])[0][0, -1]
        voice = encoder.linear(hidden).clamp_min(0)
        voices.append(voice / voice.norm())
    assert len(voices) == 2
    mean = sum(voices) / len(voices)
    (layer,) = speaker(wave)
    torch.testing.assert_close(layer, (mean / mean.norm())[None, None], atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(speaker(wave * 1e-3)[0], speaker(wave * 1e-4)[0], atol=1e-4, rtol=1e-3)  # raised


@pytest.mark.parametrize("samples", [400, 9000, 25439, 25440, 40000])
def test_any_length_has_an_embedding(speaker, samples):
    (layer,) = speaker(torch.randn(2, samples), torch.tensor([samples, samples - 100]))
    assert layer.shape == (2, 1, 256)
    torch.testing.assert_close(layer.norm(dim=2), torch.ones(2, 1))


@pytest.fixture
def task(speaker, tmp_path):
    frames = TransformersTeacher(str(make_teacher(tmp_path / "t")))
    student = FitHubert(FitHubertConfig.from_dict(STUDENT))
    return DistillationTask(student, Lesson(frames), Lesson(speaker, weight=3.0, heads=(1,)))


def test_the_students_mean_over_time_learns_it(task, speaker):
    wavs, lengths = torch.randn(3, 8000), torch.tensor([8000, 8000 - 320, 4321])
    loss, errors = task.eval()(wavs, lengths)
    assert task.error_names == ["layer_1", "layer_2", "teacher_2_layer_1"] and len(errors) == 3
    terms = []
    for wav, n in zip(wavs, lengths.tolist(), strict=True):
        (_, (head,)), frames = task.learner(wav[None, :n])
        even = int(frames) // 2 * 2
        terms.append(1 - torch.cosine_similarity(head[0, :even].mean(0), speaker(wav[None, :n])[0][0, 0], dim=0))
    torch.testing.assert_close(errors[2], sum(terms) / 3, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(loss, errors[1] + 0.1 * errors[0] + 3.0 * errors[2])
    task.train()(wavs)[0].backward()
    assert all(p.grad.abs().sum() > 0 for p in task.learner.further.parameters())


def test_targets_are_of_the_whole_utterance(task, speaker, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "UTTERANCES", 3)
    make_corpus(tmp_path / "corpus", utterances=7)
    loader = build_dataloader(
        DataConfig((str(tmp_path / "corpus"),), batch_size=2, min_seconds=0.0, crop_seconds=0.5), 1
    )
    task.keep_targets(loader, tmp_path / "targets")
    cuts = loader.dataset.corpus
    for number, (waveforms, _, _, (frames, voices)) in enumerate(loader):
        assert frames.shape[1] > 1 and voices.shape == (len(waveforms), 1, 1, 256)
        for index, voice in zip(loader.dataset.plan.batch(1, number).tolist(), voices, strict=True):
            torch.testing.assert_close(voice[0].float(), speaker(cuts.load(index)[None])[0][0], atol=1e-3, rtol=1e-3)
        assert task(waveforms, targets=[frames, voices])[0].isfinite()


def test_two_heads_learn_from_what_was_kept_for_one(task, speaker, tmp_path):
    make_corpus(tmp_path / "corpus", utterances=3)
    config = DataConfig((str(tmp_path / "corpus"),), batch_size=3, min_seconds=0.0, crop_seconds=0.5)
    task.keep_targets(build_dataloader(config, 1), tmp_path / "targets")
    both = DistillationTask(task.student, Lesson(task.teacher), Lesson(speaker, heads=(1, 2)))
    loader = build_dataloader(config, 1)
    both.keep_targets(loader, tmp_path / "targets")
    (batch,) = loader
    assert batch.targets[1].shape == (3, 1, 2, 256) and both(batch.waveforms, targets=batch.targets)[0].isfinite()


def test_bad_places_for_it(task, speaker, path, tmp_path):
    frames, student = task.teacher, task.student
    with pytest.raises(FitHubertError, match="expected a frame-level teacher first, found an utterance-level one"):
        DistillationTask(FitHubert(FitHubertConfig.from_dict(STUDENT | {"head_dim": 256})), speaker)
    with pytest.raises(FitHubertError, match=r"expected no heads for the first teacher, found \(1,\)"):
        DistillationTask(student, Lesson(frames, heads=(1,)))
    with pytest.raises(FitHubertError, match=r"heads on the student's layers 1 to 2, found \(3,\)"):
        DistillationTask(student, frames, Lesson(speaker, heads=(3,)))
    with pytest.raises(FitHubertError, match=r"layers \(1, 2\).*found layers 1 to 1"):
        DistillationTask(student, frames, Lesson(speaker, layers=(1, 2)))
    torch.save({"model_state": {"lstm.weight_ih_l0": torch.ones(2)}}, tmp_path / "other.pt")
    for other in (tmp_path / "other.pt", tmp_path / "none.pt"):
        with pytest.raises(FitHubertError, match=f"{other.name}: expected a "):
            load_teacher(TeacherConfig("speaker", str(other)))
    config = DistillationConfig.from_dict(
        {"student": STUDENT, "teachers": [{"model": "x"}, {"source": "speaker", "model": str(path), "heads": [1]}]}
    )
    assert config.teachers[1].heads == (1,) and config == DistillationConfig.from_dict(config.to_dict())

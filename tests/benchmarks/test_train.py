import json
import multiprocessing

import pytest
import soundfile
import torch

from fithubert_upstream.benchmarks.baseline import PlainDistillation, PlainStudent
from fithubert_upstream.benchmarks.main import main
from fithubert_upstream.benchmarks.train import Ours, Plain, Setup, _receive
from fithubert_upstream.benchmarks.train_inputs import write_noise
from fithubert_upstream.benchmarks.train_report import PARTS, summarise
from fithubert_upstream.distillation.config import LossConfig
from fithubert_upstream.distillation.optimizer import OptimizerConfig
from fithubert_upstream.distillation.task import DistillationTask
from fithubert_upstream.errors import FitHubertError
from fithubert_upstream.models.config import FitHubertConfig
from fithubert_upstream.models.fithubert import FitHubert
from fithubert_upstream.teachers.config import TeacherConfig
from fithubert_upstream.teachers.teachers import load_teacher

from ..helpers.tiny import STUDENT, make_teacher


def both_sides(folder, **changes) -> tuple[DistillationTask, PlainDistillation]:
    """The two sides on equal weights, in eval mode."""
    config = FitHubertConfig.from_dict(STUDENT | changes)
    plain_student = PlainStudent(config)
    path = str(make_teacher(folder / "teacher"))
    task = DistillationTask(FitHubert(config), load_teacher(TeacherConfig(model=path)))
    task.student.load_state_dict(plain_student.weights())
    from transformers import HubertModel  # not before our modules have mended what it imports

    teacher = HubertModel.from_pretrained(path)
    plain = PlainDistillation(teacher, plain_student, LossConfig().hint_weight, OptimizerConfig(), torch.device("cpu"))
    plain.student.eval()
    return task.eval(), plain


@pytest.mark.parametrize("samples", [8000, 8123, 16000])
def test_both_sides_have_the_same_loss_and_gradients_where_nothing_is_padded(tmp_path, samples):
    task, plain = both_sides(tmp_path)
    waveforms = torch.randn(3, samples)
    loss, _ = task(waveforms)
    expected = plain.loss(waveforms, torch.full((3,), samples))
    torch.testing.assert_close(loss, expected, atol=1e-5, rtol=1e-5)
    loss.backward(), expected.backward()
    ours = dict(task.student.named_parameters())
    for name, theirs in {
        "feature_extractor.convs.0.weight": plain.student.hubert.feature_extractor.conv_layers[0].conv.weight,
        "feature_extractor.convs.3.weight": plain.student.hubert.feature_extractor.conv_layers[3].conv.weight,
        "feature_extractor.norm.weight": plain.student.hubert.feature_extractor.conv_layers[0].layer_norm.weight,
        "pos_conv.bias": plain.student.hubert.encoder.pos_conv_embed.conv.bias,
        "time_reduction.weight": plain.student.reduction.weight,
        "layers.1.fc1.weight": plain.student.hubert.encoder.layers[1].feed_forward.intermediate_dense.weight,
        "heads.1.upsample.weight": plain.student.upsamplers[0].weight,
        "heads.2.linear.weight": plain.student.projections[1].weight,
    }.items():
        torch.testing.assert_close(
            ours[name].grad, theirs.grad, atol=1e-5, rtol=1e-3, msg=lambda m, n=name: f"{n}: {m}"
        )


def test_updates_of_both_sides_agree(tmp_path):
    task, plain = both_sides(tmp_path)
    optimizer = torch.optim.AdamW(task.student.parameters(), lr=1e-3)
    plain.optimizer = torch.optim.AdamW(plain.student.parameters(), lr=1e-3)
    waveforms, lengths = torch.randn(3, 8000), torch.full((3,), 8000)
    parts = []
    for _ in range(3):
        loss, _ = task(waveforms)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        torch.testing.assert_close(plain.update(waveforms, lengths, parts.append), loss.detach(), atol=1e-4, rtol=1e-4)
    assert parts == ["teacher", "student", "backward", "optimizer"] * 3


def test_the_plain_loop_pads_with_a_mask(tmp_path):
    _, plain = both_sides(tmp_path)
    waveforms, lengths = torch.randn(2, 8000), torch.tensor([8000, 5000])
    waveforms[1, 5000:] = 0
    first = plain.loss(waveforms, lengths)
    assert torch.isfinite(first) and not torch.equal(first, plain.loss(waveforms, torch.tensor([8000, 8000])))


def test_summary_by_hand():
    def side(audio, *seconds):
        times = dict(zip(PARTS, seconds, strict=True))
        return {"audio": audio, "seconds": times, "processor_seconds": sum(seconds) / 2}

    rows = [
        {"ours": side(10.0, 0, 1, 1, 2, 1), "plain": side(10.0, 0, 4, 2, 3, 1)},
        {"ours": side(20.0, 0, 2, 1, 1, 0), "plain": side(20.0, 1, 4, 5, 5, 5)},
        {"ours": side(6.0, 0, 1, 1, 1, 0), "plain": side(6.0, 0, 2, 1, 1, 0)},
    ]
    found = summarise(rows)
    assert found["ours"]["audio_seconds_per_second"] == 2.0  # of 2, 5, 2
    assert found["plain"]["audio_seconds_per_second"] == 1.0  # of 1, 1, 1.5
    assert found["processor_time_ratio"] == 2.0
    assert found["ratio"] == {"median": 2.0, "lowest": pytest.approx(4 / 3), "highest": 5.0}
    assert found["ours"]["ms_per_audio_second"]["teacher"] == 100.0  # of 100, 100, 167


def test_noise_has_the_stated_lengths(tmp_path):
    write_noise(tmp_path / "n", 10, 1, seed=0)
    seconds = [soundfile.info(file).duration for file in sorted((tmp_path / "n").iterdir())]
    assert min(seconds) > 2 and max(seconds) < 17 and abs(sum(seconds) / 10 - 12) < 0.1


def test_a_side_that_fails_is_told_in_one_line():
    ours, theirs = multiprocessing.Pipe()
    theirs.send(FitHubertError("expected audio, found none"))
    with pytest.raises(FitHubertError, match="expected audio"):
        _receive(ours, "plain")
    theirs.close()
    with pytest.raises(FitHubertError, match="process of plain .* out of memory"):
        _receive(ours, "plain")


@pytest.fixture
def noise(tmp_path):
    """A folder of three files of half a second."""
    (tmp_path / "audio").mkdir()
    for i in range(3):
        soundfile.write(tmp_path / "audio" / f"{i}.wav", 0.1 * torch.randn(8000 + 100 * i).numpy(), 16000)
    return tmp_path / "audio"


@pytest.mark.slow
def test_the_job_writes_table_picture_and_numbers(noise, tmp_path):
    out = tmp_path / "out"
    flags = ["--device", "cpu", "--precision", "32-true", "--rounds", "2"]
    main(["train", "--teacher", "mini", "--data", str(noise), *flags, "-o", str(out)])
    found = json.loads((out / "train.json").read_text())
    assert len(found["rounds"]) == 2
    assert found["loss_of_one_batch"]["ours"] == pytest.approx(found["loss_of_one_batch"]["plain"], abs=1e-5)
    row = found["rounds"][0]
    assert row["ours"]["shapes"] == [[3, 8000]] and row["plain"]["shapes"] == [[3, 8200]]
    assert row["ours"]["audio"] == 1.5 and row["plain"]["audio"] == pytest.approx(24300 / 16000)
    for side in ("ours", "plain"):
        assert set(row[side]["seconds"]) == set(PARTS) and all(time > 0 for time in row[side]["seconds"].values())
    assert (out / "train.png").read_bytes().startswith(b"\x89PNG")
    assert "fithubert distill" in (out / "train.md").read_text()


@pytest.mark.slow
def test_both_sides_have_one_loss_with_whisper(noise, tmp_path):
    """But for the window's end, which Whisper hears. A window of 30 s takes seconds: no more of the job."""
    setup = Setup("whisper", str(noise), "cpu", "32-true", batch=3, rounds=1, seed=1337)
    ours, plain = (side(setup, tmp_path).loss() for side in (Ours, Plain))
    assert ours == pytest.approx(plain, abs=0.02)


@pytest.mark.parametrize("flags", [["--batch", "4"], ["--rounds", "-1"]])
def test_flags_that_cannot_be(tmp_path, flags):
    with pytest.raises(FitHubertError, match="expected"):
        main(["train", "--teacher", "mini", "--device", "cpu", "-o", str(tmp_path), *flags])

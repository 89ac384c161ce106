"""The repairs of s3prl and torchaudio, each on its own; import order is tested in fresh processes."""

import argparse
import builtins
import importlib
import subprocess
import sys
import types
import warnings

import numpy as np
import pytest
import soundfile
import torch

from fithubert_upstream import s3prl_compat

s3prl_compat.apply()
import torchaudio  # noqa: E402


def run_fresh(code: str) -> str:
    """Run code in a new interpreter and return what it printed."""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


def test_hub_imports_in_a_fresh_process_without_network():
    out = run_fresh(
        "import socket\n"
        "def refuse(*args): raise OSError('no network in tests')\n"
        "socket.socket.connect = refuse\n"
        "from fithubert_upstream import s3prl_compat\n"
        "s3prl_compat.apply(); s3prl_compat.apply()\n"
        "import builtins, s3prl.hub, s3prl.run_downstream\n"
        "before = builtins.isinstance\n"
        "s3prl.run_downstream.hack_isinstance()\n"
        "assert builtins.isinstance is before\n"
        "runner = s3prl_compat.pretrain_runner()\n"
        "import sys\n"
        "assert not {'optimizers', 'schedulers', 'pretrain', 'utility', 'upstream'} & set(sys.modules)\n"
        "print(callable(s3prl.hub.fbank), runner.__module__)\n"
    )
    assert out.splitlines()[-1] == "True s3prl.pretrain.runner"


def test_torchaudio_imports_when_its_extension_refuses():
    """Whatever the machine's own extension does: here loading it raises, and so does its CUDA check."""
    for failure in ("OSError('no libc10_cuda.so')", "RuntimeError('different CUDA versions')"):
        out = run_fresh(
            "import torch\n"
            f"def refuse(path): raise {failure}\n"
            "torch.ops.load_library = refuse\n"
            "from fithubert_upstream import s3prl_compat\n"
            "s3prl_compat.mend_torchaudio_import()\n"
            "import torchaudio, torchaudio.compliance.kaldi as kaldi\n"
            "wave = torch.randn(1, 16000)\n"
            "print(tuple(kaldi.fbank(wave, num_mel_bins=80).shape),\n"
            "      tuple(torchaudio.functional.compute_deltas(wave).shape),\n"
            "      tuple(torchaudio.transforms.MelSpectrogram()(wave).shape))\n"
        )
        assert out.strip() == "(98, 80) (1, 16000) (1, 128, 81)"


def test_an_imported_torchaudio_is_left_alone():
    before = sys.modules["torchaudio"]
    s3prl_compat.mend_torchaudio_import()
    assert sys.modules["torchaudio"] is before


def test_audio_backends_are_named():
    torchaudio.set_audio_backend("sox_io")
    assert torchaudio.get_audio_backend() in ("soundfile", "sox_io")
    assert "soundfile" in torchaudio.list_audio_backends()


@pytest.fixture
def stereo(tmp_path):
    samples = np.linspace(-0.5, 0.5, 2000, dtype=np.float32).reshape(1000, 2)
    path = tmp_path / "stereo.wav"
    soundfile.write(path, samples, 16000, subtype="PCM_16")
    return path, torch.from_numpy(samples)


def test_load(stereo):
    path, samples = stereo
    waveform, rate = s3prl_compat.load_audio(path)
    assert (rate, waveform.shape, waveform.dtype) == (16000, (2, 1000), torch.float32)
    assert torch.allclose(waveform.t(), samples, atol=1 / 32768)
    part, _ = s3prl_compat.load_audio(str(path), frame_offset=10, num_frames=5, channels_first=False)
    assert torch.equal(part, waveform.t()[10:15])
    integers, _ = s3prl_compat.load_audio(path, normalize=False)
    assert integers.dtype == torch.int16
    assert torch.equal(integers / 32768, waveform)
    beyond, _ = s3prl_compat.load_audio(path, frame_offset=5000)
    assert beyond.shape == (2, 0)


@pytest.mark.parametrize("suffix", ["wav", "flac"])
def test_save_info_and_load_again(tmp_path, suffix):
    wave = torch.rand(2, 100) - 0.5
    path = tmp_path / f"a.{suffix}"
    s3prl_compat.save_audio(path, wave, 8000, bits_per_sample=16)
    info = s3prl_compat.audio_info(path)
    assert (info.sample_rate, info.num_frames, info.num_channels, info.bits_per_sample) == (8000, 100, 2, 16)
    assert torch.allclose(s3prl_compat.load_audio(path)[0], wave, atol=1 / 32768)


def test_torchaudio_io_is_soundfile_without_torchcodec(stereo):
    if importlib.util.find_spec("torchcodec") is not None:
        pytest.skip("torchaudio has its own reader here")
    path, _ = stereo
    assert torchaudio.load(path)[0].shape == (2, 1000)
    assert torchaudio.info(path).num_frames == 1000


def test_sox_effects_name_the_chain(monkeypatch):
    monkeypatch.delattr(torchaudio, "sox_effects", raising=False)
    monkeypatch.delitem(sys.modules, "torchaudio.sox_effects", raising=False)
    s3prl_compat.add_sox_effects()
    from torchaudio.sox_effects import apply_effects_file, apply_effects_tensor

    with pytest.raises(NotImplementedError, match="gain -3.0, rate 16000"):
        apply_effects_file("a.wav", [["gain", "-3.0"], ["rate", "16000"]])
    with pytest.raises(NotImplementedError, match="norm"):
        apply_effects_tensor(torch.zeros(1, 10), 16000, effects=[["norm"]])


def test_huggingface_names():
    from huggingface_hub import HfFolder, Repository

    assert callable(HfFolder.get_token) and callable(HfFolder.save_token)
    with pytest.raises(RuntimeError, match="push_to_hf_hub"):
        Repository(local_dir="x", clone_from="y")


def test_checkpoints_of_s3prl_load_with_weights_only(tmp_path):
    from s3prl.optimizers import get_optimizer
    from s3prl.schedulers import get_scheduler

    layer = torch.nn.Linear(2, 2)
    optimizer = get_optimizer([layer], 10, {"name": "AdamW_with_schedule", "lr": 1e-3, "warmup_proportion": 0.1})
    schedule = get_scheduler(
        torch.optim.Adam(layer.parameters()),
        10,
        {"name": "linear_schedule_with_warmup", "num_warmup_steps": 2},
    )
    layer(torch.ones(1, 2)).sum().backward()
    optimizer.step()
    states = {
        "Optimizer": optimizer.state_dict(),
        "Scheduler": schedule.state_dict(),
        "Args": argparse.Namespace(device="cpu", local_rank=None),
        "Config": {"runner": {"total_steps": 10}},
    }
    torch.save(states, tmp_path / "states.ckpt")
    loaded = torch.load(tmp_path / "states.ckpt", weights_only=True)
    assert loaded["Args"] == states["Args"]
    optimizer.load_state_dict(loaded["Optimizer"])


def test_an_unknown_class_is_still_refused(tmp_path):
    import pickle
    from fractions import Fraction

    torch.save({"x": Fraction(1, 2)}, tmp_path / "bad.ckpt")
    with pytest.raises(pickle.UnpicklingError, match="Fraction"):
        torch.load(tmp_path / "bad.ckpt")


def test_isinstance_is_left_alone():
    from s3prl.utility import helper

    before = builtins.isinstance
    helper.hack_isinstance()
    assert builtins.isinstance is before


def test_ctc_tasks_keep_their_number_of_workers(monkeypatch):
    """s3prl pops num_workers from the config, so the second loader got 12 processes."""
    from s3prl.downstream.ctc import data, expert

    seen = []
    monkeypatch.setattr(data, "create_dataset", lambda *a, num_workers, **k: (seen.append(num_workers) or [], 1))
    corpus = {"name": "libriphone", "num_workers": 0}
    for load in (data.load_dataset, expert.load_dataset):
        loaders = [load("dev", None, corpus) for _ in range(2)]
        assert [loader.num_workers for loader in loaders] == [0, 0]
    assert corpus["num_workers"] == 0 and seen == [0, 0, 0, 0]


def test_only_the_known_deprecations_are_silent():
    always = torch.is_warn_always_enabled()
    torch.set_warn_always(True)  # or torch warns of an overload only once in a process
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        s3prl_compat.silence_noise()
        torch.cuda.amp.autocast(enabled=False)
        torch.cuda.amp.GradScaler(enabled=False)
        torch.zeros(2).add_(2, torch.ones(2))
        torch.zeros(2).addcmul_(2, torch.ones(2), torch.ones(2))
        warnings.warn("something else is deprecated", FutureWarning, stacklevel=1)
    torch.set_warn_always(always)
    assert [str(entry.message) for entry in caught] == ["something else is deprecated"]


def test_adamw_with_schedule_does_the_step_of_its_formula():
    """Two steps of s3prl's Lamb(adam=True) by hand: its old `add_(number, tensor)` still works."""
    from s3prl.optimizers import get_optimizer

    layer = torch.nn.Linear(3, 2).double()
    total, warmup, lr, betas, eps = 10, 0.2, 0.1, (0.9, 0.98), 1e-6
    optimizer = get_optimizer(
        [layer],
        total,
        {"name": "AdamW_with_schedule", "lr": lr, "warmup_proportion": warmup, "betas": betas, "eps": eps},
    )
    expected = {name: value.detach().clone() for name, value in layer.named_parameters()}
    first = {name: torch.zeros_like(value) for name, value in expected.items()}
    second = {name: torch.zeros_like(value) for name, value in expected.items()}
    for step in (1, 2):
        layer(torch.randn(4, 3).double()).square().sum().backward()
        progress = step / total
        factor = progress / warmup if progress < warmup else (progress - 1) / (warmup - 1)
        for name, parameter in layer.named_parameters():
            decay = 0.0 if "bias" in name else 0.01
            first[name] = betas[0] * first[name] + (1 - betas[0]) * parameter.grad
            second[name] = betas[1] * second[name] + (1 - betas[1]) * parameter.grad**2
            rate = lr * factor * (1 - betas[1] ** step) ** 0.5 / (1 - betas[0] ** step)
            update = first[name] / (second[name].sqrt() + eps) + decay * expected[name]
            expected[name] = expected[name] - rate * update
        optimizer.step()
        optimizer.zero_grad()
    for name, parameter in layer.named_parameters():
        assert torch.allclose(parameter, expected[name], atol=1e-12)


def test_saving_is_all_or_nothing(tmp_path):
    path = tmp_path / "states-1.ckpt"
    with s3prl_compat.atomic_torch_save():
        torch.save({"step": 1}, str(path))
        with pytest.raises(AttributeError):  # a local function does not pickle, half-way through
            torch.save({"weights": torch.zeros(10), "bad": lambda: None}, path)
        torch.save([1], tmp_path / "other.ckpt")
    assert torch.load(path) == {"step": 1}
    assert sorted(file.name for file in tmp_path.iterdir()) == ["other.ckpt", "states-1.ckpt"]
    assert torch.save.__module__ == "torch.serialization"


def test_scalars_of_a_run_are_recorded(tmp_path):
    from s3prl.downstream import runner

    before = runner.SummaryWriter
    with s3prl_compat.recorded_scalars() as scalars:
        with runner.SummaryWriter(str(tmp_path)) as logger:
            logger.add_scalar("task/dev-per", torch.tensor(0.5), global_step=1)
            logger.add_scalar("task/dev-per", 0.25, global_step=2)
    assert scalars == {"task/dev-per": 0.25}
    assert runner.SummaryWriter is before


def test_a_module_is_provided_and_taken_away():
    module = types.ModuleType("ours")
    name = "s3prl.downstream.ctc.corpus.madeup"
    assert not s3prl_compat.has_module(name)
    remove = s3prl_compat.provide_module(name, module)
    assert s3prl_compat.has_module(name)
    assert importlib.import_module(name) is module
    assert importlib.import_module(".corpus.madeup", "s3prl.downstream.ctc") is module
    remove()
    assert not s3prl_compat.has_module(name)
    assert "s3prl.downstream.ctc" in sys.modules
    assert "s3prl.downstream.ctc.corpus" not in sys.modules


def test_a_provided_module_gives_way_to_what_was_there():
    before = importlib.import_module("s3prl.downstream.ctc.text")
    remove = s3prl_compat.provide_module("s3prl.downstream.ctc.text", types.ModuleType("ours"))
    assert importlib.import_module("s3prl.downstream.ctc.text") is not before
    remove()
    assert importlib.import_module("s3prl.downstream.ctc.text") is before


def test_the_pretrain_runner_leaves_top_level_names_as_they_were(monkeypatch):
    mine = types.ModuleType("optimizers")
    monkeypatch.setitem(sys.modules, "optimizers", mine)
    monkeypatch.delitem(sys.modules, "s3prl.pretrain.runner", raising=False)
    runner = s3prl_compat.pretrain_runner()
    assert {"train", "_get_upstream"} <= set(vars(runner))
    assert sys.modules["optimizers"] is mine
    assert "utility" not in sys.modules and "pretrain" not in sys.modules


def test_without_cuda(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    with s3prl_compat.without_cuda():
        assert not torch.cuda.is_available()
    assert torch.cuda.is_available()

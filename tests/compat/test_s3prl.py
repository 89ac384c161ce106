"""The repairs of s3prl, each on its own; import order is tested in fresh processes."""

import argparse
import builtins
import contextlib
import importlib
import subprocess
import sys
import types
import warnings

import pytest
import torch
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from fithubert_upstream.compat import s3prl as s3prl_compat
from fithubert_upstream.compat.modules import has_module, pretrain_runner, provide_module
from fithubert_upstream.compat.runs import (
    atomic_torch_save,
    padded_recurrence,
    quiet_old_calls,
    recorded_scalars,
    replaced,
    speaker_verification,
    without_cuda,
    wrapped_upstream,
)

from ..helpers.tiny import make_teacher

s3prl_compat.apply()


def run_fresh(code: str) -> str:
    """Run code in a new interpreter and return what it printed."""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


@pytest.mark.slow
def test_hub_imports_in_a_fresh_process_without_network():
    out = run_fresh(
        "import socket\n"
        "def refuse(*args): raise OSError('no network in tests')\n"
        "socket.socket.connect = refuse\n"
        "from fithubert_upstream.compat import s3prl as s3prl_compat\n"
        "from fithubert_upstream.compat.modules import pretrain_runner\n"
        "s3prl_compat.apply(); s3prl_compat.apply()\n"
        "import builtins, s3prl.hub, s3prl.run_downstream\n"
        "before = builtins.isinstance\n"
        "s3prl.run_downstream.hack_isinstance()\n"
        "assert builtins.isinstance is before\n"
        "runner = pretrain_runner()\n"
        "import sys\n"
        "assert not {'optimizers', 'schedulers', 'pretrain', 'utility', 'upstream'} & set(sys.modules)\n"
        "print(callable(s3prl.hub.fbank), runner.__module__)\n"
    )
    assert out.splitlines()[-1] == "True s3prl.pretrain.runner"


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
        with quiet_old_calls():
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
    with atomic_torch_save():
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
    with recorded_scalars() as scalars:
        with runner.SummaryWriter(str(tmp_path)) as logger:
            logger.add_scalar("task/dev-per", torch.tensor(0.5), global_step=1)
            logger.add_scalar("task/dev-per", 0.25, global_step=2)
    assert scalars == {"task/dev-per": 0.25}
    assert runner.SummaryWriter is before


def test_a_module_is_provided_and_taken_away():
    module = types.ModuleType("ours")
    name = "s3prl.downstream.ctc.corpus.madeup"
    assert not has_module(name)
    remove = provide_module(name, module)
    assert has_module(name)
    assert importlib.import_module(name) is module
    assert importlib.import_module(".corpus.madeup", "s3prl.downstream.ctc") is module
    remove()
    assert not has_module(name)
    assert "s3prl.downstream.ctc" in sys.modules
    assert "s3prl.downstream.ctc.corpus" not in sys.modules


def test_a_provided_module_gives_way_to_what_was_there():
    before = importlib.import_module("s3prl.downstream.ctc.text")
    remove = provide_module("s3prl.downstream.ctc.text", types.ModuleType("ours"))
    assert importlib.import_module("s3prl.downstream.ctc.text") is not before
    remove()
    assert importlib.import_module("s3prl.downstream.ctc.text") is before


def test_the_pretrain_runner_leaves_top_level_names_as_they_were(monkeypatch):
    mine = types.ModuleType("optimizers")
    monkeypatch.setitem(sys.modules, "optimizers", mine)
    monkeypatch.delitem(sys.modules, "s3prl.pretrain.runner", raising=False)
    runner = pretrain_runner()
    assert {"train", "_get_upstream"} <= set(vars(runner))
    assert sys.modules["optimizers"] is mine
    assert "utility" not in sys.modules and "pretrain" not in sys.modules


def test_without_cuda(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    with without_cuda():
        assert not torch.cuda.is_available()
    assert torch.cuda.is_available()


def test_the_sampler_of_catalyst_deals_what_is_drawn_to_the_processes():
    from torch.utils.data import WeightedRandomSampler

    def draws(rank: int) -> list[int]:
        generator = torch.Generator().manual_seed(5)  # alike in every process
        sampler = WeightedRandomSampler([1.0, 2.0, 3.0, 4.0], 10, generator=generator)
        wrapper = s3prl_compat.DistributedSamplerWrapper(sampler, num_replicas=2, rank=rank)
        assert len(wrapper) == 5
        return [*wrapper, *wrapper]  # two epochs

    generator = torch.Generator().manual_seed(5)
    sampler = WeightedRandomSampler([1.0, 2.0, 3.0, 4.0], 10, generator=generator)
    first, second = list(sampler), list(sampler)
    assert draws(0) == [*first[::2], *second[::2]] and draws(1) == [*first[1::2], *second[1::2]]
    assert first != second


def test_keyword_spotting_and_speaker_verification_import():
    from catalyst.data.sampler import DistributedSamplerWrapper
    from s3prl.downstream.speech_commands import expert as ks
    from s3prl.downstream.sv_voxceleb1 import dataset as sv
    from sox import Transformer

    assert ks.DistributedSamplerWrapper is DistributedSamplerWrapper and sv.Transformer is Transformer


def test_what_is_installed_is_not_replaced(monkeypatch):
    theirs = types.ModuleType("sox")
    monkeypatch.setitem(sys.modules, "sox", theirs)
    s3prl_compat.add_sox_transformer()
    assert sys.modules["sox"] is theirs


def test_speaker_verification_needs_no_gpu():
    before = torch.Tensor.cuda
    with speaker_verification("cpu"):
        assert torch.zeros(3).cuda().device.type == "cpu"
    assert torch.Tensor.cuda is before


def test_the_dev_split_is_scored_with_the_dev_trials(tmp_path):
    from collections import defaultdict

    from s3prl.downstream.sv_voxceleb1 import expert

    from fithubert_upstream.downstream.repairs import datasets as s3prl_datasets

    def dataset(pairs):
        return types.SimpleNamespace(pair_table=[[label, *pair] for label, pair in pairs])

    verifier = types.SimpleNamespace(
        dev_dataset=dataset([("1", "aa"), ("0", "ab"), ("1", "bb")]),
        test_dataset=dataset([("1", "xy"), ("0", "xz")]),
        score_fn=torch.nn.CosineSimilarity(dim=-1),
        eval_metric=expert.EER,
        best_score=torch.ones(1) * 100,
        expdir=str(tmp_path),
    )
    test = verifier.test_dataset
    records = defaultdict(list, a=torch.tensor([1.0, 0.0]), b=torch.tensor([0.0, 1.0]))
    logger = types.SimpleNamespace(add_scalar=lambda tag, value, global_step: None)
    before = expert.DownstreamExpert.log_records
    with s3prl_datasets.named_trials(expert.DownstreamExpert):
        saved = expert.DownstreamExpert.log_records(verifier, "dev", records, logger, 1)
    assert saved == ["dev-best.ckpt"] and verifier.test_dataset is test
    assert (tmp_path / "dev_predict.txt").read_text().splitlines() == ["a_a 1.0", "a_b 0.0", "b_b 1.0"]
    assert (tmp_path / "dev_truth.txt").read_text().splitlines() == ["a_a 1", "a_b 0", "b_b 1"]
    assert expert.DownstreamExpert.log_records is before


@pytest.mark.parametrize("kind", ["hubert", "wav2vec2"])
def test_an_upstream_that_imports_transformers_when_it_is_built(kind, tmp_path):
    make_teacher(tmp_path, kind)
    from transformers import Wav2Vec2FeatureExtractor

    Wav2Vec2FeatureExtractor().save_pretrained(tmp_path)
    late = s3prl_compat._late_expert(f"s3prl.upstream.hf_{kind}.expert")
    expert = late.UpstreamExpert(str(tmp_path))
    assert type(expert).__module__ == late.__name__ and type(expert) is sys.modules[late.__name__].UpstreamExpert
    assert len(expert([torch.zeros(8000)])["hidden_states"]) == 3


def test_upstreams_are_wrapped_in_the_block_only():
    from s3prl import hub

    before = hub.fbank
    with wrapped_upstream("fbank", lambda upstream: ("wrapped", upstream)):
        assert hub.fbank()[0] == "wrapped"
    assert hub.fbank is before


@pytest.mark.parametrize("module", ["LSTM", "GRU"])
def test_recurrence_over_padded_sequences_is_that_over_packed_ones(module):
    from s3prl.downstream.asr import model

    def build():
        torch.manual_seed(3)
        return model.RNNs(6, 5, 320, module, True, [4, 4], [0.0, 0.0], [True, False], [True, False], [1, 2], "drop")

    lengths = torch.tensor([9, 20, 1])
    x = torch.randn(3, 20, 6, generator=torch.Generator().manual_seed(0))
    outcomes = []
    packed = build()
    with padded_recurrence():
        padded = build()
        for network in (packed, padded):
            inputs = x.clone().requires_grad_()
            with contextlib.ExitStack() as stack:
                if network is packed:  # built outside the block, run as s3prl has it
                    stack.enter_context(replaced(model, "pack_padded_sequence", pack_padded_sequence))
                    stack.enter_context(replaced(model, "pad_packed_sequence", pad_packed_sequence))
                logits, frames = network(inputs, lengths)
            logits.square().sum().backward()
            outcomes.append([logits, frames, inputs.grad, *(p.grad for p in network.parameters())])
    for one, other in zip(*outcomes, strict=True):
        torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-4)
    assert packed.state_dict().keys() == padded.state_dict().keys()

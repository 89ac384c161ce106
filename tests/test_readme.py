"""What the README tells a reader to type does what it says."""

import re
import shlex
import subprocess
import sys

import pytest
import torch

from fithubert_upstream.benchmarks import main as benchmark
from fithubert_upstream.checkpoints.student import save_fithubert
from fithubert_upstream.cli import JOBS
from fithubert_upstream.demo import build_parser as demo_parser
from fithubert_upstream.distillation import recipe as train_config
from fithubert_upstream.distillation import train
from fithubert_upstream.downstream import flags
from fithubert_upstream.joint import report as joint_report
from fithubert_upstream.joint.model import JointModel, JointModelConfig, save_joint
from fithubert_upstream.models.config import FitHubertConfig
from fithubert_upstream.models.fithubert import FitHubert
from fithubert_upstream.pretrain import run as run_pretrain
from fithubert_upstream.settings.files import DOWNSTREAM_CONFIGS, find_config
from fithubert_upstream.superb.run import build_parser as superb_parser
from fithubert_upstream.superb.run import parse_upstream
from fithubert_upstream.upstream.hubconf import ENTRIES

from .conftest import REPO
from .helpers.tiny import STUDENT

README = (REPO / "README.md").read_text()
DISTILLATION = (REPO / "docs" / "distillation.md").read_text()
JOINT = (REPO / "docs" / "joint.md").read_text()
INFERENCE = (REPO / "docs" / "inference.md").read_text()
BLOCKS = re.findall(r"^```(\w*)\n(.*?)^```", README + DISTILLATION + JOINT + INFERENCE, flags=re.M | re.S)
COMMANDS = [
    shlex.split(line, comments=True) for kind, block in BLOCKS if not kind for line in block.splitlines() if line
]


def test_make_targets_are_there():
    makefile = (REPO / "Makefile").read_text()
    targets = [words[1] for words in COMMANDS if words[0] == "make"]
    assert targets == ["demo", "test", "bench"] and all(f"\n{target}: " in makefile for target in targets)
    assert "make test" in (REPO / ".ci" / "run").read_text()


@pytest.mark.slow
def test_python_block_runs_as_written(tmp_path):
    code, _, _ = [block for kind, block in BLOCKS if kind == "python"]
    code = code.replace('torch.hub.load(".",', f"torch.hub.load({str(REPO)!r},")
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True, cwd=tmp_path)
    said = re.search(r"# (\(.*?\))", code)[1]
    assert f"torch.Size([{said.strip('()')}])" in done.stdout


def test_python_block_of_the_joint_model(tmp_path, monkeypatch, capsys):
    student = FitHubert(FitHubertConfig.from_dict(STUDENT))
    config = JointModelConfig(student.config, classes=("yes", "no"), embedding_dim=8)
    save_joint(JointModel(config), tmp_path / "joint.safetensors")
    monkeypatch.chdir(tmp_path)
    _, code, _ = [block for kind, block in BLOCKS if kind == "python"]
    names = {"waveform": torch.randn(16000)}
    exec(code, names)
    assert set(names["answer"]) == {"keyword", "confidence", "embedding"}


def test_python_block_of_inference(tmp_path, monkeypatch):
    save_fithubert(FitHubert(FitHubertConfig.from_dict(STUDENT)), tmp_path / "student.safetensors")
    monkeypatch.chdir(tmp_path)
    _, _, code = [block for kind, block in BLOCKS if kind == "python"]
    names = {"torch": torch}
    exec(code.replace('torch.hub.load(".",', f"torch.hub.load({str(REPO)!r},"), names)
    assert names["upstream"].precision == "bf16"


@pytest.fixture
def corpora(monkeypatch):
    monkeypatch.setenv("LIBRISPEECH", "/data/LibriSpeech")


@pytest.mark.parametrize("words", [w for w in COMMANDS if w[0] == "fithubert"], ids=" ".join)
def test_command_lines_parse_and_name_packaged_files(words, corpora):
    _, job, *argv = words
    assert job in JOBS
    if job == "pretrain":
        args = run_pretrain.build_parser().parse_args(argv)
        assert find_config(args.upstream_config).is_file() and find_config(args.config).is_file()
    elif job == "distill":
        read_distill(argv)
    elif job == "benchmark":
        benchmark.build_parser(argv[0]).parse_args(argv)
    elif job == "downstream":
        given = flags.read_flags(argv)
        assert hasattr(given, "past_exp") or find_config(given.config, DOWNSTREAM_CONFIGS).is_file()
    elif job == "demo":
        demo_parser().parse_args(argv)
    elif job == "superb":
        assert all(map(parse_upstream, superb_parser().parse_args(argv).upstream))
    elif job == "joint-report":
        args = joint_report.build_parser().parse_args(argv)
        assert all(map(parse_upstream, args.upstream)) and all(map(joint_report.parse_override, args.override))
    else:
        assert job in ("convert", "export", "export-joint", "listen")  # run in tests of their own


@pytest.mark.parametrize("words", [w for w in COMMANDS if w[0] == "torchrun"], ids=" ".join)
def test_torchrun_lines_name_the_module_and_parse(words, corpora):
    module = words.index("-m") + 1
    assert words[module : module + 2] == ["fithubert_upstream", "distill"]
    read_distill(words[module + 2 :])


def read_distill(argv):
    args = train.build_parser().parse_intermixed_args(argv)
    train_config.read_run_config(args.model, args.config, args.overrides)


def test_jobs_in_the_text_are_there():
    named = set(re.findall(r"`fithubert (\w+)[ `]", README))
    assert {"superb", "synth", "check", "prepare", "link"} <= named <= set(JOBS)


def test_configs_in_the_text_are_there():
    for name in re.findall(r"`((?:mini/)?(?:pr|asr|ks|sv)\.yaml)`", README):
        assert find_config(name, DOWNSTREAM_CONFIGS).is_file()


def test_entries_and_pictures_are_there():
    for name in re.findall(r"`(fit\w+_\d+h|\w*hubert_mini)`", README):
        assert name in ENTRIES
    for picture in re.findall(r"!\[.*?\]\((.*?)\)", README):
        assert (REPO / picture).is_file(), picture


def test_parameter_counts_are_the_models():
    counts = {f"{sum(p.numel() for p in m.parameters()):,}" for m in (FitHubert(), FitHubert().keep_heads((12,)))}
    assert all(count in README for count in counts)

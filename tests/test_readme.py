"""What README and docs tell a reader to type does what it says."""

import importlib
import inspect
import re
import runpy
import shlex
import subprocess
import sys

import pytest
import torch

import fithubert_upstream
from fithubert_upstream.checkpoints.student import save_fithubert
from fithubert_upstream.cli import JOBS
from fithubert_upstream.distillation import recipe as train_config
from fithubert_upstream.distillation import train
from fithubert_upstream.downstream import flags
from fithubert_upstream.joint import report as joint_report
from fithubert_upstream.joint.model import JointModel, JointModelConfig, save_joint
from fithubert_upstream.models.config import FitHubertConfig
from fithubert_upstream.models.fithubert import FitHubert
from fithubert_upstream.pruning.config import PruningRun
from fithubert_upstream.settings.files import DOWNSTREAM_CONFIGS, find_config
from fithubert_upstream.superb.names import parse_upstream
from fithubert_upstream.upstream.hubconf import ENTRIES

from .conftest import REPO
from .helpers.tiny import STUDENT

README = (REPO / "README.md").read_text()
PAGES = {page.stem: page.read_text() for page in sorted((REPO / "docs").glob("*.md"))}
EVERYTHING = README + "".join(PAGES.values())
_BLOCK = re.compile(r"^```(\w*)\n(.*?)^```", flags=re.M | re.S)
COMMANDS = [
    shlex.split(line, comments=True)
    for kind, block in _BLOCK.findall(EVERYTHING)
    if not kind
    for line in block.splitlines()
    if line and not line.startswith("export ")
] + [
    shlex.split(line)
    for row in re.findall(r"^\| .*", README, flags=re.M)
    for line in re.findall(r"`(fithubert .+?)`", row)
]


def python_block(text):
    (code,) = [block for kind, block in _BLOCK.findall(text) if kind == "python"]
    return code.replace('torch.hub.load(".",', f"torch.hub.load({str(REPO)!r},")


def test_readme_is_short():
    assert len(README.splitlines()) <= 130


@pytest.mark.parametrize("page", ["README", *PAGES])
def test_links_lead_somewhere(page):
    folder = REPO if page == "README" else REPO / "docs"
    text = README if page == "README" else PAGES[page]
    links = re.findall(r"\]\((?!https?://)([^)#]+)[^)]*\)", text)
    assert [link for link in links if not (folder / link).exists()] == []


def test_make_targets_are_there():
    makefile = (REPO / "Makefile").read_text()
    targets = [words[1] for words in COMMANDS if words[0] == "make"]
    assert targets == ["demo", "test", "bench"] and all(f"\n{target}: " in makefile for target in targets)
    assert "make test" in (REPO / ".ci" / "run").read_text()


@pytest.mark.slow
@pytest.mark.parametrize("text", [README, PAGES["models"]], ids=["README", "models"])
def test_python_block_runs_as_written(text, tmp_path):
    code = python_block(text)
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True, cwd=tmp_path)
    said = re.search(r"# (\(.*?\))", code)[1]
    assert f"torch.Size([{said.strip('()')}])" in done.stdout


def test_python_block_of_the_joint_model(tmp_path, monkeypatch, capsys):
    student = FitHubert(FitHubertConfig.from_dict(STUDENT))
    config = JointModelConfig(student.config, classes=("yes", "no"), embedding_dim=8)
    save_joint(JointModel(config), tmp_path / "joint.safetensors")
    monkeypatch.chdir(tmp_path)
    names = {"waveform": torch.randn(16000)}
    exec(python_block(PAGES["joint"]), names)
    assert set(names["answer"]) == {"keyword", "confidence", "embedding"}


def test_python_block_of_inference(tmp_path, monkeypatch):
    save_fithubert(FitHubert(FitHubertConfig.from_dict(STUDENT)), tmp_path / "student.safetensors")
    monkeypatch.chdir(tmp_path)
    names = {"torch": torch}
    exec(python_block(PAGES["inference"]), names)
    assert names["upstream"].precision == "bf16"


def test_python_block_of_streaming(capsys):
    code = python_block(PAGES["streaming"])
    exec(code, {})
    assert capsys.readouterr().out.strip() == re.search(r"# (\(\d.*?\)):", code)[1]


@pytest.fixture
def corpora(monkeypatch):
    monkeypatch.setenv("LIBRISPEECH", "/data/LibriSpeech")


def parser_of(job, argv):
    build = importlib.import_module(f"fithubert_upstream.{JOBS[job].module}").build_parser
    return build(argv[0]) if job == "benchmark" else build()


@pytest.mark.parametrize("words", [w for w in COMMANDS if w[0] == "fithubert"], ids=" ".join)
def test_command_lines_parse_and_name_packaged_files(words, corpora):
    _, job, *argv = words
    if job == "distill":
        return read_distill(argv)
    if job == "downstream":
        given = flags.read_flags(argv)
        assert hasattr(given, "past_exp") or find_config(given.config, DOWNSTREAM_CONFIGS).is_file()
        return
    args = parser_of(job, argv).parse_args(argv)
    if job == "prune":
        train_config.read_run_config(args.model, args.config, args.overrides, PruningRun)
    if job == "pretrain":
        assert find_config(args.upstream_config).is_file() and find_config(args.config).is_file()
    if job in ("superb", "joint-report"):
        assert all(map(parse_upstream, args.upstream))
    if job == "joint-report":
        assert all(map(joint_report.parse_override, args.override))


@pytest.mark.parametrize("words", [w for w in COMMANDS if w[0] == "torchrun"], ids=" ".join)
def test_torchrun_lines_name_the_module_and_parse(words, corpora):
    module = words.index("-m") + 1
    assert words[module : module + 2] == ["fithubert_upstream", "distill"]
    read_distill(words[module + 2 :])


def read_distill(argv):
    args = train.build_parser().parse_intermixed_args(argv)
    train_config.read_run_config(args.model, args.config, args.overrides)


def test_jobs_in_the_text_are_there():
    named = set(re.findall(r"`fithubert ([a-z][\w-]*)[ `]", EVERYTHING))
    assert {"superb", "synth", "check", "prepare", "link"} <= named <= set(JOBS)


def test_configs_in_the_text_are_there():
    for name in re.findall(r"`((?:mini/)?(?:pr|asr|ks|sv)\.yaml)`", EVERYTHING):
        assert find_config(name, DOWNSTREAM_CONFIGS).is_file()


def test_entries_and_pictures_are_there():
    for name in re.findall(r"`(fit\w+_\d+h|\w*hubert_mini)`", EVERYTHING):
        assert name in ENTRIES
    for picture in re.findall(r"!\[.*?\]\((.*?)\)", README):
        assert (REPO / picture).is_file(), picture


def test_parameter_counts_are_the_models():
    counts = {f"{sum(p.numel() for p in m.parameters()):,}" for m in (FitHubert(), FitHubert().keep_heads((12,)))}
    assert all(count in PAGES["models"] for count in counts)


def test_api_page_is_of_the_docstrings():
    make_api = runpy.run_path(str(REPO / "docs" / "make_api.py"))
    assert make_api["render"]() == PAGES["api"], "run: python docs/make_api.py"


def test_every_public_name_has_a_docstring_of_what_it_raises_or_returns():
    for name in fithubert_upstream.__all__:
        assert inspect.getdoc(getattr(fithubert_upstream, name)), name

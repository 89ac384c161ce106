import importlib

import pytest

from fithubert_upstream import cli
from fithubert_upstream.checkpoints.load import load_fithubert
from fithubert_upstream.cli import JOBS, main

from .helpers.official import write_official


def test_help_shows_every_job_with_an_example(capsys):
    assert main(["--help"]) == 0
    text = capsys.readouterr().out
    for name, job in JOBS.items():
        assert job.help in text and job.example in text and job.example.startswith(f"fithubert {name}")


@pytest.mark.parametrize("argv", [[], ["xyzzy"]])
def test_misuse_exits_with_2(argv, capsys):
    assert main(argv) == 2
    assert "demo" in "".join(capsys.readouterr())


@pytest.mark.parametrize("flag", ["--help", "-h"])
@pytest.mark.parametrize("job", list(JOBS))
def test_every_job_has_its_own_help(job, flag, capsys):
    with pytest.raises(SystemExit) as caught:
        main([job, flag])
    assert caught.value.code == 0
    assert "usage" in capsys.readouterr().out


def test_interruption_is_no_traceback(monkeypatch, capsys):
    def interrupted(argv):
        raise KeyboardInterrupt

    monkeypatch.setattr(cli, "load", lambda name: interrupted)
    assert main(["demo"]) == 130
    assert "interrupted" in capsys.readouterr().err


def test_convert(tmp_path, capsys):
    ckpt, config, _ = write_official(tmp_path)
    target = tmp_path / "student.safetensors"
    assert main(["convert", str(ckpt), str(config), "-o", str(target)]) == 0
    assert "heads on layers 1, 2, 3" in capsys.readouterr().out
    assert main(["convert", str(target), "--last-head", "-o", str(tmp_path / "small.safetensors")]) == 0
    assert load_fithubert(tmp_path / "small.safetensors").config.head_layers == (3,)
    assert main(["convert", str(target), "--half", "-o", str(tmp_path / "half.safetensors")]) == 0
    assert (tmp_path / "half.safetensors").stat().st_size < 0.6 * target.stat().st_size
    half, full = (load_fithubert(path).state_dict() for path in (tmp_path / "half.safetensors", target))
    assert all(half[name].equal(weight.half().float()) for name, weight in full.items())


def test_convert_of_nothing_writes_nothing(tmp_path, capsys):
    assert main(["convert", str(tmp_path / "no.ckpt"), "-o", str(tmp_path / "s.safetensors")]) == 2
    error = capsys.readouterr().err
    assert error.startswith("fithubert convert: ") and "no.ckpt" in error and error.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("job", JOBS.values(), ids=JOBS)
def test_examples_parse(job):
    _, name, *argv = job.example.split()
    module = importlib.import_module(f"fithubert_upstream.{job.module}")
    if name == "downstream":
        assert module.main
    elif name == "distill":
        module.build_parser().parse_intermixed_args(argv)
    elif name == "benchmark":
        module.build_parser(argv[0]).parse_args(argv)
    else:
        module.build_parser().parse_args(argv)

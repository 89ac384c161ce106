"""`fithubert listen -`, in processes of their own."""

import contextlib
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import soundfile

from fithubert_upstream.assets import JOINT_ONNX
from fithubert_upstream.errors import FitHubertError
from fithubert_upstream.joint.listen import main
from fithubert_upstream.joint.model import save_joint

from ..conftest import REPO
from ..helpers.joint_models import make

HIDDEN = "import sys\nfor name in ('torch', 'torchaudio', 's3prl', 'safetensors', 'yaml'): sys.modules[name] = None\n"
COMMAND = HIDDEN + "from fithubert_upstream.cli import main\nsys.exit(main(sys.argv[1:]))"
NOTHING_LOST = {"PYTHONUNBUFFERED": "", "PYTHONPATH": str(REPO)}


def start(*words: str, code: str = COMMAND, **options) -> subprocess.Popen:
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE} | options
    return subprocess.Popen([sys.executable, "-c", code, *words], env=os.environ | NOTHING_LOST, **pipes)


def run(content: bytes, *words: str, **options) -> tuple[int, str, str]:
    process = start("listen", "-", *words, **options)
    out, err = process.communicate(content, timeout=120)
    return process.returncode, out.decode(), err.decode()


def noise(seconds: float) -> bytes:
    return np.random.default_rng(0).normal(0, 300, round(16000 * seconds)).astype("<i2").tobytes()


@pytest.fixture(scope="module")
def words(real_data):
    """Three keywords of one speaker or another between pauses, 16-bit, and their names."""
    draw, parts, names = np.random.default_rng(0), [], ("yes", "stop", "left")
    for name in names:
        clip = sorted((real_data / "speech_commands" / "train" / name).glob("*.wav"))[0]
        parts += [draw.normal(0, 3, 16000).astype("<i2"), soundfile.read(clip, dtype="int16")[0]]
    return np.concatenate([*parts, np.zeros(16000, "<i2")]), names


def test_keywords_without_torch(words):
    samples, names = words
    code, out, err = run(samples.tobytes())
    assert code == 0, err
    lines = out.splitlines()
    assert len(lines) >= 2
    found = [line.split()[1] for line in lines]
    assert found == [name for name in names if name in found]  # each once, in their order
    assert all(line.startswith("00:0") and "% sure" in line for line in lines)
    assert "listening for yes, no, up" in err and f"{len(samples) / 16000:.1f} s heard, {len(lines)} keyword" in err


def test_enroll_and_files_without_torch(words, tmp_path):
    samples, _ = words
    soundfile.write(tmp_path / "me.wav", samples[16000:32000], 16000)
    code, out, err = run(np.tile(samples, 2).tobytes(), "--enroll", str(tmp_path / "me.wav"))
    lines = out.splitlines()
    assert code == 0 and len(lines) > 3 and "1.0 s are little to know a voice by" in err
    assert lines[0].endswith("speaker: not known by 1 word, from 3 on")
    assert lines[1].endswith("speaker: not known by 2 words, from 3 on")
    assert "speaker of the last 3 words: " in lines[2] and "(cosine " in lines[2]
    process = start("listen", str(tmp_path / "me.wav"), "--enroll", str(tmp_path / "me.wav"), "-m", str(JOINT_ONNX))
    out, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    assert b"keyword: yes" in out and b"yes (cosine 1.000" in out


def test_telephone_audio(words):
    samples, _ = words
    code, out, err = run(samples[::2].tobytes(), "--rate", "8000")
    assert code == 0 and "8000 Hz is resampled to 16000 Hz" in err and f"{len(samples) / 16000:.1f} s heard" in err


@pytest.mark.parametrize(
    ("content", "code", "words"),
    [
        (b"", 2, "found nothing (no microphone?); try: arecord"),
        (b"x", 2, "found less than one; try: arecord"),
        (noise(0.5) + b"x", 0, "bytes at the end that are no whole sample: 1, left out; is the stream 16-bit?"),
        (b"OggS" + noise(1), 2, "found Ogg; decode it: ffmpeg"),
    ],
)
def test_streams_that_are_none(content, code, words):
    found, out, err = run(content)
    assert (found, out) == (code, "") and words in err and "Traceback" not in err
    assert len(err.splitlines()) == (1 if code else 3)


def test_a_reader_that_leaves(words):
    process = start("listen", "-")
    process.stdout.close()
    with contextlib.suppress(BrokenPipeError):  # it may end before it has taken all
        process.stdin.write(words[0].tobytes())
        process.stdin.close()
    assert process.wait(timeout=120) == 141
    assert b"Traceback" not in process.stderr.read()


@pytest.mark.skipif(os.name != "posix", reason="signals")
def test_ctrl_c_ends_it():
    process = start("listen", "-")
    process.stdin.write(noise(2))
    process.stdin.flush()
    assert b"listening" in process.stderr.readline()
    time.sleep(0.5)
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=60) == 0
    err = process.stderr.read().decode()
    assert "s heard, 0 keywords" in err and "Traceback" not in err


def test_a_closed_standard_input():
    process = start("listen", "-", code=COMMAND.replace("sys.exit", "sys.stdin = None; sys.exit"))
    _, err = process.communicate(timeout=60)
    assert process.returncode == 2 and b"expected samples on standard input, found a terminal or nothing" in err


def test_safetensors_without_torch(tmp_path):
    save_joint(make(), tmp_path / "joint.safetensors")
    code, _, err = run(b"", "-m", str(tmp_path / "joint.safetensors"))
    assert code == 2 and "needs torch, which is not installed" in err and "export-joint" in err


@pytest.mark.parametrize(
    "words", [("export", "fithubert_mini", "-o", "s.onnx"), ("convert", "a.ckpt", "-o", "s.safetensors"), ("demo",)]
)
def test_other_commands_without_torch(words, tmp_path):
    process = start(*words, cwd=tmp_path)
    out, err = process.communicate(timeout=120)
    assert process.returncode == 2 and b"which is not installed; this is an install for `listen`" in err
    assert (out, err.count(b"\n"), list(tmp_path.iterdir())) == (b"", 1, [])


def test_flags_that_do_not_fit(tmp_path):
    for argv, words in (
        (["-", "yes.wav"], "expected no file beside standard input"),
        (["yes.wav", "--rate", "8000"], "--rate: expected - for standard input"),
        (["yes.wav", "--threshold", "0.5"], "--threshold: expected - for standard input"),
    ):
        with pytest.raises(FitHubertError, match=words):
            main(argv)
    for flags, words in ((("--threshold", "2"), "a threshold above 0"), (("--rate", "7"), "a rate of 4000")):
        code, _, err = run(noise(0.1), *flags)
        assert code == 2 and words in err

import csv
import json
import os
import signal
import subprocess
import sys

import numpy as np
import pytest
import soundfile

from fithubert_upstream.audio.decode import read_speech
from fithubert_upstream.cli import main as cli
from fithubert_upstream.errors import FitHubertError
from fithubert_upstream.extract import formats, run
from fithubert_upstream.extract.run import extract
from fithubert_upstream.extract.selection import ALL, Selection
from fithubert_upstream.runs.stop_signal import StopSignal

from ..conftest import REPO
from .conftest import sums_of


def index(out, name="index.tsv"):
    with (out / name).open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file, delimiter="\t"))


def read_back(out, kind):
    """name -> features"""
    if kind == "npy":
        return {row["name"]: np.load(out / row["file"]) for row in index(out)}
    if kind == "safetensors":
        from safetensors.numpy import load_file

        return {name: value for file in sorted(out.glob("*.safetensors")) for name, value in load_file(file).items()}
    if kind == "parquet":
        parquet = pytest.importorskip("pyarrow.parquet")
        rows = [row for file in sorted(out.glob("*.parquet")) for row in parquet.read_table(file).to_pylist()]
    else:
        datasets = pytest.importorskip("datasets")
        rows = datasets.load_from_disk(str(out)).to_list()
    assert len({row["name"] for row in rows}) == len(rows)
    return {row["name"]: np.array(row["features"], np.float32) for row in rows}


def expected(folder):
    return {
        path.relative_to(folder).with_suffix("").as_posix(): sums_of(read_speech(path)[0])
        for path in sorted(folder.rglob("*.flac"))
    }


def same(found, wanted):
    return found.keys() == wanted.keys() and all(np.array_equal(found[name], wanted[name]) for name in wanted)


@pytest.mark.parametrize("kind", formats.FORMATS)
def test_each_format_gives_back_what_was_written(folder, tmp_path, sums, kind, monkeypatch):
    if kind in ("parquet", "hf"):
        pytest.importorskip("datasets")
    monkeypatch.setattr(formats, "SHARD_BYTES", 300)  # several shards
    entries = extract([folder], "fithubert_mini", tmp_path / "out", kind=kind)
    assert same(read_back(tmp_path / "out", kind), expected(folder))
    assert [entry.name for entry in entries] == sorted(expected(folder))
    for row in index(tmp_path / "out"):
        assert (tmp_path / "out" / row["file"]).is_file()
        assert int(row["frames"]) == len(expected(folder)[row["name"]])
        assert float(row["seconds"]) == pytest.approx(soundfile.info(row["path"]).duration, abs=6e-4)


@pytest.mark.parametrize("kind", formats.FORMATS)
def test_a_run_after_a_kill_does_what_is_left(folder, tmp_path, sums, kind, monkeypatch):
    """Killed between two recordings, with a half line in the journal and a half file beside the whole ones."""
    if kind in ("parquet", "hf"):
        pytest.importorskip("datasets")
    monkeypatch.setattr(formats, "SHARD_BYTES", 1)
    monkeypatch.setattr(formats, "FLUSH_FILES", 1)
    out = tmp_path / "out"

    def killed(self, *args):
        if len(self.done) == 3:
            raise MemoryError  # as no error of ours, nothing is tidied up for it
        return note(self, *args)

    note = run.Journal.note
    with monkeypatch.context() as patch, pytest.raises(MemoryError):
        patch.setattr(run.Journal, "note", killed)
        extract([folder], "fithubert_mini", out, kind=kind)
    with (out / ".extract" / "done-0-of-1.jsonl").open("a") as file:
        file.write('["half", "a li')
    (out / ".half.0123abcd.tmp").write_bytes(b"x")
    sums.heard.clear()
    extract([folder], "fithubert_mini", out, kind=kind)
    assert len(sums.heard) == 5
    assert same(read_back(out, kind), expected(folder)) and len(index(out)) == 8
    assert not list(out.rglob("*.tmp"))
    sums.heard.clear()
    extract([folder], "fithubert_mini", out, kind=kind)
    assert sums.heard == []


def test_features_that_were_removed_are_written_again(folder, tmp_path, sums):
    extract([folder], "fithubert_mini", tmp_path / "out")
    (tmp_path / "out" / "a" / "0.npy").unlink()
    sums.heard.clear()
    extract([folder], "fithubert_mini", tmp_path / "out")
    assert len(sums.heard) == 1 and same(read_back(tmp_path / "out", "npy"), expected(folder))


@pytest.mark.parametrize("kind", ["npy", "safetensors"])
def test_shares_make_the_whole(folder, tmp_path, sums, kind):
    for number in (2, 0, 1):
        extract([folder], "fithubert_mini", tmp_path / "out", kind=kind, shard=(number, 3))
    assert same(read_back(tmp_path / "out", kind), expected(folder)) and len(index(tmp_path / "out")) == 8
    assert len(sums.heard) == 8
    extract([folder], "fithubert_mini", tmp_path / "out", kind=kind)  # in one: all is there
    assert len(sums.heard) == 8


def test_other_settings_are_refused(folder, tmp_path, sums):
    extract([folder], "fithubert_mini", tmp_path / "out")
    before = sorted(tmp_path.rglob("*"))
    for upstream, selection, kind, named in (
        ("hubert_mini", Selection(), "npy", "upstream fithubert_mi, now hubert_mini"),
        ("fithubert_mini", Selection(2), "npy", "layer none, now 2"),
        ("fithubert_mini", Selection(None, "mean"), "npy", "pool none, now mean"),
        ("fithubert_mini", Selection(), "safetensors", "format npy, now safetensors"),
    ):
        with pytest.raises(FitHubertError, match=named):
            extract([folder], upstream, tmp_path / "out", selection, kind=kind)
    assert sorted(tmp_path.rglob("*")) == before


def test_a_folder_of_something_else_is_refused(folder, tmp_path, sums):
    with pytest.raises(FitHubertError, match="expected an empty folder, or one of `fithubert extract`, found a"):
        extract([folder], "fithubert_mini", folder)


def test_a_recording_that_changed_is_told(folder, tmp_path, sums):
    extract([folder], "fithubert_mini", tmp_path / "out")
    soundfile.write(folder / "a" / "0.flac", np.zeros(20000), 16000)
    with pytest.raises(FitHubertError, match="0.flac: changed after its features were written"):
        extract([folder], "fithubert_mini", tmp_path / "out")


def test_another_folder_with_the_same_names_is_told(folder, tmp_path, sums):
    extract([folder / "a"], "fithubert_mini", tmp_path / "out")
    (folder / "b" / "1.flac").rename(folder / "b" / "0.flac")
    with pytest.raises(FitHubertError, match="under the same name, 0"):
        extract([folder / "b"], "fithubert_mini", tmp_path / "out")


def test_two_processes_at_one_share_are_refused(folder, tmp_path, sums):
    extract([folder], "fithubert_mini", tmp_path / "out")
    settings = json.loads((tmp_path / "out" / ".extract" / "settings.json").read_text())
    other = run.Journal(tmp_path / "out", settings)
    with pytest.raises(FitHubertError, match="another process is at this share"):
        extract([folder], "fithubert_mini", tmp_path / "out")
    other.close([])
    extract([folder], "fithubert_mini", tmp_path / "out")


def test_bad_files_are_named_and_counted_and_the_rest_is_done(folder, tmp_path, sums, capsys):
    (folder / "a" / "bad.wav").write_bytes(b"no audio")
    (folder / "b" / "empty.flac").write_bytes(b"")
    whole = (folder / "b" / "1.flac").read_bytes()
    (folder / "b" / "cut.flac").write_bytes(whole[: len(whole) // 2])
    out = tmp_path / "out"
    assert cli(["extract", str(folder), "-u", "fithubert_mini", "-o", str(out)]) == 2
    said = capsys.readouterr()
    assert f"3 of 11 recordings could not be read ({out / 'bad.tsv'}); the others are done" in said.err
    assert [row["path"].rpartition(os.sep)[2] for row in index(out, "bad.tsv")] == ["bad.wav", "cut.flac", "empty.flac"]
    assert all(row["reason"] for row in index(out, "bad.tsv")) and len(index(out)) == 8
    soundfile.write(folder / "a" / "bad.wav", np.ones(1000), 16000)  # mended, the others removed
    for name in ("empty", "cut"):
        (folder / "b" / f"{name}.flac").unlink()
    assert cli(["extract", str(folder), "-u", "fithubert_mini", "-o", str(out)]) == 0
    assert len(index(out)) == 9 and len(sums.heard) == 9


def test_what_an_upstream_cannot_encode_is_bad_too(folder, tmp_path, sums, monkeypatch):
    def picky(self, waveforms):
        if any(len(waveform) == shortest for waveform in waveforms):
            raise RuntimeError("Kernel size can't be greater than actual input size")
        return encode(self, waveforms)

    shortest = min(soundfile.info(path).frames for path in folder.rglob("*.flac"))
    encode = type(sums).__call__
    monkeypatch.setattr(type(sums), "__call__", picky)
    monkeypatch.setattr(sums, "batches", True)  # in one batch with it are others
    with pytest.raises(FitHubertError, match="1 of 8 recordings could not be read"):
        extract([folder], "fithubert_mini", tmp_path / "out")
    (row,) = index(tmp_path / "out", "bad.tsv")
    assert "Kernel size" in row["reason"] and len(index(tmp_path / "out")) == 7


def test_other_rates_and_channels_are_resampled_and_said_once(tmp_path, sums, capsys):
    draw = np.random.default_rng(0)
    (tmp_path / "audio").mkdir()
    for name, rate, channels in (("t1", 8000, 1), ("t2", 8000, 2), ("cd", 44100, 2), ("ours", 16000, 1)):
        soundfile.write(tmp_path / "audio" / f"{name}.aiff", draw.uniform(-0.5, 0.5, (rate, channels)), rate)
    extract([tmp_path / "audio"], "fithubert_mini", tmp_path / "out")
    said = capsys.readouterr()
    assert said.out.count("8,000 Hz, resampled") == 1 and "there is nothing above 4,000 Hz" in said.out
    assert "resampled to 16,000 Hz: 2 from 8,000 Hz, 1 from 44,100 Hz" in said.out
    assert {row["frames"] for row in index(tmp_path / "out")} == {"50"}


@pytest.mark.parametrize("kind", ["npy", "safetensors"])
def test_a_full_disk_is_one_line_and_what_was_done_stays(folder, tmp_path, sums, kind, monkeypatch, capsys):
    resource = pytest.importorskip("resource")
    monkeypatch.setattr(formats, "SHARD_BYTES", 1)
    draw = np.random.default_rng(0)
    soundfile.write(folder / "b" / "long.flac", draw.uniform(-0.5, 0.5, 1_600_000), 16000)  # 40 kB of features
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, hard))
    try:
        words = ["extract", str(folder), "-u", "fithubert_mini", "-o", str(tmp_path / "out"), "--format", kind]
        assert cli(words) == 2
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("fithubert")]
    assert "cannot be written" in line and "make room" in line
    assert len(index(tmp_path / "out")) == 8 and len(list((tmp_path / "out").rglob("*long*"))) == 0
    assert not list((tmp_path / "out").rglob("*.tmp"))
    assert cli(words) == 0 and len(sums.heard) == 10


@pytest.mark.skipif(os.name == "nt", reason="signals")
@pytest.mark.parametrize("number", StopSignal.SIGNALS)
def test_a_signal_ends_it_in_good_order(folder, tmp_path, sums, monkeypatch, number):
    encode = type(sums).__call__

    def stopped(self, waveforms):
        if len(self.heard) == 3:
            os.kill(os.getpid(), number)
        return encode(self, waveforms)

    monkeypatch.setattr(type(sums), "__call__", stopped)
    with pytest.raises(KeyboardInterrupt if number == signal.SIGINT else SystemExit):
        extract([folder], "fithubert_mini", tmp_path / "out", kind="safetensors", workers=1)
    assert 0 < len(index(tmp_path / "out")) < 8
    extract([folder], "fithubert_mini", tmp_path / "out", kind="safetensors", workers=1)
    assert same(read_back(tmp_path / "out", "safetensors"), expected(folder))


def test_several_processes_need_shares(folder, tmp_path, monkeypatch):
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(FitHubertError, match="expected --shard i/n in each of 2 processes"):
        run.main([str(folder), "-u", "fithubert_mini", "-o", str(tmp_path / "out")])


@pytest.mark.parametrize(
    "words, told",
    [
        (["--layer", "12"], "expected a layer from 0 to 11 (hidden_states of fithubert_mini), found 12"),
        (["--layer", "-1"], "expected a layer from 0 to 11"),
        (["--workers", "0"], "--workers 0: expected at least 1"),
        (["--shard", "2/2"], "--shard 2/2: expected i/n"),
        (["--format", "zip"], "--format"),
        (["--layer", "1", "--layers", "all"], "not allowed with argument"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_mistakes_are_told_before_the_work(folder, tmp_path, capsys, words, told):
    words = ["extract", str(folder), "-u", "fithubert_mini", "-o", str(tmp_path / "out"), *words]
    assert cli(words) == 2
    error = capsys.readouterr().err
    assert told in error and error.count("\n") == 1 and not (tmp_path / "out").exists()


def test_an_upstream_that_cannot_be_downloaded_is_one_line(folder, tmp_path, monkeypatch, capsys):
    from fithubert_upstream.extract import torch_encoder

    def build(upstream):
        raise ConnectionError("Max retries exceeded") from OSError("Name or service not known")

    monkeypatch.setattr(torch_encoder, "build", build)
    assert cli(["extract", str(folder), "-u", "hubert", "-o", str(tmp_path / "out")]) == 2
    error = capsys.readouterr().err
    assert error.endswith("that can be loaded or downloaded, found: Name or service not known\n")
    assert not (tmp_path / "out").exists()


def test_real_speech_gives_the_upstreams_own_features(real_data, tmp_path):
    import torch

    from fithubert_upstream import UpstreamExpert

    files = sorted((real_data / "LibriSpeech-excerpt" / "mini-test").rglob("*.flac"))[:3]
    upstream = UpstreamExpert("fithubert_mini")
    for selection in (Selection(), Selection(ALL), Selection(3, "mean")):
        out = tmp_path / f"{selection.layer}"
        extract(files, "fithubert_mini", out, selection)
        for row in index(out):
            with torch.inference_mode():
                features = upstream([torch.from_numpy(read_speech(row["path"])[0])])
            wanted = {
                None: lambda f: f["last_hidden_state"][0],
                ALL: lambda f: torch.stack(f["hidden_states"])[:, 0],
                3: lambda f: f["hidden_states"][3][0].mean(0),
            }[selection.layer](features)
            np.testing.assert_allclose(np.load(out / row["file"]), wanted.numpy(), rtol=1e-3, atol=1e-3)


WITHOUT_TORCH = """
import sys

for name in ("torch", "torchaudio", "s3prl", "transformers"):
    sys.modules[name] = None  # as if it were not installed
from fithubert_upstream.cli import main

sys.exit(main(sys.argv[1:]))
"""


@pytest.mark.slow
def test_an_onnx_file_needs_no_torch(folder, tmp_path):
    pytest.importorskip("onnxruntime")
    import torch

    from fithubert_upstream.export.onnx import export

    from ..helpers.onnx import make_student, upstream_of

    export(make_student("a head for each layer"), tmp_path / "student.onnx")
    upstream = upstream_of("a head for each layer", tmp_path)
    for kind, words in {"npy": [], "safetensors": ["--layers", "all"], "hf": []}.items():
        argv = ["extract", folder, "-u", tmp_path / "student.onnx", "-o", tmp_path / kind, "--format", kind, *words]
        subprocess.run([sys.executable, "-c", WITHOUT_TORCH, *map(str, argv)], check=True, cwd=REPO)
        found = read_back(tmp_path / kind, kind)
        assert len(found) == 8
        for name, value in found.items():
            with torch.inference_mode():
                features = upstream([torch.from_numpy(read_speech(folder / f"{name}.flac")[0])])
            wanted = (
                features["last_hidden_state"][0]
                if kind != "safetensors"
                else torch.stack(features["hidden_states"])[:, 0]
            )
            np.testing.assert_allclose(value, wanted.numpy(), rtol=1e-3, atol=1e-3)

"""`fithubert abx`: every layer of every upstream, once; the score itself stands in, as fastabx needs Python 3.12."""

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from fithubert_upstream import cli
from fithubert_upstream.abx import run as abx
from fithubert_upstream.abx.frames import extract
from fithubert_upstream.corpora.items import HEAD, read_items, recordings_of
from fithubert_upstream.errors import FitHubertError
from fithubert_upstream.superb.names import Upstream
from fithubert_upstream.superb.upstreams import build

ITEMS = ["b 0.10 0.30 e d n s1", "a 0.20 0.26 o d n s1", "b 0.40 0.55 e d n s2"]


@pytest.fixture
def speech(tmp_path, monkeypatch):
    generator = np.random.default_rng(0)
    for name in "ab":
        soundfile.write(tmp_path / f"{name}.flac", 0.1 * generator.standard_normal(16000), 16000)
    (tmp_path / "x.item").write_text("\n".join([" ".join(HEAD), *ITEMS]) + "\n")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def scored(monkeypatch):
    """What would have been scored."""
    calls = []

    def error(items, frames, ends, mode, seed):
        calls.append((len(items), tuple(frames.shape), mode))
        return 10.0 + len(calls) + (5 if mode == "across" else 0)

    monkeypatch.setattr(abx, "abx_error", error)
    monkeypatch.setattr(abx, "check_fastabx", lambda: None)
    return calls


def test_frames_of_items_are_those_of_whole_recordings(speech, tmp_path):
    items = sorted(read_items(speech), key=lambda item: item.file)
    model = build(Upstream("s", "fithubert_mini"))
    frames = extract(model, "hidden_states", items, recordings_of(items, speech), tmp_path)
    cuts = {"a": [(10, 13)], "b": [(5, 15), (20, 28)]}
    assert frames.ends == [3, 13, 21] and len(frames) == 12
    with torch.no_grad():
        for number in (0, 11):
            parts = []
            for name, spans in cuts.items():
                audio = torch.from_numpy(soundfile.read(speech / f"{name}.flac", dtype="float32")[0])
                layer = model([audio])["hidden_states"][number][0]
                parts += [layer[first:end] for first, end in spans]
            assert torch.equal(frames.layer(number), torch.cat(parts))


def test_table_picture_and_results(speech, scored, capsys):
    assert cli.main(["abx", "-u", "fbank", "-u", "fithubert_mini", "--items", ".", "-o", "out"]) == 0
    assert len(scored) == 2 * (1 + 12) and scored[0] == (3, (41, 240), "within") and scored[2][:2] == (3, (21, 144))
    text = Path("out/table.md").read_text()
    assert "3 triphones of 2 speakers in 2 recordings, seed 0" in text
    assert "| fbank          | within   | **11.00** |     - |" in text
    assert Path("out/abx.png").read_bytes().startswith(b"\x89PNG")
    result = json.loads(Path("out/fithubert_mini.json").read_text())
    assert len(result["within"]) == len(result["across"]) == 12 and result["settings"]["seed"] == 0
    assert result["command"].startswith("fithubert abx -u fbank") and "torch" in result["versions"]
    assert len(Path("out/table.csv").read_text().splitlines()) == 1 + 26
    assert not [path for path in Path("out").iterdir() if path.name.startswith(".")]
    assert cli.main(["abx", "-u", "fbank", "--items", "x.item", "-o", "out"]) == 0
    assert len(scored) == 26  # nothing was measured again
    capsys.readouterr()
    assert cli.main(["abx", "-u", "fbank", "--items", ".", "--seed", "2", "-o", "out"]) == 2
    assert "fbank.json: already holds a result with other settings: seed" in capsys.readouterr().err


def test_an_interruption_leaves_what_is_done(speech, scored, monkeypatch):
    measure = abx._measure

    def interrupted(upstream, *args):
        if upstream.name != "fbank":
            raise KeyboardInterrupt
        return measure(upstream, *args)

    monkeypatch.setattr(abx, "_measure", interrupted)
    with pytest.raises(KeyboardInterrupt):
        abx.run([Upstream("fbank", "fbank"), Upstream("m", "fithubert_mini")], ".", ".", "out")
    assert Path("out/fbank.json").is_file() and not Path("out/m.json").exists()


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--items", "."], "-u: expected at least one upstream"),
        (["-u", "fbank", "-u", "fbank", "--items", "."], "expected each label once"),
        (["-u", "fbank", "--items", "nowhere"], "nowhere"),
        (["-u", "fbank@nothing", "--items", "."], "expected a feature named nothing"),
        (["-u", "fbank", "-u", "x=fbank@nothing", "--items", "."], "expected a feature named nothing"),
        (["-u", "fbank", "--items", ".", "--device", "nosuch"], "--device nosuch: expected a device of this machine"),
        (["-u", "fbank", "--items", ".", "-o", "x.item"], "expected a folder that can be written"),
    ],
)
def test_mistakes(speech, scored, flags, words, capsys):
    assert cli.main(["abx", *flags]) == 2
    error = capsys.readouterr().err
    assert words in error.splitlines()[-1] and "Traceback" not in error and not scored


def test_an_upstream_with_too_few_frames(speech, tmp_path):
    class Slow(torch.nn.Module):
        def get_downsample_rates(self, key):
            return 16000

        def forward(self, wavs):
            return {"hidden_states": [torch.zeros(1, 1, 4)]}

    items = sorted(read_items(speech), key=lambda item: item.file)
    with pytest.raises(FitHubertError, match="expected a frame between 0.200 and 0.260 s, found none at 1 frames"):
        extract(Slow(), "hidden_states", items, recordings_of(items, speech), tmp_path)

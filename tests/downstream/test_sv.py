import os
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from fithubert_upstream.audio.sox import apply_effects_file
from fithubert_upstream.compat import s3prl as s3prl_compat
from fithubert_upstream.downstream import sv as voxceleb1
from fithubert_upstream.downstream.sv import EFFECTS, SHORTEST, check_lengths, trimmed_length, trimmed_lengths
from fithubert_upstream.errors import FitHubertError
from fithubert_upstream.models.config import FITHUBERT_CONV_LAYERS
from fithubert_upstream.models.lengths import conv_frames

RATE = 16000


def write(path, *pieces: float, rate: int = RATE, channels: int = 1):
    """Noise of those seconds; silence where they are negative."""
    draw = np.random.default_rng(0)
    parts = [draw.uniform(-0.5, 0.5, int(s * rate)) if s > 0 else np.zeros(int(-s * rate)) for s in pieces]
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, np.stack([np.concatenate(parts)] * channels, axis=1), rate)
    return path


@pytest.fixture
def files(tmp_path):
    return [
        write(tmp_path / "a.wav", 1.0),
        write(tmp_path / "b.wav", -0.5, 0.7, -0.5, 0.6, -0.8),
        write(tmp_path / "c.flac", -0.3, 0.5, rate=44100, channels=2),
        write(tmp_path / "d.wav", -1.0),
    ]


def test_lengths_are_those_of_the_effects_output(files):
    names = [str(path) for path in (files[2], *files)]  # any order, one of them twice
    lengths = trimmed_lengths(names)
    assert lengths == [apply_effects_file(name, EFFECTS)[0].size(1) for name in names]
    assert lengths[1] == pytest.approx(RATE, abs=400) and lengths[4] == 0
    assert lengths[2] == pytest.approx(1.3 * RATE, rel=0.2)  # both bursts, the silences cut to 0.1 s or less
    assert lengths == [trimmed_length(Path(name)) for name in names]


def test_the_effects_are_s3prls():
    s3prl_compat.apply()
    from s3prl.downstream.sv_voxceleb1 import dataset

    assert EFFECTS == dataset.EFFECTS


def test_a_second_corpus_has_its_own_lengths_and_the_first_is_remembered(tmp_path, files, monkeypatch):
    first = trimmed_lengths([str(path) for path in files])
    second = [str(write(tmp_path / "other" / path.name, 0.4)) for path in files]  # the same names
    assert len(set(trimmed_lengths(second))) == 1 != len(set(first))

    monkeypatch.setattr(voxceleb1, "apply_effects_file", None)  # any call fails
    assert trimmed_lengths([str(path) for path in files]) == first
    os.utime(files[0])  # changed
    with pytest.raises(FitHubertError):
        trimmed_lengths([str(path) for path in files])


def test_a_broken_file_is_one_line(files):
    files[1].write_bytes(b"RIFF, but no more")
    with pytest.raises(FitHubertError) as caught:
        trimmed_lengths([str(path) for path in files])
    assert str(files[1]) in str(caught.value) and "\n" not in str(caught.value)


@pytest.fixture
def corpus(tmp_path):
    """Utterances of 1 s; the second test speaker's keep just what is needed."""
    for part in ("dev", "test"):
        for speaker in ("id1", "id2"):
            for session in ("s0", "s1"):
                seconds = SHORTEST / RATE if (part, speaker) == ("test", "id2") else 1
                write(tmp_path / part / "wav" / speaker / session / "0.wav", seconds)
        (tmp_path / f"{part}.txt").write_text("1 id1/s0/0.wav id1/s1/0.wav\n0 id1/s0/0.wav id2/s0/0.wav\n")
    return tmp_path


def test_what_is_too_short_is_told(corpus):
    trials = {part: corpus / f"{part}.txt" for part in ("dev", "test")}
    check_lengths(corpus, trials, min_samples=15000)
    check_lengths(corpus, {}, min_samples=None)

    with pytest.raises(FitHubertError, match=f"{corpus}/dev/wav: expected utterances of over 1.25 s .* found 1.000 s"):
        check_lengths(corpus, trials, min_samples=20000)

    short = write(corpus / "test" / "wav" / "id2" / "s0" / "0.wav", (SHORTEST - 1) / RATE)
    check_lengths(corpus, {"dev": trials["dev"]}, min_samples=15000)
    with pytest.raises(FitHubertError, match=f"{short}: expected 0.325 s or more after silence trimming"):
        check_lengths(corpus, trials)
    write(corpus / "test" / "wav" / "id2" / "s1" / "0.wav", -1)  # in no trial
    write(short, 1)
    check_lengths(corpus, trials)


def test_the_shortest_utterance_has_an_embedding():
    """What SHORTEST stands for: s3prl's x-vector is finite from 16 frames on, and not before."""
    s3prl_compat.apply()
    from s3prl.downstream.sv_voxceleb1.model import Model

    hparams = {"agg_dim": 8, "batch_norm": False, "dropout_p": 0.0}
    names = {"agg_module_name": "SP", "module_name": "XVector", "utterance_module_name": "UtteranceExtractor"}
    model = Model(input_dim=8, agg_dim=8, hparams=hparams, **names).eval()
    frames = [conv_frames(samples, FITHUBERT_CONV_LAYERS) for samples in (SHORTEST - 1, SHORTEST)]
    assert frames == [15, 16]
    finite = [model.inference(torch.randn(1, n, 8), torch.zeros(1, n - 14)).isfinite().all().item() for n in frames]
    assert finite == [False, True]

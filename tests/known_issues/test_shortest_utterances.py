"""Speaker verification over `hidden_states_40ms` failed on 0.45 s: how much it needs was known for 20 ms only."""

import pytest
import soundfile
import torch

from fithubert_upstream.downstream.flags import read_flags, with_defaults
from fithubert_upstream.downstream.frames import check_frames
from fithubert_upstream.downstream.run import main
from fithubert_upstream.errors import FitHubertError
from fithubert_upstream.upstream.hubconf import fithubert_mini

from ..helpers import small_corpora

SETTINGS = "config.runner.total_steps=1,,config.runner.eval_step=1,,config.runner.save_step=1"
DATA = "config.downstream_expert.datarc"
KEYS = ("last_hidden_state", "hidden_states", "hidden_states_40ms")


def shorten(path, seconds):
    samples, rate = soundfile.read(path)
    soundfile.write(path, samples[: round(seconds * rate)], rate)


@pytest.fixture
def voxceleb1(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    root = small_corpora.voxceleb1(tmp_path / "VoxCeleb1")
    monkeypatch.setenv("VOXCELEB1", str(root))
    return root


SV = ["-m", "train", "-d", "sv_voxceleb1", "-c", "mini/sv.yaml", "-u", "fithubert_mini"]
HEAD = "config.downstream_expert.modelrc"
XVECTOR = f"{HEAD}.module_config.XVector"
SV_SIZES = (
    f"{SETTINGS},,{DATA}.num_workers=0,,{DATA}.train_batch_size=2,,config.runner.eval_dataloaders=[],,"
    f"{HEAD}.module=XVector,,{XVECTOR}.agg_dim=16,,{XVECTOR}.batch_norm=False,,{XVECTOR}.dropout_p=0.0"
)


def test_speaker_verification_at_40_ms(voxceleb1):
    train = [*SV, "-s", "hidden_states_40ms", "-p", "run", "-o", SV_SIZES]
    for path in (voxceleb1 / "test" / "wav").rglob("*.wav"):
        shorten(path, 0.45)
    main(train)
    with pytest.raises(FitHubertError, match=r"expected 0.645 s or more after silence trimming, found 0.4\d* s"):
        main(["-m", "evaluate", "-e", "run"])
    main([*SV, "-s", "last_hidden_state", "-p", "run20", "-o", SV_SIZES])
    assert main(["-m", "evaluate", "-e", "run20"])["sv-voxceleb1/test-EER"] >= 0

    for path in (voxceleb1 / "dev" / "wav").rglob("*.wav"):
        shorten(path, 0.6)
    with pytest.raises(FitHubertError, match=r"each utterance to train on .*min_sec=10319"):
        main([*SV, "-s", "hidden_states_40ms", "-p", "short", "-o", f"{SV_SIZES},,{DATA}.vad_config.min_sec=3200"])


def test_as_many_frames_as_are_needed_are_enough(voxceleb1):
    for path in (voxceleb1 / "test" / "wav").rglob("*.wav"):
        shorten(path, 0.66)
    main([*SV, "-s", "hidden_states_40ms", "-p", "run", "-o", SV_SIZES])
    assert main(["-m", "evaluate", "-e", "run"])["sv-voxceleb1/test-EER"] >= 0


@pytest.mark.parametrize("key", KEYS)
def test_keywords_of_a_few_samples(key, tmp_path, monkeypatch):
    """s3prl rounded their frames to none, of which the mean is NaN."""
    monkeypatch.chdir(tmp_path)
    root = small_corpora.speech_commands(tmp_path / "corpus")
    for path in (root / "test").rglob("*.wav"):
        shorten(path, 0.002)
    monkeypatch.setenv("SPEECH_COMMANDS", str(root))
    sizes = f"{SETTINGS},,{DATA}.num_workers=0,,{DATA}.batch_size=4"
    argv = ["-m", "train", "-d", "speech_commands", "-c", "mini/ks.yaml", "-u", "fithubert_mini", "-s", key]
    main([*argv, "-p", "run", "-o", sizes])
    assert main(["-m", "evaluate", "-e", "run"])["speech_commands/test-loss"] < 100  # NaN is not


@pytest.mark.slow
@pytest.mark.parametrize("task", ["ctc", "asr"])
@pytest.mark.parametrize("key", KEYS)
def test_phones_and_words_of_short_utterances(task, key, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    root = small_corpora.librispeech(tmp_path / "libri", {"train": 3, "dev": 1, "test": 1}, prepared=False)
    for path in (root / "test").rglob("*.flac"):
        shorten(path, 0.002)
    small_corpora.prepare_librispeech(root, progress=False)
    monkeypatch.setenv("LIBRISPEECH", str(root))
    block = {"ctc": "corpus", "asr": "datarc"}[task]
    sizes = f"{SETTINGS},,config.downstream_expert.{block}.batch_size=2,,config.downstream_expert.{block}.num_workers=0"
    argv = ["-m", "train", "-d", task, "-c", {"ctc": "mini/pr.yaml", "asr": "mini/asr.yaml"}[task]]
    argv += ["-u", "fithubert_mini", "-s", key, "-p", "run", "-o"]
    if (task, key) == ("asr", "hidden_states_40ms"):
        with pytest.raises(FitHubertError, match=r"found one every 640; give -o .*RNNs.total_rate=-1"):
            main([*argv, sizes])
        sizes += ",,config.downstream_expert.modelrc.RNNs.total_rate=-1"
    main([*argv, sizes])
    scores = main(["-m", "evaluate", "-e", "run", "-t", {"ctc": "test", "asr": "test-clean"}[task]])
    assert all(torch.tensor(list(scores.values())).isfinite())


def test_what_is_asked_of_frames():
    """The x-vector's 16 frames, whatever their rate; no other head of speaker verification needs as many."""
    args = with_defaults(read_flags(["-m", "evaluate", "-d", "sv_voxceleb1", "-e", "x"]))
    config = {"downstream_expert": {"modelrc": {"module": "Identity"}, "datarc": {}}}
    check_frames(args, config, 640, lambda samples: samples // 640)
    assert fithubert_mini().get_downsample_rates("hidden_states_40ms") == 640

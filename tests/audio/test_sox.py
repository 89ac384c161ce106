"""The SoX effects against files made by the real SoX, the program itself where it is, and a slow form."""

import math
import shutil
import subprocess
from collections import deque

import numpy as np
import pytest
import soundfile
import torch

from fithubert_upstream.audio.sox import apply_effects_file, apply_effects_tensor
from fithubert_upstream.errors import FitHubertError

from ..conftest import REPO

FOLDER = REPO / "tests" / "audio" / "sox"
KS = [["channels", "1"], ["rate", "16000"], ["gain", "-3.0"]]  # s3prl's speech_commands
SV = [*KS, ["silence", "1", "0.1", "0.1%", "-1", "0.1", "0.1%"]]  # s3prl's sv_voxceleb1
MAX = 2**31 - 1

# As in sox/make.sh: output of SoX, effects, whether it resampled.
MADE = [
    ("bursts.sv", SV, False),
    ("speech.sv", SV, False),
    ("stereo44.sv", SV, True),
    ("phone8.sv", SV, True),
    ("stereo44.ks", KS, True),
    ("stereo44.mono", [["channels", "1"]], False),
    ("phone8.rate", [["rate", "16000"]], True),
    ("speech.gain", [["gain", "-3.0"]], False),
    ("speech.loud", [["gain", "18"]], False),
    ("bursts.start", [["silence", "1", "0.1", "0.1%"]], False),
    ("bursts.silence", [["silence", "1", "0.1", "0.1%", "-1", "0.1", "0.1%"]], False),
    ("bursts.samples", [["silence", "1", "400", "0.3%", "-1", "0.05", "0.2%"]], False),
]


def steps_apart(waveform: torch.Tensor, path) -> float:
    """Largest difference from a 16-bit file, in its steps; the lengths must be equal."""
    expected, _ = soundfile.read(path, dtype="float64", always_2d=True)
    assert waveform.shape == expected.T.shape
    highest = 1 - 2**-15  # 16 bits cannot say more
    return float(np.abs(waveform.double().numpy().clip(-1, highest) - expected.T).max(initial=0) * 2**15)


@pytest.mark.parametrize("name, effects, resampled", MADE, ids=[name for name, *_ in MADE])
def test_equals_what_sox_made(name, effects, resampled):
    waveform, rate = apply_effects_file(FOLDER / f"{name.split('.')[0]}.flac", effects)
    path = FOLDER / f"{name}.flac"
    assert waveform.dtype == torch.float32 and rate == soundfile.info(path).samplerate
    # Half a step is the file's own rounding; soxr and SoX differ where their filters begin to fall.
    assert steps_apart(waveform, path) <= (2 if resampled else 0.501)


@pytest.fixture
def sox():
    if shutil.which("sox") is None:
        pytest.skip("the program sox is not installed")


def real_sox(source, target, effects) -> None:
    words = [word for effect in effects for word in effect]
    subprocess.run(["sox", "-V1", "-D", source, "-b", "16", target, *words], check=True)


def test_equals_sox_on_real_recordings(sox, real_data, tmp_path):
    files = sorted((real_data / "VoxCeleb1-layout" / "test").rglob("*.flac"))[::5]
    files += sorted((real_data / "dspspeech").rglob("*.flac"))[::82]
    assert len(files) >= 20
    shortened = 0
    for path in files:
        real_sox(path, tmp_path / "out.wav", SV)
        waveform, _ = apply_effects_file(str(path), SV)
        assert steps_apart(waveform, tmp_path / "out.wav") <= 0.501, path
        shortened += waveform.shape[1] < soundfile.info(path).frames
    assert shortened


def test_silence_equals_sox_on_random_signals(sox, tmp_path):
    for seed in range(10):
        samples, effect = random_case(seed)
        soundfile.write(tmp_path / "in.wav", samples, 16000, subtype="PCM_32")
        real_sox(tmp_path / "in.wav", tmp_path / "out.wav", [effect])
        waveform, _ = apply_effects_file(tmp_path / "in.wav", [effect])
        assert steps_apart(waveform, tmp_path / "out.wav") <= 0.501, seed


def random_case(seed: int) -> tuple[np.ndarray, list[str]]:
    """(T,) int32: tones, noise and direct current of random length and level; and a silence effect."""
    generator = np.random.default_rng(seed)
    pieces = []
    for _ in range(generator.integers(1, 40)):
        length = int(np.exp(generator.uniform(0, 8.5)))
        level = generator.choice([0, 1e-4, 9e-4, 1e-3, 1.1e-3, 1.5e-3, 3e-3, 0.02, 0.5])
        tone = np.sqrt(2) * np.sin(np.arange(length) * generator.uniform(0.01, 3))
        pieces.append(level * [tone, generator.standard_normal(length), np.ones(length)][generator.integers(3)])
    samples = np.clip(np.concatenate(pieces) * 2**31, -(2**31), MAX).astype(np.int32)

    def period():
        return [
            str(generator.choice(["0.1", "0.1", "0.005", "1", "0", "0.3"])),
            generator.choice(["0.05%", "0.1%", "0.13%"]),
        ]

    below = ["-1", *period()] if seed % 4 else []
    return samples, ["silence", "1", *period(), *below]


def slow_silence(samples: np.ndarray, rate: int, effect: list[str], bits: int = 32) -> np.ndarray:
    """The effect, sample by sample."""

    def period(duration, level):
        return math.floor(float(duration) * rate + 0.5) if "." in duration else int(duration), float(level[:-1])

    start_after, above = period(*effect[2:4])
    stop_after, below = period(*effect[5:7]) if len(effect) > 4 else (math.inf, -1)
    width = rate // 50
    window, power = deque([0] * width), 0  # Python's integers do not round
    copied, held, copying = [], [], False
    for sample in samples.tolist():
        window.append(sample)
        power += sample**2 - window.popleft() ** 2
        rms = math.isqrt(power // width) >> (32 - bits) << (32 - bits)
        level = 100 * rms / MAX
        held.append(sample)
        if not copying:
            if level <= above:
                held = []
            elif len(held) >= start_after:
                copied, held, copying = copied + held, [], True
        elif level > below:
            copied += held
            held = []
        elif len(held) >= stop_after:
            held, copying = [], False
            window, power = deque([0] * width), 0
    return np.array(copied + held if copying else copied, dtype=np.int32)


def test_fast_silence_equals_the_slow_one(tmp_path):
    shortened = 0
    for seed in range(60):
        samples, effect = random_case(seed)
        bits = (16, 32)[seed % 2]  # of short samples SoX cuts off the rest of the RMS
        samples = samples >> (32 - bits) << (32 - bits)
        rate = (16000, 8000, 11025)[seed % 3]
        soundfile.write(tmp_path / "in.wav", samples, rate, subtype=f"PCM_{bits}")
        waveform, _ = apply_effects_file(tmp_path / "in.wav", [effect])
        expected = slow_silence(samples, rate, effect, bits).astype(np.float32) / 2**31
        assert np.array_equal(waveform[0].numpy(), expected), (seed, effect)
        shortened += 0 < len(expected) < len(samples)
    assert shortened > 30


def test_a_tensor_and_a_file_give_the_same():
    for name, effects in (("speech", SV), ("bursts", SV), ("stereo44", SV), ("phone8", KS)):
        path = FOLDER / f"{name}.flac"
        samples, rate = soundfile.read(path, dtype="float32", always_2d=True)
        tensor = torch.from_numpy(samples)
        expected, _ = apply_effects_file(path, effects)
        waveform, after = apply_effects_tensor(tensor.t(), rate, effects)
        assert after == 16000 and torch.equal(waveform, expected)
        across, _ = apply_effects_tensor(tensor, rate, effects, channels_first=False)
        assert torch.equal(across, expected.t())
        assert torch.equal(apply_effects_file(path, effects, channels_first=False)[0], expected.t())


def test_copies_of_one_channel():
    wave = torch.rand(1, 50) - 0.5
    copies, _ = apply_effects_tensor(wave, 16000, [["channels", "3"]])
    assert torch.equal(copies, wave.expand(3, 50))


def test_what_is_silent_or_empty_gives_no_samples():
    for length in (0, 1, 100, 320, 5000):
        waveform, rate = apply_effects_tensor(torch.zeros(2, length), 8000, SV)
        assert (waveform.shape, rate) == ((1, 0), 16000)


@pytest.mark.parametrize(
    "effect",
    "norm; vad -T 0.25 -p 0.1; reverse; pad 0 3; gain; gain -n; gain -n -3; gain 3dB; rate; rate 16k; rate 0; "
    "rate -h 16000; channels; channels 0; channels 3; silence; silence -l 1 0.1 0.1%; silence 0; silence 2 0.1 0.1%; "
    "silence 1 0.1; silence 1 0.1 -60d; silence 1 0.1 0.1; silence 1 0.1t 0.1%; silence 1 0.1 0.1% 1 0.1 0.1%; "
    "silence 1 0.1 0.1% -1 0.1".split("; "),
)
def test_another_effect_is_named(effect):
    wave = torch.zeros(2 if effect == "channels 3" else 1, 100)
    with pytest.raises(FitHubertError) as error:
        apply_effects_tensor(wave, 16000, [["gain", "-3.0"], effect.split()])
    message = str(error.value)
    assert f"'{effect}'" in message and "silence 1 DURATION LEVEL%" in message and "\n" not in message


def test_silence_of_stereo_is_not_covered():
    with pytest.raises(FitHubertError, match=r"'silence 1 0\.1 0\.1%' on 2 channel"):
        apply_effects_tensor(torch.zeros(2, 100), 16000, [["silence", "1", "0.1", "0.1%"]])


def test_a_bad_file_is_named(tmp_path):
    path = tmp_path / "bad.wav"
    path.write_bytes(b"RIFF of nothing")
    for bad in (path, tmp_path / "missing.wav"):
        with pytest.raises(FitHubertError, match=str(bad)) as error:
            apply_effects_file(str(bad), SV)
        assert "\n" not in str(error.value)
    soundfile.write(path, np.array([0.1, np.nan], dtype=np.float32), 16000, subtype="FLOAT")
    with pytest.raises(FitHubertError, match="NaN"):
        apply_effects_file(path, SV)


def test_other_samples_than_floats_are_refused():
    with pytest.raises(FitHubertError, match="int16"):
        apply_effects_tensor(torch.zeros(1, 10, dtype=torch.int16), 16000, KS)
    with pytest.raises(FitHubertError, match="normalize=True"):
        apply_effects_file(FOLDER / "speech.flac", KS, normalize=False)

"""docs/web: the page in a browser, its numbers beside Python's."""

import json
import re
import runpy
import shutil

import numpy as np
import pytest
import soundfile
import soxr
import torch

from fithubert_upstream.audio.waveforms import load_any_waveform
from fithubert_upstream.errors import FitHubertError
from fithubert_upstream.export.numpy_features import OnnxFeatures
from fithubert_upstream.joint.model import save_joint
from fithubert_upstream.models.config import FitHubertConfig

from .conftest import REPO
from .helpers.browser import Page, chromium, served
from .helpers.joint_models import CLASSES, make
from .helpers.onnx import STUDENTS

WEB = REPO / "docs" / "web"
WRITTEN = {"runtime", "model"}  # by get_files.py, not committed
SOURCES = sorted(path for path in WEB.iterdir() if path.suffix in (".html", ".js", ".css"))
TOLERANCE = 1e-3  # of the page's numbers to Python's


def get_files():
    return runpy.run_path(str(WEB / "get_files.py"), run_name="get_files")


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.name)
def test_page_takes_nothing_from_elsewhere_and_names_files_that_are_there(path):
    text = path.read_text(encoding="utf-8")
    assert not re.search(r"https?://|//\w+\.\w+/", text)
    names = re.findall(r"""(?:src|href)="(?!data:)([^"]+)"|from '\./([^']+)'|new URL\('([^']+)'""", text)
    for name in filter(None, (part for parts in names for part in parts)):
        assert name.split("/")[0] in WRITTEN or (WEB / name).is_file(), name


def test_every_file_of_the_page_is_small():
    assert [path.name for path in SOURCES if len(path.read_text(encoding="utf-8").splitlines()) > 350] == []


def test_another_release_of_the_runtime_is_refused(tmp_path):
    (tmp_path / "runtime.tgz").write_bytes(b"something else")
    with pytest.raises(FitHubertError, match="expected sha512 .*, found .*; nothing was written"):
        get_files()["unpack_runtime"](tmp_path / "runtime.tgz", tmp_path / "runtime")
    assert not (tmp_path / "runtime").exists()


@pytest.mark.parametrize(
    ("config", "message"),
    [({"classes": None}, "keywords and speakers"), ({"threshold": None}, "threshold"), ({"trim_db": 30.0}, "trim_db")],
)
def test_a_model_that_the_page_cannot_use_is_refused(config, message, tmp_path):
    save_joint(make(**config), tmp_path / "joint.safetensors")
    with pytest.raises(FitHubertError, match=message):
        get_files()["get_model"](tmp_path / "model", str(tmp_path / "joint.safetensors"))
    assert not (tmp_path / "model").exists()


@pytest.mark.slow
def test_model_is_written_with_what_the_page_must_know(tmp_path):
    model = make(FitHubertConfig.from_dict(STUDENTS["no head"]))
    save_joint(model, tmp_path / "small.safetensors")
    get_files()["get_model"](tmp_path, str(tmp_path / "small.safetensors"))
    about = json.loads((tmp_path / "model.json").read_text())
    size = (tmp_path / "joint.onnx").stat().st_size
    assert about == {"name": "small", "bytes": size, "labels": list(CLASSES), "threshold": 0.25}
    waveform = np.random.default_rng(0).normal(0, 0.1, 8000).astype(np.float32)
    found = OnnxFeatures(tmp_path / "joint.onnx").run(waveform)["embedding"]
    expected = model(torch.from_numpy(waveform))["embedding"].numpy()
    np.testing.assert_allclose(found, expected, atol=0.05)  # 8-bit weights


# In the browser


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """The page as a folder somewhere below a static host's root; skipped where get_files.py was not run."""
    if not all((WEB / name).is_dir() for name in WRITTEN):
        pytest.skip("no runtime and model beside the page; run: python docs/web/get_files.py")
    root = tmp_path_factory.mktemp("host")
    shutil.copytree(WEB, root / "some" / "folder")
    with served(root) as address:
        yield f"{address}some/folder/"


@pytest.fixture(scope="module")
def sounds(tmp_path_factory):
    """Recordings of vowels and noise, each as its path: what they hold does not matter, only that it is heard."""
    folder = tmp_path_factory.mktemp("sounds")
    long = voice(4.3)
    formats = {
        "short.wav": (long[:16000], 16000, "PCM_16"),
        "long.wav": (long, 16000, "PCM_16"),
        "float.wav": (long[:12345], 16000, "FLOAT"),
        "24.wav": (np.stack([long[:9000], 0.5 * long[100:9100]], 1), 16000, "PCM_24"),
        "8.wav": (long[:16000], 16000, "PCM_U8"),
        "speech.flac": (long[:16000], 16000, "PCM_16"),
        "telephone.wav": (soxr.resample(long, 16000, 8000), 8000, "PCM_16"),
        "disc.wav": (soxr.resample(long[:32000], 16000, 44100), 44100, "PCM_24"),
        "disc.flac": (soxr.resample(long[:32000], 16000, 44100), 44100, "PCM_24"),
    }
    for name, (samples, rate, subtype) in formats.items():
        soundfile.write(folder / name, samples, rate, subtype)
    return folder


def voice(seconds):
    """(T,) a buzz of changing pitch and loudness, with a little noise."""
    time = np.arange(round(16000 * seconds)) / 16000
    pitch = 120 + 30 * np.sin(2 * np.pi * 0.7 * time)
    phase = 2 * np.pi * np.cumsum(pitch) / 16000
    buzz = sum(np.sin(k * phase) / k**1.3 for k in range(1, 30))
    loudness = np.maximum(0, np.sin(2 * np.pi * 1.1 * time))
    return 0.15 * buzz * loudness + np.random.default_rng(0).normal(0, 1e-3, len(time))


@pytest.fixture(scope="module")
def fake_microphone(tmp_path_factory):
    """A file that the browser plays again and again as its microphone."""
    path = tmp_path_factory.mktemp("microphone") / "fake.wav"
    soundfile.write(path, voice(5), 16000, "PCM_16")
    return path


@pytest.fixture(scope="module")
def page(site, fake_microphone, tmp_path_factory):
    switches = (
        "--use-fake-device-for-media-stream",
        "--use-fake-ui-for-media-stream",
        f"--use-file-for-fake-audio-capture={fake_microphone}",
    )
    with chromium(tmp_path_factory.mktemp("profile"), *switches) as driver:
        yield Page(driver, site)


@pytest.fixture(scope="module")
def python():
    """samples -> Python's answer with the page's model."""
    model = OnnxFeatures(WEB / "model" / "joint.onnx")

    def answer(samples):
        outputs = model.run(np.asarray(samples, np.float32))
        powers = np.exp(outputs["keyword_logits"] - outputs["keyword_logits"].max())
        return outputs | {"probabilities": powers / powers.sum()}

    return answer


def assert_same(found, expected):
    for key in ("probabilities", "embedding"):
        np.testing.assert_allclose(found[key], expected[key], atol=TOLERANCE)
    layers = np.reshape(found["layers"], found["shape"])
    np.testing.assert_allclose(layers, expected["hidden_states"], atol=TOLERANCE)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["short.wav", "long.wav", "float.wav", "24.wav", "8.wav", "speech.flac"])
def test_numbers_at_16_khz_are_pythons(page, python, sounds, name):
    assert page.open("a", sounds / name)[0] == "ready"
    found, samples = page.recording("a"), load_any_waveform(sounds / name).numpy()
    exact = 0 if name.endswith(".wav") else 1e-4  # Chromium divides a FLAC's numbers by 32,767
    np.testing.assert_allclose(found["samples"], samples, atol=max(exact, 1e-7))
    assert_same(found, python(samples))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["telephone.wav", "disc.wav", "disc.flac"])
def test_other_rates_are_resampled_as_in_python(page, python, sounds, name):
    assert page.open("b", sounds / name)[0] == "ready"
    found, samples = page.recording("b"), load_any_waveform(sounds / name).numpy()
    assert len(found["samples"]) == len(samples)
    np.testing.assert_allclose(found["samples"], samples, atol=2e-3)
    assert_same(found, python(found["samples"]))
    assert python(samples)["embedding"] @ found["embedding"] > 0.999
    assert f"resampled from {soundfile.info(sounds / name).samplerate:,} Hz" in page.find("#b .about").text


@pytest.mark.slow
def test_spectrogram_is_numpys(page, sounds):
    page.open("a", sounds / "short.wav")
    samples = load_any_waveform(sounds / "short.wav").numpy().astype(np.float64)
    frames = np.lib.stride_tricks.sliding_window_view(samples, 400)[::160]
    hann = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(400) / 400)
    power = np.abs(np.fft.rfft(frames * hann, 512)) ** 2
    np.testing.assert_allclose(page.recording("a")["spectrum"], (10 * np.log10(power + 1e-10)).ravel(), atol=TOLERANCE)


@pytest.mark.slow
def test_likeness_of_two_voices_is_pythons(page, python, sounds):
    for slot, name in (("a", "short.wav"), ("b", "8.wav")):
        page.open(slot, sounds / name)
    first, second = (python(load_any_waveform(sounds / name).numpy())["embedding"] for name in ("short.wav", "8.wav"))
    shown = float(page.find("#likeness strong").text)
    assert shown == pytest.approx(float(first @ second), abs=TOLERANCE)
    assert "the same voice" in page.find("#likeness p").text


@pytest.mark.slow
def test_words_of_a_longer_recording_are_pythons_of_its_windows(page, python, real_data, tmp_path):
    clips = sorted((real_data / "speech_commands" / "test").glob("[!_]*/*.wav"))[:8]
    samples = np.concatenate([load_any_waveform(clip).numpy() for clip in clips])
    soundfile.write(tmp_path / "words.wav", samples, 16000, "PCM_16")
    page.open("b", tmp_path / "words.wav")
    labels, sure = json.loads((WEB / "model" / "model.json").read_text())["labels"], 0.7
    expected = {}
    for start in range(0, len(samples) - 8000, 8000):
        odds = python(samples[start : start + 16000])["probabilities"]
        if odds.max() > sure + TOLERANCE and not labels[odds.argmax()].startswith("_"):
            expected[start / 16000] = (labels[odds.argmax()], float(odds.max()))
    words = page.recording("b")["words"]
    found = {word["start"]: (word["label"], word["probability"]) for word in words}
    assert found and found.keys() <= expected.keys()  # of neighbours with one label it shows the surest
    for start, (label, probability) in found.items():
        assert label == expected[start][0] and probability == pytest.approx(expected[start][1], abs=TOLERANCE)
    for start, (label, probability) in expected.items():
        near = [word for word in words if word["start"] - 2 <= start <= word["end"] + 1]
        assert any(word["label"] == label and word["probability"] > probability - TOLERANCE for word in near), start


@pytest.mark.slow
def test_microphone_is_heard_as_python_hears_its_samples(page, python):
    page.find("#a .record").click()
    page.until(lambda: re.search(r"\((?:[2-9]|\d\d)\.\d s\)", page.find("#a .record").text))
    page.find("#a .record").click()
    page.until(lambda: page.find("#a .record").text == "Record")
    assert page.wait()[0] == "ready" and page.find("#a .about").text.startswith("microphone: ")
    found = page.recording("a")
    assert len(found["samples"]) > 24000 and np.std(found["samples"]) > 0.01
    assert_same(found, python(found["samples"]))


@pytest.mark.slow
def test_what_is_no_recording_is_said_in_a_line(page, sounds, tmp_path):
    (tmp_path / "notes.wav").write_text("no audio")
    kind, line = page.open("a", tmp_path / "notes.wav")
    assert kind == "problem" and line.startswith("notes.wav is no audio file that this browser reads; choose")
    data = (sounds / "short.wav").read_bytes()
    (tmp_path / "cut.wav").write_bytes(data[:20000])
    assert page.open("a", tmp_path / "cut.wav")[1] == (
        f"The WAV file ends {len(data) - 20000} bytes before the end that it promises; copy it again."
    )
    soundfile.write(tmp_path / "empty.wav", np.zeros(0), 16000)
    assert page.open("a", tmp_path / "empty.wav")[1] == "empty.wav holds no samples; choose another recording."
    soundfile.write(tmp_path / "nan.wav", np.array([0.1, np.nan]), 16000, "FLOAT")
    assert "holds NaN" in page.open("a", tmp_path / "nan.wav")[1]
    assert page.open("a", sounds / "short.wav")[0] == "ready"  # and it goes on


@pytest.mark.slow
def test_shortest_recordings_have_an_answer(page, python, tmp_path):
    for length in (1, 399):
        samples = np.full(length, 0.1)
        soundfile.write(tmp_path / f"{length}.wav", samples, 16000, "FLOAT")
        assert page.open("a", tmp_path / f"{length}.wav")[0] == "ready"
        assert_same(page.recording("a"), python(samples))


@pytest.mark.slow
def test_browser_lets_the_page_send_nothing(page):
    refused = page.run(
        """
        const violation = new Promise((resolve) => document.addEventListener('securitypolicyviolation', resolve));
        fetch('http://127.0.0.2:9/').catch(() => null);
        return (await violation).effectiveDirective;
        """
    )
    assert refused == "connect-src"


@pytest.mark.slow
def test_page_fits_a_phone(page, sounds):
    page.open("b", sounds / "long.wav")
    size = page.driver.get_window_size()
    try:
        page.driver.execute_cdp_cmd(
            "Emulation.setDeviceMetricsOverride", {"width": 360, "height": 740, "deviceScaleFactor": 2, "mobile": True}
        )
        widths = page.run("return [document.documentElement.scrollWidth, innerWidth]")
    finally:
        page.driver.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
        page.driver.set_window_size(size["width"], size["height"])
    assert widths == [360, 360]


@pytest.fixture
def without_microphone(tmp_path):
    with chromium(tmp_path / "profile", "--use-fake-ui-for-media-stream") as driver:
        yield driver


@pytest.mark.slow
def test_missing_microphone_model_and_runtime_are_said_in_a_line(site, without_microphone, tmp_path):
    page = Page(without_microphone, site)
    page.find("#a .record").click()
    page.until(lambda: page.status[0] == "problem")
    assert page.status[1] == "No microphone was found; connect one, or choose a file."

    folder = tmp_path / "site"
    shutil.copytree(WEB, folder)
    for removed, what in (
        ("model", r"The model is missing \(model/model.json\)"),
        ("runtime", "onnxruntime-web is missing"),
    ):
        shutil.rmtree(folder / removed)
        with served(folder) as address:
            kind, line = Page(without_microphone, address).status
        assert kind == "problem"
        assert re.fullmatch(what + r'; run "python docs/web/get_files.py" and load the page again\.', line), line

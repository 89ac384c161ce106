"""Frames of a stream beside those of the whole utterance."""

import numpy as np
import pytest
import torch

from fithubert_upstream.errors import FitHubertError
from fithubert_upstream.export import onnx as export_module
from fithubert_upstream.export.numpy_features import OnnxFeatures
from fithubert_upstream.models.config import FitHubertConfig
from fithubert_upstream.models.fithubert import FitHubert
from fithubert_upstream.streaming.encoder import KEYS, StreamingEncoder, load_features
from fithubert_upstream.streaming.tensors import TensorFeatures

from ..helpers.onnx import make_student, trace_once
from ..helpers.tiny import RELATIVES, SMALL, STUDENT

PAIRS = FitHubert(SMALL).eval()  # frames of 40 ms inside
ALL_HEADS = FitHubert(FitHubertConfig.from_dict(STUDENT)).eval()


def wave(samples: int) -> np.ndarray:
    return np.random.default_rng(0).normal(0, 0.1, samples).astype(np.float32)


def stream(encoder: StreamingEncoder, samples: np.ndarray, size: int) -> np.ndarray:
    parts = [encoder.push(samples[start : start + size]) for start in range(0, len(samples), size)]
    return np.concatenate([*parts, encoder.finish()], axis=-2)


@pytest.mark.parametrize(
    "model", [PAIRS, ALL_HEADS, *(FitHubert(FitHubertConfig.from_dict(c)).eval() for c in RELATIVES.values())]
)
@pytest.mark.parametrize("samples", [1, 399, 400, 719, 720, 1040, 9999])
def test_what_fits_into_a_window_is_equal(model, samples):
    features = load_features(model)
    whole = features(wave(samples))
    for key in whole:
        found = stream(StreamingEncoder(features, look_ahead=2, feature=key), wave(samples), 997)
        np.testing.assert_allclose(found, whole[key], atol=1e-6)


@pytest.mark.parametrize("size", [1, 320, 5000, 1 << 20])
@pytest.mark.parametrize(("step", "left", "ahead"), [(0.04, 0, 0), (0.2, 0.32, 0.12), (0.11, 0.5, 0.01)])
def test_each_frame_comes_once_however_samples_are_pushed(size, step, left, ahead):
    """Frame t is the one of the window it is from, counted from the stream's beginning."""
    asked = []

    def places(samples):
        asked.append(len(samples))
        frames = max(1, (len(samples) - 400) // 320 + 1)
        return {"last_hidden_state": samples[: 320 * frames : 320, None]}

    samples = np.arange(7 * 16000 + 123, dtype=np.float32) if size > 1 else np.arange(9000, dtype=np.float32)
    encoder = StreamingEncoder(places, look_ahead=ahead, left=left, step=step)
    found = stream(encoder, samples, size)
    assert len(found) == (len(samples) - 400) // 320 + 1
    np.testing.assert_array_equal(found[:, 0], 320 * np.arange(len(found)))
    widest = (encoder.step + encoder.left + encoder.ahead) * 320 + 400 + 640
    assert max(asked) <= widest


def test_memory_and_work_do_not_grow_with_the_stream():
    asked = []

    def count(samples):
        asked.append(len(samples))
        return {"last_hidden_state": np.zeros(((len(samples) - 400) // 320 + 1, 1), np.float32)}

    encoder = StreamingEncoder(count, look_ahead=0.2, left=1, step=0.2)
    kept = []
    for _ in range(200):
        encoder.push(wave(3200))
        kept.append(len(encoder.buffer))
    assert max(kept) == max(kept[:20]) and max(asked) == max(asked[:20]) and len(asked) <= 201


def test_the_frame_waits_for_its_look_ahead_and_no_longer():
    encoder = StreamingEncoder(PAIRS, look_ahead=0.2, step=0.2)
    needed = round(encoder.latency * 16000)
    assert needed == 19 * 320 + 400  # 10 frames of the step, 10 behind them
    assert encoder.push(wave(needed - 1)).shape == (0, SMALL.head_dim)
    assert encoder.push(wave(1)).shape == (10, SMALL.head_dim)


def test_the_error_falls_with_the_look_ahead(real_speech):
    """Early frames differ more: the norm's statistics are those of what was heard."""
    features, samples = load_features("fithubert_mini"), real_speech(6).numpy()
    whole = features(samples)["last_hidden_state"]
    found = [stream(StreamingEncoder(features, ahead, left=6, step=0.6), samples, 3200) for ahead in (0, 0.4, 2)]
    errors = [np.linalg.norm(frames - whole) for frames in found]
    assert errors[0] > errors[1] > errors[2]
    late, expected = found[2][200:], whole[200:]
    cosines = (late * expected).sum(1) / np.linalg.norm(late, axis=1) / np.linalg.norm(expected, axis=1)
    assert cosines.mean() > 0.9


def test_a_stream_after_another():
    encoder = StreamingEncoder(PAIRS)
    first, second = stream(encoder, wave(20000), 1600), stream(encoder, wave(20000), 1600)
    np.testing.assert_array_equal(first, second)


@pytest.mark.slow
def test_an_onnx_file(tmp_path, monkeypatch):
    import onnx

    student = make_student("prediction heads")
    monkeypatch.setattr(export_module, "trace", lambda model: onnx.load_from_string(trace_once(model)))
    export_module.export(student, tmp_path / "s.onnx")
    for key in KEYS:
        found, expected = (
            stream(StreamingEncoder(model, look_ahead=0.2, left=0.4, feature=key), wave(30000), 1600)
            for model in (tmp_path / "s.onnx", student)
        )
        assert found.dtype == np.float32
        np.testing.assert_allclose(found, expected, atol=1e-4)
    assert isinstance(load_features(tmp_path / "s.onnx"), OnnxFeatures)


def test_the_keys_are_those_of_the_upstream():
    with torch.inference_mode():
        features = TensorFeatures(ALL_HEADS)(wave(16000))
    heads, layers = len(ALL_HEADS.config.head_layers), ALL_HEADS.config.num_layers
    assert features["hidden_states"].shape == (layers, 49, ALL_HEADS.config.embed_dim)
    assert features["projected_states"].shape[:2] == (heads, 49)
    np.testing.assert_array_equal(features["projected_states"][-1], features["last_hidden_state"])


def test_errors():
    for options, words in (
        ({"feature": "hidden"}, "a feature of last_hidden_state"),
        ({"look_ahead": -1}, "look_ahead of at least 0"),
        ({"left": float("nan")}, "left of at least 0"),
        ({"step": 0}, "a step of more than 0"),
        ({"model": 3}, "expected a name, a path"),
        ({"model": "no_such_model"}, "no such model"),
        ({"model": "no.onnx"}, "found nothing"),
    ):
        with pytest.raises(FitHubertError, match=words):
            StreamingEncoder(**{"model": PAIRS} | options)
    encoder = StreamingEncoder(PAIRS)
    with pytest.raises(FitHubertError, match="found none"):
        encoder.finish()
    for samples, words in (
        (np.zeros((1, 400), np.float32), "1-D"),
        (np.zeros(0, np.float32), "at least one sample"),
        (np.zeros(400, np.int16), "divide by 32768"),
        (np.full(400, np.nan, np.float32), "NaN"),
        ([0.0] * 400, "found list"),
    ):
        with pytest.raises(FitHubertError, match=words):
            encoder.push(samples)

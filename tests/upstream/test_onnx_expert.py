"""The upstream on onnxruntime beside the student's own."""

import copy
import io
import os
import pickle
import shutil
import subprocess
import sys

import numpy as np
import onnx
import pytest
import soundfile
import torch
from s3prl.upstream.interfaces import Featurizer

from fithubert_upstream.errors import FitHubertError
from fithubert_upstream.export import onnx as export_module
from fithubert_upstream.export.onnx import export
from fithubert_upstream.upstream.expert import UpstreamExpert
from fithubert_upstream.upstream.hubconf import fithubert_local
from fithubert_upstream.upstream.onnx_expert import OnnxExpert

from ..conftest import REPO
from ..helpers.onnx import make_student, trace_once, upstream_of

pytestmark = pytest.mark.slow  # an ONNX file takes seconds to make

KIND = "a head for each layer"
KEYS = ["last_hidden_state", "hidden_states", "projected_states"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("onnx")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(export_module, "trace", lambda model: onnx.load_from_string(trace_once(model)))
        export(make_student(KIND), folder / "student.onnx")
        export(make_student(KIND), folder / "int8.onnx", int8=True)
    return folder


@pytest.fixture(scope="module")
def expected(folder) -> UpstreamExpert:
    return upstream_of(KIND, folder)


@pytest.fixture
def upstream(folder):
    return OnnxExpert(folder / "student.onnx")


def test_it_gives_what_the_student_gives(upstream, expected):
    wavs = [torch.randn(n) for n in (16000, 1, 9000, 720)]
    with torch.no_grad():
        ours, theirs = upstream(wavs), expected(wavs)
    assert set(ours) == set(KEYS) == set(theirs) - {"hidden_states_40ms"}
    for key in KEYS:
        assert isinstance(ours[key], list) == isinstance(theirs[key], list)
        torch.testing.assert_close(ours[key], theirs[key], atol=1e-4, rtol=0)
        assert upstream.get_downsample_rates(key) == expected.get_downsample_rates(key) == 320
    assert upstream.config == expected.model.config


def test_copies_and_pickles_work_without_the_file(folder, tmp_path):
    """A session cannot be copied: deepcopy and pickle failed."""
    file = shutil.copy(folder / "student.onnx", tmp_path / "student.onnx")
    upstream = OnnxExpert(file)
    os.unlink(file)
    wavs = [torch.randn(4000)]
    parent = io.BytesIO()
    torch.save(torch.nn.Sequential(upstream), parent)
    parent.seek(0)
    twins = [copy.deepcopy(upstream), pickle.loads(pickle.dumps(upstream)), torch.load(parent, weights_only=False)[0]]
    for twin in [*twins, copy.deepcopy(twins[0])]:
        assert torch.equal(twin(wavs)["last_hidden_state"], upstream(wavs)["last_hidden_state"])
        assert twin.extra_repr() == upstream.extra_repr() and not twin.training


@pytest.mark.parametrize("name", ["student.onnx", "int8.onnx"])
def test_a_batch_changes_no_bit(folder, name):
    upstream = OnnxExpert(folder / name)
    wavs = [torch.randn(n) for n in (16000, 1, 5000)]
    together = upstream(wavs)["last_hidden_state"]
    for row, wav in zip(together, wavs, strict=True):
        alone = upstream([wav])["last_hidden_state"][0]
        assert torch.equal(row[: len(alone)], alone) and not row[len(alone) :].any()
    assert upstream.utterance_wise


@pytest.mark.parametrize("key", KEYS)
def test_s3prls_featurizer_takes_every_key(upstream, key):
    featurizer = Featurizer(upstream, key, upstream_device="cpu")
    wavs = [torch.randn(n) for n in (16000, 800)]
    features = featurizer(wavs, upstream(wavs))
    assert [len(feature) for feature in features] == [49, 2]
    assert all(torch.isfinite(feature).all() for feature in features)


def test_files_differ_in_what_the_feature_cache_asks(folder, upstream):
    assert upstream.extra_repr() == OnnxExpert(folder / "student.onnx").extra_repr()
    assert upstream.extra_repr() != OnnxExpert(folder / "int8.onnx").extra_repr()


def test_it_cannot_be_trained(upstream):
    upstream([torch.randn(800)])  # fresh from the file it is in eval mode
    upstream.train()
    with pytest.raises(FitHubertError, match="cannot be trained; fine-tune"):
        upstream([torch.randn(800)])
    with torch.no_grad():
        upstream([torch.randn(800)])


def test_bad_waveforms(upstream):
    for wavs, word in [([], "empty list"), ([torch.zeros(0)], "one sample"), ([torch.tensor([np.nan])], "NaN")]:
        with pytest.raises(FitHubertError, match=word):
            upstream(wavs)


def test_bad_files(folder, tmp_path, monkeypatch):
    whole = (folder / "student.onnx").read_bytes()
    (tmp_path / "cut.onnx").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "text.onnx").write_text("hello")
    model = onnx.load_from_string(whole)
    del model.metadata_props[:]
    onnx.save(model, tmp_path / "plain.onnx")
    for name, words in [
        ("no.onnx", "found nothing"),
        ("cut.onnx", "damaged file or another format"),
        ("text.onnx", "damaged file or another format"),
        ("plain.onnx", "no config in its metadata"),
    ]:
        with pytest.raises(FitHubertError, match=words) as caught:
            OnnxExpert(tmp_path / name)
        assert name in str(caught.value) and "\n" not in str(caught.value)
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(FitHubertError, match="student.onnx needs onnxruntime; pip install"):
        OnnxExpert(folder / "student.onnx")


def test_the_example_needs_no_torch(folder, tmp_path):
    wav = tmp_path / "speech.wav"
    soundfile.write(wav, np.random.default_rng(0).uniform(-0.5, 0.5, 16000), 16000)
    script = REPO / "examples" / "onnx" / "features.py"
    code = f"import runpy, sys; runpy.run_path({str(script)!r}); print('torch' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code, str(folder / "student.onnx"), str(wav)],
        check=True,
        capture_output=True,
        text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )
    assert done.stdout.splitlines() == ["(1, 49, 24) features, 49 frames, from 16000 Hz", "False"]


def test_what_an_onnx_file_has_settled_is_refused(folder):
    assert isinstance(fithubert_local(str(folder / "student.onnx"), precision=None, compile=False), OnnxExpert)
    with pytest.raises(FitHubertError, match="precision and chunk_seconds cannot be chosen: export fixes them"):
        fithubert_local(folder / "student.onnx", precision="bf16", chunk_seconds=30)

import json
import pickle
from io import BytesIO

import numpy as np
import pytest
import soundfile

from fithubert_upstream import FeatureMapper
from fithubert_upstream.cli import main as cli
from fithubert_upstream.errors import FitHubertError
from fithubert_upstream.extract import mapper as mapper_module
from fithubert_upstream.extract.mapper import speech_of

from .conftest import Sums, sums_of

datasets = pytest.importorskip("datasets")


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "hf")


@pytest.fixture
def sums(monkeypatch):
    encoder = Sums(None)
    monkeypatch.setattr(mapper_module, "open_encoder", lambda *_: encoder)
    return encoder


def wav_bytes(samples, rate=16000):
    file = BytesIO()
    soundfile.write(file, samples, rate, format="WAV", subtype="FLOAT")
    return file.getvalue()


class Decoder:
    """As torchcodec's, of which `datasets` makes one for each row."""

    def __init__(self, samples, rate):
        import torch

        self.data, self.sample_rate = torch.from_numpy(samples), rate  # (C, T)

    def get_all_samples(self):
        return self


def test_audio_in_every_form_that_datasets_gives(tmp_path):
    noise = np.random.default_rng(0).uniform(-0.5, 0.5, 1600).astype(np.float32)
    soundfile.write(tmp_path / "noise.wav", noise, 16000, subtype="FLOAT")
    for value in (
        str(tmp_path / "noise.wav"),
        {"path": str(tmp_path / "noise.wav"), "bytes": None},
        {"path": "elsewhere.wav", "bytes": wav_bytes(noise)},
        {"array": noise, "sampling_rate": 16000, "path": None},
        {"array": np.stack([noise, noise]), "sampling_rate": 16000},
        Decoder(np.stack([noise, noise]), 16000),
    ):
        np.testing.assert_allclose(speech_of(value), noise, atol=1e-7)
    assert len(speech_of({"array": noise, "sampling_rate": 8000})) == 3200


@pytest.mark.parametrize(
    "value", [3, {}, {"array": [], "sampling_rate": 16000}, {"array": [np.nan], "sampling_rate": 16000}, "no.wav"]
)
def test_what_is_no_audio_is_told(value):
    with pytest.raises(FitHubertError, match="expected"):
        speech_of(value)


def test_map_adds_the_column(folder, sums):
    paths = [str(path) for path in sorted(folder.rglob("*.flac"))]
    given = datasets.Dataset.from_dict({"audio": paths, "number": list(range(8))})
    found = given.map(FeatureMapper("fithubert_mini"), batched=True, batch_size=3).with_format("numpy")
    assert found.column_names == ["audio", "number", "features"]
    for row, path in zip(found, paths, strict=True):
        np.testing.assert_allclose(row["features"], sums_of(speech_of(path)), rtol=1e-6)
    one = given.map(FeatureMapper("fithubert_mini", features="sums")).with_format("numpy")
    np.testing.assert_allclose(one[3]["sums"], found[3]["features"])


def test_another_upstream_is_another_fingerprint(tmp_path):
    from datasets.fingerprint import Hasher

    paths = [tmp_path / "a.safetensors", tmp_path / "b.safetensors"]
    for number, path in enumerate(paths):
        path.write_bytes(bytes([number]))
    mappers = [
        *(FeatureMapper(str(path)) for path in paths),
        *(FeatureMapper("fithubert_mini", **options) for options in ({}, {"layer": 2}, {"pool": "mean"})),
    ]
    assert len({Hasher.hash(mapper) for mapper in mappers}) == 5
    paths[0].write_bytes(b"other weights")
    assert Hasher.hash(FeatureMapper(str(paths[0]))) != Hasher.hash(mappers[0])


def test_a_mapper_travels_without_its_model(sums):
    mapper = FeatureMapper("fithubert_mini")
    before = pickle.dumps(mapper)
    assert mapper.encoder is sums
    assert pickle.dumps(mapper) == before


def test_a_missing_column_is_told(sums):
    with pytest.raises(FitHubertError, match="expected a column 'audio' with audio, found speech"):
        FeatureMapper("fithubert_mini")({"speech": []})


def test_a_folder_comes_in_and_goes_out(folder, tmp_path, sums, capsys):
    rows = [wav_bytes(soundfile.read(path)[0]) for path in sorted(folder.rglob("*.flac"))[:3]]
    audio = [{"bytes": row, "path": f"{n}.wav"} for n, row in enumerate([rows[0], b"no audio", *rows[1:]])]
    given = datasets.Dataset.from_dict({"audio": audio, "text": list("abcd")}).cast_column("audio", datasets.Audio())
    given.save_to_disk(str(tmp_path / "in"))
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "in").iterdir()}
    words = ["extract", str(tmp_path / "in"), "-u", "fithubert_mini", "-o", str(tmp_path / "out")]
    assert cli(words) == 2 and "give --format hf" in capsys.readouterr().err
    assert cli([*words, "--format", "hf"]) == 2
    assert "1 of 4 rows could not be read" in capsys.readouterr().err
    assert (tmp_path / "out" / "bad.tsv").read_text().splitlines()[1].startswith("1\t1.wav\t")
    found = datasets.load_from_disk(str(tmp_path / "out"))
    assert found.features["audio"] == datasets.Audio() and found["text"][:] == list("abcd")
    features = found.remove_columns("audio").with_format("numpy")["features"][:]
    assert features[1] is None
    for value, row in zip([features[0], *features[2:]], rows, strict=True):
        np.testing.assert_allclose(np.stack(value), sums_of(speech_of({"bytes": row})), rtol=1e-5)
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "in").iterdir()} == before
    assert not [path.name for path in tmp_path.iterdir() if path.name.startswith(".")]
    assert cli([*words, "--format", "hf"]) == 2
    assert "expected a folder that is new or empty" in capsys.readouterr().err


def test_a_dataset_without_audio_is_told(tmp_path, capsys):
    datasets.Dataset.from_dict({"text": ["a"]}).save_to_disk(str(tmp_path / "in"))
    assert json.loads((tmp_path / "in" / "state.json").read_text())
    words = ["extract", str(tmp_path / "in"), "-u", "fithubert_mini", "-o", str(tmp_path / "out"), "--format", "hf"]
    assert cli(words) == 2
    assert "expected a column of audio, found text" in capsys.readouterr().err

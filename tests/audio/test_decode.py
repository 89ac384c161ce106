import numpy as np
import pytest
import soundfile

from fithubert_upstream.audio.decode import BLOCK, header, measure, read_audio
from fithubert_upstream.audio.scan import count_milliseconds, count_samples_16k
from fithubert_upstream.audio.sox import apply_effects_file
from fithubert_upstream.audio.waveforms import load_any_waveform, load_waveform
from fithubert_upstream.benchmarks.macs import superb_samples
from fithubert_upstream.compat.torchaudio import audio_info, load_audio
from fithubert_upstream.data.sources import header_seconds
from fithubert_upstream.errors import FitHubertError

from ..helpers.audio import noise, without_length

READERS = {
    "read_audio": read_audio,
    "measure": measure,
    "load_waveform": load_waveform,
    "load_any_waveform": load_any_waveform,
    "count_samples_16k": count_samples_16k,
    "count_milliseconds": count_milliseconds,
    "effects": lambda path: apply_effects_file(str(path), [["rate", "16000"]]),
    "torchaudio.load": lambda path: load_audio(str(path)),
}


@pytest.mark.parametrize("samples", [1, 4096, 12345, BLOCK, BLOCK + 3000])
def test_a_flac_without_a_length_is_read_to_its_end(tmp_path, samples):
    whole = read_audio(noise(tmp_path / "a.flac", samples)).samples
    path = without_length(tmp_path / "a.flac")
    assert np.array_equal(read_audio(path).samples, whole) and len(whole) == samples
    assert measure(path) == header(path) == (samples, 16000, 1)
    assert len(load_waveform(path)) == count_samples_16k(path) == audio_info(str(path)).num_frames == samples
    assert header_seconds(path) == samples / 16000
    assert load_audio(str(path))[0].shape == (1, samples)
    assert apply_effects_file(str(path), [["rate", "16000"]])[0].shape == (1, samples)


@pytest.mark.parametrize("length", [0x7FFFFFFF, 0xFFFFFFFF])
def test_a_wav_without_a_length(tmp_path, length):
    path = noise(tmp_path / "a.wav", 5000)
    data = bytearray(path.read_bytes())
    data[4:8] = data[40:44] = length.to_bytes(4, "little")
    path.write_bytes(data)
    assert measure(path)[0] == len(load_waveform(path)) == 5000


@pytest.mark.parametrize("name", ["a.flac", "a.wav", "a.ogg", "a.mp3", "a.opus"])
def test_rubbish_behind_the_audio_does_no_harm(tmp_path, name):
    options = {"format": "OGG", "subtype": "OPUS"} if name == "a.opus" else {}
    path = noise(tmp_path / name, BLOCK + 3000, **options)
    samples = read_audio(path).samples
    path.write_bytes(path.read_bytes() + b"TAG" + bytes(125))
    assert np.array_equal(read_audio(path).samples, samples) and measure(path)[0] == len(samples) == BLOCK + 3000


def broken(tmp_path) -> dict:
    """Name -> (file, what is said of it)"""
    files = {}
    for kind in ("NaN", "infinity"):
        samples = np.zeros(100, np.float32)
        samples[50] = {"NaN": np.nan, "infinity": np.inf}[kind]
        soundfile.write(tmp_path / f"{kind}.wav", samples, 16000, subtype="FLOAT")
        files[kind] = tmp_path / f"{kind}.wav", "found NaN or infinite samples"
    files["empty"] = noise(tmp_path / "empty.wav", 0), "found an empty file"
    files["missing"] = tmp_path / "missing.flac", "expected an audio file, found: "
    (tmp_path / "text.wav").write_text("no audio at all")
    files["text"] = tmp_path / "text.wav", "expected an audio file, found: "
    (tmp_path / "nothing.flac").touch()
    files["nothing"] = tmp_path / "nothing.flac", "expected an audio file, found: "
    for suffix in ("wav", "flac"):
        path = noise(tmp_path / f"cut.{suffix}", BLOCK + 3000)
        path.write_bytes(path.read_bytes()[:60_000])
        files[f"cut {suffix}"] = path, "expected (as much audio|an audio file that decodes)"
    return files


@pytest.mark.parametrize("reader", READERS)
def test_every_reader_names_the_file_and_what_is_wrong(tmp_path, reader):
    for path, said in broken(tmp_path).values():
        with pytest.raises(FitHubertError, match=said) as caught:
            READERS[reader](path)
        assert str(caught.value).startswith(f"{path}: ") and "\n" not in str(caught.value)


def test_a_folder_is_no_file(tmp_path):
    (tmp_path / "a.wav").mkdir()
    with pytest.raises(FitHubertError, match="a.wav: expected an audio file"):
        read_audio(tmp_path / "a.wav")


def test_superbs_profile_names_a_damaged_file(tmp_path):
    chapter = tmp_path / "test-clean" / "1" / "2"
    chapter.mkdir(parents=True)
    for i in range(82 * 31 + 1):
        (chapter / f"1-2-{i:04d}.wav").touch()
    with pytest.raises(FitHubertError, match="1-2-0000.wav: expected an audio file"):
        superb_samples(tmp_path)

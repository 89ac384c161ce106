"""Audio whose header knows no length, or promises more than the file has: a FLAC written to a pipe, then cut short or
damaged, was read up to the damage, without a word, and so were cut Ogg, MP3, RF64 and NIST files; a WAV that was never
closed counted as empty; pieces of such files, lhotse's cuts of them and names that are no text ended in a traceback."""

import json
import os

import numpy as np
import pytest
import soundfile
import torch
from lhotse import Recording
from lhotse.audio import AudioSource
from lhotse.serialization import deserialize_item

from fithubert_upstream.audio.decode import header, measure, read_audio
from fithubert_upstream.audio.scan import count_samples_16k
from fithubert_upstream.audio.sox import apply_effects_file
from fithubert_upstream.audio.waveforms import load_any_waveform
from fithubert_upstream.compat.torchaudio import audio_info, load_audio
from fithubert_upstream.data.cuts import CutsFile, load_cut
from fithubert_upstream.data.sources import AudioFolder
from fithubert_upstream.errors import FitHubertError

from ..helpers.audio import noise, without_length

LENGTH = 70_000


def changed(path, change):
    """The file with its bytes changed."""
    data = bytearray(path.read_bytes())
    path.write_bytes(change(data) or data)
    return path


def zeros_in_the_middle(data):
    data[len(data) // 2 : len(data) // 2 + 200] = bytes(200)


@pytest.mark.parametrize("change", [lambda data: data[: len(data) // 2], zeros_in_the_middle], ids=["cut", "damaged"])
@pytest.mark.parametrize("read", [read_audio, measure, load_any_waveform, count_samples_16k])
def test_a_damaged_flac_without_a_length_is_told(tmp_path, change, read):
    path = changed(without_length(noise(tmp_path / "a.flac", LENGTH)), change)
    with pytest.raises(FitHubertError, match="a.flac: expected (an audio file that decodes to its end|as much audio)"):
        read(path)


@pytest.mark.parametrize("rate", [16_000, 11_025, 4_000, 192_000, 44_101])
@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize("samples", [1, 200, 4096, 4097, LENGTH])
def test_the_length_is_that_of_the_last_frame(tmp_path, samples, channels, rate):
    path = tmp_path / "a.flac"
    soundfile.write(path, np.random.default_rng(0).uniform(-0.5, 0.5, (samples, channels)), rate)
    path.write_bytes(b"ID3\x04\0\0\0\0\x01\x01" + bytes(129) + without_length(path).read_bytes() + b"TAG" + bytes(125))
    assert header(path) == measure(path) == (samples, rate, channels)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("a.ogg", {}),
        ("a.opus", {"format": "OGG", "subtype": "OPUS"}),
        ("a.mp3", {}),
        ("rf64.wav", {"format": "RF64"}),
        ("extensible.wav", {"format": "WAVEX"}),
        ("nist.wav", {"format": "NIST"}),
    ],
)
def test_files_that_were_cut_short_are_told(tmp_path, name, options):
    path = noise(tmp_path / name, LENGTH, **options)
    assert len(read_audio(path).samples) == LENGTH
    changed(path, lambda data: data[: len(data) // 2])
    with pytest.raises(FitHubertError, match=f"{name}: expected as much audio as its header says, found [0-9]+ fewer"):
        read_audio(path)


def test_a_wav_that_was_never_closed_is_read(tmp_path):
    def unclosed(data):
        data[4:8] = data[40:44] = bytes(4)

    whole = read_audio(noise(tmp_path / "a.wav", LENGTH)).samples
    path = changed(tmp_path / "a.wav", unclosed)
    assert np.array_equal(read_audio(path).samples, whole) and header(path) == (LENGTH, 16_000, 1)
    other = noise(tmp_path / "empty.wav", 0)
    changed(other, lambda data: data + b"LIST" + (4).to_bytes(4, "little") + b"INFO")  # a chunk, not samples
    with pytest.raises(FitHubertError, match="empty.wav: expected samples, found an empty file"):
        read_audio(other)


@pytest.mark.skipif(os.name != "posix", reason="names of bytes")
def test_names_that_are_no_text(tmp_path):
    folder = tmp_path / "corpus"
    folder.mkdir()
    path = os.fsdecode(os.path.join(os.fsencode(folder), b"caf\xe9.wav"))
    os.rename(noise(tmp_path / "x.wav", LENGTH), path)
    source = AudioFolder(folder)
    assert len(source.load(0)) == header(path)[0] == audio_info(path).num_frames == LENGTH
    assert apply_effects_file(path, [["rate", "16000"]])[0].shape == load_audio(path)[0].shape == (1, LENGTH)
    with open(path, "wb"), pytest.raises(FitHubertError) as caught:
        load_audio(path)
    assert "caf\\udce9.wav: expected an audio file" in str(caught.value)
    str(FitHubertError(path)).encode("utf-8")


def test_pieces_by_torchaudio(tmp_path):
    path = noise(tmp_path / "a.flac", LENGTH)
    whole = load_audio(path)[0]
    without_length(path)
    assert torch.equal(load_audio(path, frame_offset=100, num_frames=50)[0], whole[:, 100:150])
    assert torch.equal(load_audio(path, frame_offset=LENGTH - 7)[0], whole[:, -7:])
    assert load_audio(path, num_frames=0)[0].shape == load_audio(path, frame_offset=2 * LENGTH)[0].shape == (1, 0)
    integers, _ = load_audio(path, normalize=False)
    assert integers.dtype == torch.int16 and torch.equal(integers / 32768, whole)
    with open(path, "rb") as file:
        assert torch.equal(load_audio(file)[0], whole)
    for call in (lambda: load_audio(tmp_path / "no.wav", frame_offset=1), lambda: audio_info(tmp_path / "no.wav")):
        with pytest.raises(FitHubertError, match="no.wav: expected an audio file, found: no such file"):
            call()


def cut_of(path):
    samples, rate, _ = header(path)
    return Recording(path.stem, [AudioSource("file", [0], str(path))], rate, samples, samples / rate, [0]).to_cut()


def test_cuts_of_lhotse(tmp_path):
    (tmp_path / "corpus").mkdir()
    path = without_length(noise(tmp_path / "corpus" / "a.flac", 32_000))
    cut = cut_of(path)
    assert cut.duration == 2.0 and cut.recording.num_samples == 32_000
    samples = load_any_waveform(path)
    assert torch.equal(load_cut(cut), samples)
    assert torch.equal(load_cut(cut.truncate(offset=0.5, duration=0.25)), samples[8_000:12_000])
    text = cut.to_dict()
    for name, content in (("text.wav", b"no audio"), ("cut.flac", path.read_bytes()[:9_000])):
        (tmp_path / name).write_bytes(content)
        text["recording"]["sources"][0]["source"] = str(tmp_path / name)
        with pytest.raises(FitHubertError, match=f"{name}: expected an audio file") as caught:
            load_cut(deserialize_item(json.loads(json.dumps(text))))
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("duration", [(2**31 - 1) / 16_000, float(2**63) / 16_000, 0.0, float("nan")])
def test_a_manifest_without_a_length_is_told(tmp_path, duration):
    (tmp_path / "corpus").mkdir()
    text = cut_of(noise(tmp_path / "corpus" / "a.wav", 16_000)).to_dict() | {"duration": duration}
    (tmp_path / "cuts.jsonl").write_text(json.dumps(text))
    with pytest.raises(FitHubertError, match="cuts.jsonl: expected a lhotse cut in line 1, found: .*a duration of"):
        CutsFile(tmp_path / "cuts.jsonl")


def test_a_long_day_is_a_length(tmp_path):
    (tmp_path / "corpus").mkdir()
    hours = cut_of(noise(tmp_path / "corpus" / "a.wav", 16_000)).to_dict() | {"duration": 13 * 3600.0}
    (tmp_path / "cuts.jsonl").write_text(json.dumps(hours))
    assert CutsFile(tmp_path / "cuts.jsonl").seconds.tolist() == [13 * 3600.0]

"""What the headers of audio files say of their length, for files that have none and files that were cut short.

libsndfile gives the first no length, and reads the second without a word.

Decodes nothing and imports no torch.
"""

import os
from typing import BinaryIO

UNKNOWN_BYTES = 0x7FFF_F000  # a WAV that was written to a pipe holds a length of this size or more
PAGE = 65_307  # bytes of the largest page of an Ogg


def with_length(file: BinaryIO) -> bytes | None:
    """The bytes of a FLAC or WAV whose header lacks a length, with it filled in.

    A writer to a pipe cannot go back to fill it in, and one that is killed does not. None where there is nothing to
    fill in, or the length cannot be found.
    """
    file.seek(0)
    data = bytearray(file.read())
    begin = _tag(data)
    if data[begin : begin + 4] == b"fLaC":
        samples = _flac_samples(data, begin)
        if samples:  # the 36 bits that end the first 18 bytes of STREAMINFO
            place = begin + 21
            data[place] = data[place] & 0xF0 | samples >> 32
            data[place + 1 : place + 5] = (samples & 0xFFFF_FFFF).to_bytes(4, "big")
            return bytes(data)
    if _is_wav(data[begin : begin + 12]):
        place, length = _data_chunk(file, begin)
        rest = data[place:]
        if length == 0 and rest and not _are_chunks(rest):
            data[place - 4 : place] = (0xFFFF_FFFF).to_bytes(4, "little")
            return bytes(data)
    return None


def missing_bytes(file: BinaryIO) -> int:
    """Bytes of audio that a file's header promises and the file lacks; 0 where the header promises none."""
    size = file.seek(0, os.SEEK_END)
    file.seek(0)
    start = file.read(10)
    begin = _tag(start)
    file.seek(begin)
    start = file.read(4096)
    if _is_wav(start[:12]):
        place, length = _data_chunk(file, begin)
        if start[:4] == b"RF64":
            length = _rf64_length(start)
        return 0 if start[:4] == b"RIFF" and length >= UNKNOWN_BYTES else max(0, place + length - size)
    if start[:7] == b"NIST_1A":
        return max(0, _nist_bytes(start) - size)
    if start[:4] == b"OggS":
        return _cut_page(file, size)
    return _missing_of_mp3(start, size - begin)


def _tag(data: bytes) -> int:
    """Bytes of the ID3v2 tag in front."""
    if data[:3] != b"ID3" or len(data) < 10:
        return 0
    length = 0
    for byte in data[6:10]:
        length = length << 7 | byte & 0x7F
    return 10 + length


# --- WAV --------------------------------------------------------------------------------------------


def _is_wav(start: bytes) -> bool:
    return start[:4] in (b"RIFF", b"RF64") and start[8:12] == b"WAVE"


def _data_chunk(file: BinaryIO, begin: int) -> tuple[int, int]:
    """Where the samples start, and how many bytes of them the header promises; (0, 0) without such a chunk."""
    position = begin + 12
    file.seek(position)
    while len(chunk := file.read(8)) == 8:
        length = int.from_bytes(chunk[4:], "little")
        if chunk[:4] == b"data":
            return position + 8, length
        position += 8 + length + length % 2  # chunks start at even places
        file.seek(position)
    return 0, 0


def _are_chunks(data: bytes) -> bool:
    """Whether these bytes are further chunks of a WAV, and not samples."""
    position = 0
    while position < len(data):
        if len(data) - position < 8 or not all(32 <= byte < 127 for byte in data[position : position + 4]):
            return False
        length = int.from_bytes(data[position + 4 : position + 8], "little")
        position += 8 + length + length % 2
    return position - len(data) in (0, 1)


def _rf64_length(start: bytes) -> int:
    """Of the `data` chunk, as `ds64` says in place of it."""
    place = start.find(b"ds64")
    length = int.from_bytes(start[place + 16 : place + 24], "little") if place >= 0 else 0
    return 0 if length >= 1 << 62 else length  # all ones: not known


# --- NIST Sphere, Ogg and MP3 -----------------------------------------------------------------------


def _nist_bytes(start: bytes) -> int:
    """Of the whole file."""
    fields = [line.split() for line in start[:1024].decode("latin-1").splitlines()]
    header = next((int(field[0]) for field in fields[1:2] if len(field) == 1 and field[0].isdecimal()), 1024)
    number = {f[0]: int(f[2]) for f in fields if len(f) == 3 and f[1] == "-i" and f[2].isdecimal()}
    return header + number.get("sample_count", 0) * number.get("channel_count", 1) * number.get("sample_n_bytes", 0)


def _cut_page(file: BinaryIO, size: int) -> int:
    """Bytes that the last page of an Ogg lacks."""
    file.seek(max(0, size - 2 * PAGE))
    end = file.read()
    page = end[max(0, end.rfind(b"OggS\0")) :]
    segments = page[26] if len(page) > 26 else 0
    whole = 27 + segments + sum(page[27 : 27 + segments])
    return max(0, whole - len(page))


def _missing_of_mp3(start: bytes, size: int) -> int:
    """By the frame that many encoders write first; some count tags and some do not, hence a tolerance."""
    if len(start) < 4 or start[0] != 0xFF or start[1] & 0xE6 != 0xE2:  # of layer III
        return 0
    place = max(start[:200].find(name) for name in (b"Xing", b"Info"))
    flags = int.from_bytes(start[place + 4 : place + 8], "big") if place >= 0 else 0
    if not flags & 2:
        return 0
    place += 12 if flags & 1 else 8
    promised = int.from_bytes(start[place : place + 4], "big")
    return promised - size if promised - size > promised / 100 else 0


# --- FLAC -------------------------------------------------------------------------------------------


def _flac_samples(data: bytes, begin: int) -> int | None:
    """Samples of each channel, as the header of the last frame says; None where there is no frame."""
    block = int.from_bytes(data[begin + 8 : begin + 10], "big")
    position, is_last = begin + 4, False
    while not is_last and position + 4 <= len(data):  # blocks of metadata
        is_last = bool(data[position] & 0x80)
        position += 4 + int.from_bytes(data[position + 1 : position + 4], "big")
    first, frame = data[position : position + 4], len(data)
    while len(first) == 4 and (frame := data.rfind(first[:2], position, frame)) >= 0:
        header = data[frame : frame + 16]
        # rate and bits are those of the first frame
        if len(header) > 6 and header[2] & 0x0F == first[2] & 0x0F and header[3] & 0x0F == first[3] & 0x0F:
            samples = _samples_to_end_of_frame(header, block)
            if samples:
                return samples
    return None


def _samples_to_end_of_frame(header: bytes, block: int) -> int | None:
    """From the start of the stream to the end of the frame; None where this is no frame's header.

    The number of the frame (of its first sample, where frames differ in length) is coded as UTF-8 codes characters.
    """
    code, rate = header[2] >> 4, header[2] & 0x0F
    ones = 8 - (~header[4] & 0xFF).bit_length()  # leading ones: bytes of the number, 0 for one byte
    place = 4 + max(1, ones)
    lengths = {1: 192} | {n: 576 << n - 2 for n in range(2, 6)} | {n: 256 << n - 8 for n in range(8, 16)}
    extra = {6: 1, 7: 2}.get(code, 0)  # bytes of a length that is written out
    end = place + extra + {12: 1, 13: 2, 14: 2}.get(rate, 0)
    if ones in (1, 8) or code == 0 or rate == 15 or len(header) <= end or _crc8(header[:end]) != header[end]:
        return None
    number = header[4] & (0x7F >> ones)
    for byte in header[5:place]:
        number = number << 6 | byte & 0x3F
    length = int.from_bytes(header[place : place + extra], "big") + 1 if extra else lengths[code]
    return (number if header[1] & 1 else number * block) + length


def _crc8(data: bytes) -> int:
    value = 0
    for byte in data:
        value ^= byte
        for _ in range(8):
            value = (value << 1 ^ 0x07 if value & 0x80 else value << 1) & 0xFF
    return value

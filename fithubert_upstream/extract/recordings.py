"""Which recordings features are taken of, and what each is called in the output. Imports no torch."""

import os
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePath
from typing import NamedTuple

from ..audio.walk import is_audio, is_other_audio, printable, walk
from ..errors import FitHubertError

# Recordings are handed out in groups of like size: a batch on a GPU has little padding.
GROUP_BYTES, GROUP_FILES, WINDOW_FILES = 4 << 20, 256, 4096


class Recording(NamedTuple):
    """An audio file.

    Parameters
    ----------
    name : str
        Its path below the folder that was given, with "/" and without its suffix, unless another would have the same.
    path : str
        As it was given, below a folder that was given.
    size, changed : int
        Bytes, and the time of the last change in ns; 0 of a file that is not there.
    """

    name: str
    path: str
    size: int
    changed: int


def find_recordings(audio: Sequence[str | Path]) -> list[Recording]:
    """All audio files among these files and below these folders, each once, in the order of their names.

    Of folders every file is taken whose suffix is one of audio. Names are relative to the folder; where several files
    or folders are given, to the folder that holds all of them.

    Raises
    ------
    FitHubertError
        A file or folder is not there, or a folder holds no audio.
    """
    found: dict[str, str] = {}  # absolute -> as it was given
    roots = []
    for given in map(Path, audio):
        if given.is_dir():
            files = [file for _, inside in walk(given) for file in inside if is_audio(file) or is_other_audio(file)]
            if not files:
                raise FitHubertError(f"{printable(given)}: expected a folder with audio files, found none in it")
            roots.append(os.path.abspath(given if len(audio) == 1 else given.parent))
        elif given.exists():
            files = [given]
            roots.append(os.path.abspath(given.parent))
        else:
            raise FitHubertError(f"{printable(given)}: expected an audio file or a folder of them, found nothing there")
        for file in files:
            found.setdefault(os.path.abspath(file), str(file))
    root = os.path.commonpath(roots)
    below = {absolute: PurePath(os.path.relpath(absolute, root)) for absolute in found}
    stems = Counter(path.with_suffix("") for path in below.values())
    stems.update(set(below.values()))  # "a.wav.flac" beside "a.wav"
    recordings = []
    for absolute, path in found.items():
        relative = below[absolute]
        name = relative.with_suffix("") if stems[relative.with_suffix("")] == 1 else relative
        recordings.append(Recording(name.as_posix(), path, *_stamp(path)))
    return sorted(recordings)


def _stamp(path: str) -> tuple[int, int]:
    try:
        status = os.stat(path)
    except OSError:  # a link to nothing: decoding it will tell
        return 0, 0
    return status.st_size, status.st_mtime_ns


def parse_shard(text: str) -> tuple[int, int]:
    """ "i/n", with 0 <= i < n. Raises FitHubertError for anything else."""
    number, slash, count = text.partition("/")
    if not (slash and number.isdecimal() and count.isdecimal() and int(number) < int(count)):
        raise FitHubertError(f"--shard {text}: expected i/n with i from 0 to n - 1, for example 0/4")
    return int(number), int(count)


def singles(recordings: Sequence[Recording]) -> Iterator[list[Recording]]:
    """Groups of one."""
    return ([recording] for recording in recordings)


def groups(recordings: Sequence[Recording]) -> Iterator[list[Recording]]:
    """Groups of files of like size, which of one format means of like length."""
    for start in range(0, len(recordings), WINDOW_FILES):
        group: list[Recording] = []
        size = 0
        for recording in sorted(recordings[start : start + WINDOW_FILES], key=lambda recording: recording.size):
            if group and (size + recording.size > GROUP_BYTES or len(group) == GROUP_FILES):
                yield group
                group, size = [], 0
            group.append(recording)
            size += recording.size
        if group:
            yield group

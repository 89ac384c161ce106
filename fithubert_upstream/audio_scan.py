"""One number for each of many audio files, worked out in parallel and remembered between runs.

Imports no torch: each process would take 2 s and 200 MB for it.
"""

import hashlib
import json
import logging
import multiprocessing
import os
import signal
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path

import soundfile
from tqdm import tqdm

from .errors import FitHubertError
from .files import cache_folder, write_json

logger = logging.getLogger(__name__)

SAMPLE_RATE = 16_000  # also in lengths.py, which imports torch
AUDIO_SUFFIXES = (".flac", ".wav")
FEW_FILES = 64  # done before a pool has started
CHUNK = 16  # files that a process takes at a time
# Raised whenever a measure gives other numbers for the same file, so that older ones are not taken for them.
MEASURES_VERSION = 1
BLOCK = 1 << 16  # samples
# A WAV that was written to a pipe holds a length of this size or more: nobody knew it yet.
UNKNOWN_LENGTH = 0x7FFF_F000

Measure = Callable[[Path], int]


def scan(
    files: Sequence[Path], measure: Measure, name: str, progress: bool = True, jobs: int | None = None
) -> dict[Path, int | str]:
    """Measure each file, or find why it cannot be.

    The numbers are remembered in `cache_folder()`; a file is measured again when its size or time of
    change differs. What cannot be measured is tried again each time: it may have been the network.

    Parameters
    ----------
    files : sequence of Path
    measure : callable
        A function at the top of a module (other processes look it up by its name) that takes a file
        and gives an int, or raises.
    name : str
        What the progress bar says; there is none when everything is remembered.
    progress : bool
        Show a bar.
    jobs : int, optional
        Processes; by default one for each core. Few files are measured in this one.

    Returns
    -------
    dict
        For each file its number, or one line that names the file and what is wrong with it.
    """
    files = list(dict.fromkeys(files))
    memory = _Memory(files, measure)
    results: dict[Path, int | str] = {file: memory.recall(file) for file in files}
    new = [file for file in files if results[file] is None]
    if not new:
        return results
    jobs = jobs or os.cpu_count() or 1
    found = map(partial(_attempt, measure), new) if jobs == 1 or len(new) < FEW_FILES else _in_pool(measure, new, jobs)
    bar = tqdm(total=len(files), initial=len(files) - len(new), desc=name, unit="file", disable=not progress)
    try:
        with bar:
            for file, value in zip(new, found, strict=True):
                results[file] = value
                if isinstance(value, int):
                    memory.note(file, value)
                bar.update()
    finally:  # an interrupted scan goes on from here the next time
        memory.save()
    return results


def _in_pool(measure: Measure, files: list[Path], jobs: int) -> Iterator[int | str]:
    # spawn: a fork would copy the locks of whatever threads the caller has.
    context = multiprocessing.get_context("spawn")
    jobs = min(jobs, -(-len(files) // CHUNK))
    with ProcessPoolExecutor(jobs, context, initializer=_leave_interrupts) as pool:
        try:
            yield from pool.map(partial(_attempt, measure), files, chunksize=CHUNK)
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def _leave_interrupts() -> None:
    """Ctrl-C is the caller's: a traceback from each process would bury its message."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _attempt(measure: Measure, file: Path) -> int | str:
    try:
        return measure(file)
    except Exception as error:  # whatever a measure raises, the other files are measured
        message = str(error) if isinstance(error, FitHubertError) else f"{type(error).__name__}: {error}"
    return " ".join((message if str(file) in message else f"{file}: {message}").split())


class _Memory:
    """Numbers of earlier scans: a JSON file for each measure and common folder of the files.

    `{"root": FOLDER, "files": {PATH BELOW ROOT: [size, mtime in ns, number]}}`
    """

    def __init__(self, files: list[Path], measure: Measure) -> None:
        folders = {os.path.abspath(folder) for folder in {os.path.dirname(file) for file in files}}
        self.root = os.path.commonpath(folders) if folders else os.sep
        key = f"{measure.__module__}.{measure.__qualname__} {MEASURES_VERSION} {self.root}"
        folder = cache_folder() / "scans"
        self.path = folder / f"{measure.__qualname__}-{hashlib.sha256(key.encode()).hexdigest()[:16]}.json"
        self.stamps: dict[Path, tuple[str, int, int]] = {}
        self.entries: dict[str, list[int]] = {}
        try:
            content = json.loads(self.path.read_bytes())
            if content["root"] == self.root:
                self.entries = dict(content["files"])
        except (OSError, ValueError, TypeError, KeyError):  # none yet, or not one of ours: it is written anew
            pass

    def recall(self, file: Path) -> int | None:
        try:
            status = file.stat()
        except OSError:
            return None  # the measure will tell
        self.stamps[file] = (os.path.abspath(file)[len(self.root) :], status.st_size, status.st_mtime_ns)
        name, *stamp = self.stamps[file]
        match self.entries.get(name):
            case [size, changed, int(value)] if [size, changed] == stamp:
                return value
        return None

    def note(self, file: Path, value: int) -> None:
        if file in self.stamps:
            name, *stamp = self.stamps[file]
            self.entries[name] = [*stamp, int(value)]

    def save(self) -> None:
        try:
            write_json(self.path, {"root": self.root, "files": self.entries}, indent=None)
        except FitHubertError as error:
            logger.warning("audio lengths are not remembered: %s, set FITHUBERT_CACHE", error)


def count_samples(path: Path) -> int:
    """Samples (of each channel) that the whole file decodes to.

    Raises
    ------
    FitHubertError
        It cannot be decoded to its end, is cut short, or holds no sample.
    """
    return _decode(path)[0]


def count_samples_16k(path: Path) -> int:
    """`count_samples` of a file that must be mono and 16 kHz.

    Raises
    ------
    FitHubertError
        As `count_samples`; or it is neither.
    """
    samples, rate, channels = _decode(path)
    if rate != SAMPLE_RATE:
        raise FitHubertError(f"{path}: expected {SAMPLE_RATE} Hz, found {rate} Hz; resample the corpus first")
    if channels != 1:
        raise FitHubertError(f"{path}: expected a mono file, found {channels} channels")
    return samples


def count_milliseconds(path: Path) -> int:
    """Whole milliseconds that the file lasts, at whatever rate.

    Raises
    ------
    FitHubertError
        As `count_samples`.
    """
    samples, rate, _ = _decode(path)
    return 1000 * samples // rate


def _decode(path: Path) -> tuple[int, int, int]:
    """(samples, Hz, channels) of a file, decoded to its end."""
    samples = 0
    try:
        missing = _missing_bytes(path)
        with soundfile.SoundFile(path) as file:
            promised, rate, channels = file.frames, file.samplerate, file.channels
            while block := len(file.read(BLOCK, dtype="int16")):
                samples += block
    except (soundfile.SoundFileError, OSError) as error:
        raise FitHubertError(
            f"{path}: expected an audio file that decodes to its end, found: {error}; copy or unpack it anew"
        ) from error
    if missing or samples < promised:
        found = f"{missing} bytes fewer" if missing else f"{samples} samples of {promised}"
        raise FitHubertError(
            f"{path}: expected as much audio as its header says, found {found}; copy or unpack it anew"
        )
    if samples == 0:
        raise FitHubertError(f"{path}: expected samples, found an empty file")
    return samples, rate, channels


def _missing_bytes(path: Path) -> int:
    """Bytes of audio that a WAV's header promises and the file lacks (libsndfile lets that pass); 0 for other files."""
    with open(path, "rb") as file:
        size = os.fstat(file.fileno()).st_size
        start = file.read(12)
        if start[:4] != b"RIFF" or start[8:] != b"WAVE":
            return 0
        position = 12
        while len(header := file.read(8)) == 8:
            length = int.from_bytes(header[4:], "little")
            position += 8 + length
            if header[:4] == b"data":
                return max(0, position - size) if length < UNKNOWN_LENGTH else 0
            position += length % 2  # chunks start at even places
            file.seek(position)
    return 0

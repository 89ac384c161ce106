"""One number for each of many audio files, worked out in parallel and remembered between runs.

Imports no torch: each process would take 2 s and 200 MB for it.
"""

import hashlib
import json
import logging
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path

from tqdm import tqdm

from ..errors import FitHubertError
from ..files import cache_folder, stamp, write_json
from ..runs.workers import SpawnContext, available_cores, leave_interrupts
from .decode import header, measure, require_16k_mono
from .walk import printable

logger = logging.getLogger(__name__)

FEW_FILES = 64  # done before a pool has started
CHUNK = 16  # files that a process takes at a time
# Raised whenever a measure gives other numbers for the same file, so that older ones are not taken for them.
MEASURES_VERSION = 2

Measure = Callable[[Path], int]


def scan(
    files: Sequence[Path], function: Measure, name: str, progress: bool = True, jobs: int | None = None
) -> dict[Path, int | str]:
    """Measure each file, or find why it cannot be.

    The numbers are remembered in `cache_folder()`; a file is measured again when its `files.stamp`
    differs. What cannot be measured is tried again each time: it may have been the network.

    Parameters
    ----------
    files : sequence of Path
    function : callable
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
    memory = _Memory(files, function)
    results: dict[Path, int | str] = {file: memory.recall(file) for file in files}
    new = [file for file in files if results[file] is None]
    if not new:
        return results
    jobs = jobs or available_cores()
    found = (
        map(partial(_attempt, function), new) if jobs == 1 or len(new) < FEW_FILES else _in_pool(function, new, jobs)
    )
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


def _in_pool(function: Measure, files: list[Path], jobs: int) -> Iterator[int | str]:
    jobs = min(jobs, -(-len(files) // CHUNK))
    with ProcessPoolExecutor(jobs, SpawnContext(), initializer=leave_interrupts) as pool:
        try:
            yield from pool.map(partial(_attempt, function), files, chunksize=CHUNK)
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def _attempt(function: Measure, file: Path) -> int | str:
    try:
        return function(file)
    except Exception as error:  # whatever it raises, the other files are measured
        message = str(error) if isinstance(error, FitHubertError) else f"{type(error).__name__}: {error}"
    return " ".join((message if printable(file) in message else f"{printable(file)}: {message}").split())


class _Memory:
    """Numbers of earlier scans: a JSON file for each measure and common folder of the files.

    `{"root": FOLDER, "files": {PATH BELOW ROOT: [*stamp, number]}}`
    """

    def __init__(self, files: list[Path], function: Measure) -> None:
        folders = {os.path.abspath(folder) for folder in {os.path.dirname(file) for file in files}}
        self.root = os.path.commonpath(folders) if folders else os.sep
        key = f"fithubert_upstream.audio_scan.{function.__qualname__} {MEASURES_VERSION} {self.root}"
        folder = cache_folder() / "scans"
        self.path = folder / f"{function.__qualname__}-{hashlib.sha256(key.encode()).hexdigest()[:16]}.json"
        self.stamps: dict[Path, tuple[str, int, int, int]] = {}
        self.entries: dict[str, list[int]] = {}
        try:
            content = json.loads(self.path.read_bytes())
            if content["root"] == self.root:
                self.entries = dict(content["files"])
        except (OSError, ValueError, TypeError, KeyError):  # none yet, or not one of ours: it is written anew
            pass

    def recall(self, file: Path) -> int | None:
        try:
            self.stamps[file] = (os.path.abspath(file)[len(self.root) :], *stamp(file))
        except OSError:
            return None  # measuring it will tell
        name, *now = self.stamps[file]
        match self.entries.get(name):
            case [*then, int(value)] if then == now:
                return value
        return None

    def note(self, file: Path, value: int) -> None:
        if file in self.stamps:
            name, *now = self.stamps[file]
            self.entries[name] = [*now, int(value)]

    def save(self) -> None:
        try:
            write_json(self.path, {"root": self.root, "files": self.entries}, indent=None)
        except FitHubertError as error:
            logger.warning("audio lengths are not remembered: %s, set FITHUBERT_CACHE", error)


def count_samples(path: Path) -> int:
    """Samples (of each channel) that the whole file decodes to. Raises what `decode.measure` does."""
    return measure(path)[0]


def count_samples_16k(path: Path) -> int:
    """`count_samples` of a file that must be mono and 16 kHz.

    Raises
    ------
    FitHubertError
        As `count_samples`; or it is neither.
    """
    samples, rate, channels = measure(path)
    require_16k_mono(path, rate, channels)
    return samples


def count_milliseconds(path: Path) -> int:
    """Whole milliseconds that the file lasts, at whatever rate. Raises as `count_samples`."""
    samples, rate, _ = measure(path)
    return 1000 * samples // rate


def header_milliseconds(path: Path) -> int:
    """`count_milliseconds` by the header alone. Raises as that, for what it sees."""
    samples, rate, _ = header(path)
    return 1000 * samples // rate


def header_samples_16k(path: Path) -> int:
    """`count_samples_16k` by the header alone, beside a scan that decodes. Raises as that, for what it sees."""
    samples, rate, channels = header(path)
    require_16k_mono(path, rate, channels)
    return samples

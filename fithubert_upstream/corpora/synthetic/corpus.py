"""What the synthetic corpora share: which voice speaks where, and a folder that is complete or not there."""

import json
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import soundfile
from tqdm import tqdm

from ...errors import FitHubertError
from ...files import named, write_text
from ...runs.workers import SpawnContext, available_cores, leave_interrupts
from ..state import DIGEST, FILES, changed, state_of
from .espeak import Voice, all_voices, library_paths

DESCRIPTION = "corpus.json"


@dataclass(frozen=True)
class Piece:
    """A part of a corpus: `write` gets the corpus's folder and adds about `seconds` of audio."""

    seconds: float
    write: Callable[[Path], None]


@dataclass(frozen=True)
class Corpus:
    """What will be written.

    Attributes
    ----------
    parameters : dict
        Layout, version, seed and minutes of each split: equal parameters give equal files.
    speakers : dict
        Split to voices, none of them in two splits.
    pieces : list of Piece
        Any process may write them, in any order.
    """

    parameters: dict
    speakers: dict[str, list[Voice]]
    pieces: list[Piece]


def describe(layout: str, version: int, minutes: dict[str, float], seed: int) -> dict:
    """The parameters of a corpus. Raises FitHubertError for minutes or a seed that make no sense."""
    for split, duration in minutes.items():
        if not 0 < duration < float("inf") or not split or Path(split).name != split:
            raise FitHubertError(f"expected a split's name and minutes > 0, found {split!r}: {duration}")
    if seed < 0:
        raise FitHubertError(f"expected a seed of 0 or more, found {seed}")
    return {"layout": layout, "version": version, "seed": seed, "minutes": dict(minutes)}


def cast_voices(wanted: dict[str, float], seed: int) -> dict[str, list[Voice]]:
    """Voices for each split, none of them in two.

    The splits are served in their order from one shuffled list, so that with tests first and training
    last, a voice that one layout tests is not one that another layout of the same seed trains on.

    Parameters
    ----------
    wanted : dict
        How many each split would like: two are the least, all get fewer where there are not enough.
    seed : int
    """
    voices = all_voices()
    if not 0 < len(wanted) <= len(voices) // 2:
        raise FitHubertError(f"expected 1 to {len(voices) // 2} splits, found {len(wanted)}: change `minutes`")
    share = min(1.0, len(voices) / sum(wanted.values()))
    counts = {split: max(2, round(count * share)) for split, count in wanted.items()}
    while sum(counts.values()) > len(voices):
        counts[max(counts, key=counts.get)] -= 1
    order = iter(np.random.default_rng(seed).permutation(len(voices)))
    return {split: [voices[next(order)] for _ in range(count)] for split, count in counts.items()}


def is_complete(root: Path, parameters: dict) -> bool:
    """Whether this very corpus is at `root`; an error if anything else is, or if its audio or transcripts changed."""
    if not root.exists() or (root.is_dir() and not any(root.iterdir())):
        return False
    advice = "give another folder, or remove this one"
    try:
        description = json.loads((root / DESCRIPTION).read_text(encoding="utf-8"))
        found = {key: description.get(key) for key in parameters}
    except (OSError, ValueError, AttributeError):
        raise FitHubertError(f"{root} holds something other than a synthetic corpus: {advice}") from None
    if found != parameters:
        raise FitHubertError(
            f"{root}: already holds a synthetic corpus with other settings ({found}, now {parameters}); {advice}"
        )
    noted = description.get(FILES)  # not by earlier versions
    if noted and (what := changed(description, {FILES: 0, DIGEST: ""} | state_of({"": root}, progress=False))):
        raise FitHubertError(f"{root}: {what}: {advice}")
    return True


def write_corpus(root: str | Path, corpus: Corpus, jobs: int | None = None, progress: bool = True) -> Path:
    """Write all pieces and add `corpus.json` with the parameters, the voices and the `corpus_state`.

    The corpus appears at `root` when it is complete; a complete one with the same parameters is kept as
    it is. The pieces share nothing, so the files do not depend on `jobs`.

    Parameters
    ----------
    root : path
        A folder that does not exist, is empty, or holds this corpus.
    corpus : Corpus
    jobs : int, optional
        Processes; by default one for each core.
    progress : bool
        Show a bar.

    Raises
    ------
    FitHubertError
        `root` holds something else or cannot be written, `jobs` is below 1, or eSpeak NG is not installed.
    """
    root = Path(root)
    if jobs is not None and jobs < 1:
        raise FitHubertError(f"expected 1 job or more, found {jobs}")
    if is_complete(root, corpus.parameters):
        return root
    library_paths()  # told before anything is written
    root = root.resolve() if root.is_symlink() else root  # the link stays one
    unfinished = root.with_name(root.name + ".partial")
    shutil.rmtree(unfinished, ignore_errors=True)  # of a call that was killed
    try:
        if root.is_dir():
            root.rmdir()  # the empty one, which not every system lets a folder be renamed to
        unfinished.mkdir(parents=True)
    except OSError as error:
        raise FitHubertError(f"{root}: cannot be written ({error.strerror}); give another folder") from error
    try:
        jobs = min(jobs or available_cores(), len(corpus.pieces))
        _write_pieces(corpus.pieces, unfinished, jobs, root.name, progress)
        voices = {split: [asdict(voice) for voice in cast] for split, cast in corpus.speakers.items()}
        state = state_of({"": unfinished}, progress=False)
        description = json.dumps(corpus.parameters | {"speakers": voices} | state, indent=1)
        write_text(unfinished / DESCRIPTION, description + "\n")
        unfinished.rename(root)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
    return root


def _write_pieces(pieces: list[Piece], folder: Path, jobs: int, name: str, progress: bool) -> None:
    total = round(sum(piece.seconds for piece in pieces))
    work = [(piece, folder) for piece in pieces]
    with tqdm(total=total, unit="s", desc=f"Speech for {name}", disable=not progress) as bar, _map(jobs) as map_pieces:
        done = 0.0
        for seconds in map_pieces(_write, work):
            done += seconds
            bar.update(round(done) - bar.n)


@contextmanager
def _map(jobs: int) -> Iterator[Callable]:
    """`map` over so many processes, in any order."""
    if jobs == 1:
        yield map
        return
    with SpawnContext().Pool(jobs, leave_interrupts) as pool:
        yield pool.imap_unordered


def _write(work: tuple[Piece, Path]) -> float:
    piece, folder = work
    try:
        with named(folder):
            piece.write(folder)
    except soundfile.SoundFileError as error:  # which no pool can hand over: it would wait for ever
        raise FitHubertError(f"{folder}: cannot be written ({error}); make room, or give another folder") from None
    return piece.seconds

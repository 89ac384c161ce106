"""The one walk over folders: every job sees the same files of a corpus. Imports no torch.

Links to folders are followed. What file managers, notebooks and archivers leave behind is passed over: names that
begin with a dot (`._x.wav` of a Mac, `.ipynb_checkpoints`) and those of `FOREIGN`. Suffixes may be in capitals, names
may hold dots, spaces and bytes that are no text.
"""

import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from ..errors import FitHubertError

AUDIO_SUFFIXES = (".flac", ".wav", ".ogg", ".opus", ".mp3")
# Audio of other kinds: named, so that nothing is left out in silence.
OTHER_AUDIO_SUFFIXES = (
    *(".3gp", ".aac", ".ac3", ".aif", ".aifc", ".aiff", ".amr", ".ape", ".au", ".caf", ".m4a", ".m4b", ".mka", ".mov"),
    *(".mp1", ".mp2", ".mp4", ".mpga", ".oga", ".pcm", ".ra", ".raw", ".rf64", ".shn", ".snd", ".sph", ".spx", ".tta"),
    *(".voc", ".w64", ".wave", ".webm", ".wma", ".wv"),
)
FOREIGN = {
    *("thumbs.db", "desktop.ini", "@eadir", "__macosx", "lost+found", "$recycle.bin", "#recycle", "@recycle"),
    *("system volume information", "__pycache__"),
}
AUDIO = "/".join(AUDIO_SUFFIXES)


def is_foreign(name: str) -> bool:
    """Whether a file or folder of this name is no part of a corpus."""
    return name.startswith(".") or name.lower() in FOREIGN


def is_audio(path: Path) -> bool:
    return path.suffix.lower() in AUDIO_SUFFIXES


def is_other_audio(path: Path) -> bool:
    return path.suffix.lower() in OTHER_AUDIO_SUFFIXES


def folders_in(folder: str | Path) -> list[Path]:
    """The sub-folders of a folder, sorted. Raises FitHubertError when it cannot be read, or holds a link to nothing."""
    return _entries(Path(folder))[0]


def files_in(folder: str | Path) -> list[Path]:
    """The files of a folder, sorted; audio that is a link to nothing is one of them. Raises as `folders_in`."""
    return _entries(Path(folder))[1]


def audio_in(folder: str | Path) -> list[Path]:
    """The audio files of a folder, sorted. Raises as `folders_in`."""
    return [file for file in files_in(folder) if is_audio(file)]


def walk(root: str | Path) -> Iterator[tuple[Path, list[Path]]]:
    """Each folder from `root` downwards, sorted, and the files in it.

    Raises
    ------
    FitHubertError
        A folder cannot be read, or a link leads back to a folder above it.
    """

    def visit(folder: Path, above: tuple[tuple[int, int], ...]) -> Iterator[tuple[Path, list[Path]]]:
        status = os.stat(folder)
        here = (status.st_dev, status.st_ino)
        if here in above:
            raise FitHubertError(
                f"{folder}: expected no loop of links, found one to a folder above it; remove the link"
            )
        subfolders, files = _entries(folder)
        yield folder, files
        for subfolder in subfolders:
            yield from visit(subfolder, (*above, here))

    root = Path(root)
    if root.is_dir():
        yield from visit(root, ())


def find_audio(root: str | Path, sets: Iterable[str] | None = None) -> list[Path]:
    """All audio files below `root`, or below its sub-folders `sets`, folder by folder, sorted.

    Raises
    ------
    FitHubertError
        A folder is missing, cannot be read or holds no audio, or links lead round in a circle.
    """
    root = Path(root)
    found: list[Path] = []
    for folder in [root / name for name in sets] if sets else [root]:
        if not folder.is_dir():
            there = ", ".join(printable(path.name) for path in folders_in(root)) if root.is_dir() else "no such root"
            raise FitHubertError(
                f"{printable(folder)}: expected a folder of audio, found none (in {root}: {there or 'no folders'})"
            )
        inside = [file for _, files in walk(folder) for file in files]
        audio = sorted(file for file in inside if is_audio(file))
        if not audio:
            other = next((file for file in inside if is_other_audio(file)), None)
            what = f"only others such as {printable(other)}; convert them" if other else "none"
            raise FitHubertError(f"{printable(folder)}: expected {AUDIO} files, found {what}")
        found += audio
    return found


def printable(path: str | Path) -> str:
    """A name for a message; bytes that are no text are escaped."""
    return str(path).encode("utf-8", "backslashreplace").decode()


def other_audio_problems(files: Iterable[Path]) -> list[str]:
    """A line for each file that is audio of a kind that is not read."""
    return [
        f"{printable(file)}: expected {AUDIO}, found {file.suffix}, which is not read; convert it"
        for file in files
        if is_other_audio(file)
    ]


def misplaced_problems(folder: Path, expected: str) -> list[str]:
    """A line for each audio file that lies in a folder itself, which holds folders only."""
    return [
        f"{printable(file)}: expected {expected} only, found audio in {printable(folder)} itself; move it"
        for file in files_in(folder)
        if is_audio(file) or is_other_audio(file)
    ]


def name_problems(files: Iterable[Path], root: Path) -> list[str]:
    """A line for each name below `root` that s3prl could not write into its text files."""
    problems = []
    for file in files:
        try:
            str(file.relative_to(root)).encode("utf-8")
        except UnicodeEncodeError:
            problems.append(f"{printable(file)}: expected a name in UTF-8, found other bytes; rename it")
    return problems


def _entries(folder: Path) -> tuple[list[Path], list[Path]]:
    """(sub-folders, files)"""
    try:
        with os.scandir(folder) as entries:
            named = sorted((entry.name, _is_folder(entry)) for entry in entries if not is_foreign(entry.name))
    except OSError as error:
        raise FitHubertError(f"{printable(folder)}: expected a folder to read, found: {error.strerror}") from error
    return [folder / name for name, is_dir in named if is_dir], [folder / name for name, is_dir in named if not is_dir]


def _is_folder(entry: os.DirEntry) -> bool:
    if entry.is_symlink() and not os.path.exists(entry.path):
        if not is_audio(Path(entry.name)):  # it may have been a folder
            raise FitHubertError(
                f"{printable(entry.path)}: expected a link to a folder or file, found one to nothing; correct or "
                "remove it"
            )
        return False  # decoding it will tell
    return entry.is_dir()

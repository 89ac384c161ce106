"""What a run remembers of the files it was begun with: paths that hold in any folder, contents, configs."""

import dataclasses
import hashlib
from pathlib import Path
from typing import Any

from ..teachers.config import TeacherConfig
from .config import DistillationConfig

# Keys of the tasks' configs, s3prl's and ours, whose values are files or folders.
_PATHS = (
    *("path", "lexicon", "vocab_file", "slots_file", "libri_root", "bucket_file", "dict_path", "file_path"),
    *("speech_commands_root", "speech_commands_test_root", "dev_meta_data", "test_meta_data", "meta_data"),
    *("root", "test_root", "trials", "dev_trials", "train_dir", "dev_dir", "test_dir"),
)


def absolute(name: str | None) -> str | None:
    """A path that is there, as it is named from any folder; whatever else it is (a URL, an id), as it is."""
    return str(Path(name).absolute()) if name and Path(name).exists() else name


def _absolute_parts(name: str | None) -> str | None:
    """`absolute` for a file that may be in parts, with commas between."""
    return name and ",".join(absolute(part) for part in name.split(","))


def digest_of(name: str | None) -> str | None:
    """SHA-256 of a file; None for what is no file."""
    if name is None or not Path(name).is_file():
        return None
    with open(name, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def difference(then: Any, now: Any, key: str = "config") -> str | None:
    """The first key at which two configs differ, with both values."""
    if isinstance(then, dict) and isinstance(now, dict):
        keys = dict.fromkeys([*then, *now])
        found = (difference(then.get(name), now.get(name), f"{key}.{name}") for name in keys)
        return next(filter(None, found), None)
    return None if then == now else f"{key} {now!r} and not {then!r}"


def with_absolute_paths(config: DistillationConfig) -> DistillationConfig:
    """The same, with the teachers' files as they are named from any folder."""
    teachers = tuple(map(_with_absolute_paths, config.teachers))
    teacher = _with_absolute_paths(config.teacher)
    return dataclasses.replace(config, teacher=teacher, teachers=teachers, init=absolute(config.init))


def _with_absolute_paths(teacher: TeacherConfig) -> TeacherConfig:
    names = {"ckpt"} if teacher.source in ("s3prl", "torchaudio") else {"model", "ckpt"}
    return dataclasses.replace(teacher, **{name: _absolute_parts(getattr(teacher, name)) for name in names})


def make_absolute(block: dict[str, Any]) -> None:
    """Name the files and folders in a task's config as they are named from any folder, in place."""
    for key, value in block.items():
        if isinstance(value, dict):
            make_absolute(value)
        elif key in _PATHS and isinstance(value, str):
            block[key] = absolute(value)
        elif key in _PATHS and isinstance(value, list):
            block[key] = [absolute(one) if isinstance(one, str) else one for one in value]

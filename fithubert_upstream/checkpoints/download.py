"""Fetch a checkpoint once into torch.hub's cache, as our own format; a bad download never stays there."""

import errno
import hashlib
import logging
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.error import URLError

import torch
from filelock import FileLock

from ..errors import FitHubertError
from ..files import NO_ROOM
from ..models.fithubert import FitHubert
from .student import load_checkpoint, save_fithubert

logger = logging.getLogger(__name__)


def fetch_checkpoint(
    ckpt: str, model_config: str | None = None, refresh: bool = False, sha256: str | None = None
) -> Path:
    """Download a checkpoint, check it by loading it, and keep it as one safetensors file.

    Parameters
    ----------
    ckpt : str
        URL (http, https, file) of anything that `load_checkpoint` takes.
    model_config : str, optional
        URL or path of the official `.yaml`, for an official Lightning `.ckpt`.
    refresh : bool
        Download again even where the cache has it.
    sha256 : str, optional
        Hex digest, or its beginning, that the downloaded checkpoint must have.

    Returns
    -------
    Path
        The file in `torch.hub.get_dir()/checkpoints` (moved by TORCH_HOME or s3prl's `--cache_dir`).

    Raises
    ------
    FitHubertError
        No network, no such file, a wrong sha256, or a file that is no student.
    """
    cache = Path(torch.hub.get_dir()) / "checkpoints"
    key = hashlib.sha256(repr((ckpt, model_config, sha256)).encode()).hexdigest()[:16]
    target = cache / f"fithubert-{key}.safetensors"
    if not refresh and os.path.isfile(target):  # whole, if it is there: no lock, which a read-only cache cannot hold
        return target
    try:
        cache.mkdir(parents=True, exist_ok=True)
        with _locked(target), tempfile.TemporaryDirectory(dir=cache) as folder:
            if refresh or not target.is_file():  # DDP processes arrive together
                save_fithubert(_fetch(ckpt, model_config, sha256, Path(folder)), target)
                logger.info("%s is now %s", ckpt, target)
    except OSError as error:
        raise FitHubertError(
            f"{cache}: expected a folder for downloads that can be written, found: {error.strerror or error}; set "
            "TORCH_HOME to another"
        ) from error
    return target


@contextmanager
def _locked(target: Path) -> Iterator[None]:
    """One process at a time, where the file system has locks; without them each fetches, and the last one's stays."""
    lock = FileLock(f"{target}.lock")
    try:
        lock.acquire()
    except (NotImplementedError, OSError) as error:
        if isinstance(error, OSError) and error.errno not in (errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP):
            raise
    try:
        yield
    finally:
        lock.release()


def _fetch(ckpt: str, model_config: str | None, sha256: str | None, folder: Path) -> FitHubert:
    """Download into a folder, and load."""
    arrived = _download(ckpt, folder / "checkpoint", sha256)
    config: str | Path | None = model_config
    if model_config is not None and is_url(model_config):
        config = _download(model_config, folder / "config.yaml")
    try:
        return load_checkpoint(arrived, config)
    except FitHubertError as error:
        message = str(error).replace(str(arrived), ckpt).replace(str(config), str(model_config))
        raise FitHubertError(f"the downloaded file is not usable and was deleted: {message}") from error


def is_url(name: str | Path) -> bool:
    return str(name).startswith(("http://", "https://", "file://"))


def _download(url: str, target: Path, sha256: str | None = None) -> Path:
    try:
        torch.hub.download_url_to_file(url, str(target), hash_prefix=sha256)
    except (URLError, OSError) as error:
        if error.errno in NO_ROOM:
            raise
        raise FitHubertError(
            f"could not download {url} ({getattr(error, 'reason', error)}); without a network use "
            "fithubert_mini, the small model inside the package, or fithubert_local(ckpt) with a file you have"
        ) from error
    except RuntimeError as error:  # torch.hub's way to say that the hash differs
        raise FitHubertError(f"{url}: {error}; the file was not kept") from error
    return target

"""A student by its name, path or URL."""

from pathlib import Path

from .. import assets
from ..errors import FitHubertError
from ..models.fithubert import FitHubert
from .download import fetch_checkpoint, is_url
from .releases import RELEASES
from .student import load_checkpoint


def available_models() -> list[str]:
    """Names that `load_fithubert` and `UpstreamExpert` take: the embedded models, then the authors' releases."""
    return [*assets.NAMES, *RELEASES]


def load_fithubert(
    model: str | Path = "fithubert_mini",
    model_config: str | Path | None = None,
    refresh: bool = False,
    sha256: str | None = None,
) -> FitHubert:
    """Load a student, in eval mode on the CPU.

    Parameters
    ----------
    model : str or path
        One of `available_models()`; a path or URL of our `.safetensors`, of a `states-*.ckpt` of `fithubert pretrain`,
        or of an official checkpoint of the family (`student.load_checkpoint`). A file of that name comes first.
    model_config : str or path, optional
        The official `.yaml`, for an official Lightning `.ckpt`. Other files hold their config; this one may repeat it
        but not contradict it.
    refresh : bool
        Download again what the cache has.
    sha256 : str, optional
        Hex digest, or its beginning, that a downloaded checkpoint must have.

    Raises
    ------
    FitHubertError
        There is no such model, or its file is truncated, of another format, or does not fit its config.
    """
    return load_checkpoint(*locate(model, model_config, refresh, sha256))


def locate(
    model: str | Path, model_config: str | Path | None = None, refresh: bool = False, sha256: str | None = None
) -> tuple[Path, str | Path | None]:
    """The file of what `load_fithubert` takes, downloaded once, and the config that it needs beside it."""
    name = str(model)
    if Path(model).exists():
        return Path(model), model_config
    if name in assets.NAMES:
        return assets.find(name), model_config
    if name in RELEASES:
        name, model_config, _ = RELEASES[name]
    if is_url(name):
        config = None if model_config is None else str(model_config)
        return fetch_checkpoint(name, config, refresh, sha256), None
    if Path(name).name == name and not Path(name).suffix:
        raise FitHubertError(f"{name}: no such file, and no such model; models: {', '.join(available_models())}")
    return Path(model), model_config

"""Tells transformers of this package's models, once transformers are imported.

Importing this package must not import transformers. A finder at the head of `sys.meta_path` waits for the modules that
define the Auto classes, and registers ours right after them. It finds nothing itself. Before transformers import
torchaudio, it also mends a torchaudio whose binary part does not fit the installed torch (`compat.torchaudio`).
"""

import contextlib
import importlib
import importlib.util
import logging
import sys
from importlib.abc import MetaPathFinder
from typing import Any

# Module of transformers -> function of `auto` that registers with it.
WAITED_FOR = {
    "transformers.models.auto.configuration_auto": "register_config",
    "transformers.models.auto.modeling_auto": "register_models",
    "transformers.models.auto.feature_extraction_auto": "register_feature_extractor",
}

IMPORTS_TORCHAUDIO = "transformers.audio_utils"


def install() -> None:
    """Register with what is imported already, and wait for the rest."""
    if not any(isinstance(finder, _Finder) for finder in sys.meta_path):
        sys.meta_path.insert(0, _Finder())
    for name in WAITED_FOR:
        module = sys.modules.get(name)
        if module is not None and not getattr(module.__spec__, "_initializing", False):
            _register(name)


class _Finder(MetaPathFinder):
    def find_spec(self, fullname: str, path: Any = None, target: Any = None) -> Any:
        if fullname == IMPORTS_TORCHAUDIO:
            with contextlib.suppress(ModuleNotFoundError):  # no torchaudio at all, which transformers do not need
                importlib.import_module("..compat.torchaudio", __package__).mend_torchaudio_import()
        if fullname not in WAITED_FOR:
            return None
        for finder in sys.meta_path:
            if finder is not self and (spec := finder.find_spec(fullname, path, target)):
                break
        else:
            return None
        loader: Any = spec.loader
        execute = loader.exec_module

        def exec_module(module: Any) -> None:
            execute(module)
            _register(fullname)

        loader.exec_module = exec_module  # of this module's own loader
        return spec


def _register(name: str) -> None:
    package = __package__ or ""
    try:
        getattr(importlib.import_module(".auto", package), WAITED_FOR[name])()
    except Exception as error:  # transformers of another version must stay usable without us
        logging.getLogger(__name__).warning(
            "transformers' Auto classes do not know FitHubertModel (%s); docs/compatibility.md lists tested versions",
            error,
        )

"""FitHuBERT as an s3prl upstream: distil it, load it, evaluate it on SUPERB.

Importing this package imports nothing heavy; each name below is fetched when first used.
"""

import importlib

from .files import ensure_home

ensure_home()  # before a library asks for one
_WHERE = {
    "FitHubert": ".models.fithubert",
    "FitHubertConfig": ".models.config",
    "FitHubertError": ".errors",
    "OnnxFeatures": ".export.numpy_features",
    "available_models": ".checkpoints.load",
    "load_fithubert": ".checkpoints.load",
    "load_joint": ".joint.model",
    "StreamingEncoder": ".streaming.encoder",
    "register": ".upstream.hubconf",
    "save_fithubert": ".checkpoints.student",
    "UpstreamExpert": ".upstream.expert",
}
__all__ = sorted(_WHERE)


def __getattr__(name: str):
    if name == "__version__":
        from .runs.versions import VERSION

        return VERSION
    if name not in _WHERE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_WHERE[name], __name__), name)

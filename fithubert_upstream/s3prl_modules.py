"""Modules that s3prl looks up by name and its wheel lacks."""

import importlib
from collections.abc import Callable
from contextlib import ExitStack

from .s3prl_compat import has_module, provide_module

# The corpus of phone recognition, which a clone has, and our task.
_MODULES = {
    "s3prl.downstream.ctc.corpus.libriphone": "fithubert_upstream.downstream.libriphone",
    "s3prl.downstream.joint_ks_sv.expert": "fithubert_upstream.downstream.joint_ks_sv.expert",
}


def provide_modules() -> Callable[[], None]:
    """Give s3prl the corpus of phone recognition, where it has none, and the task joint_ks_sv.

    Returns a function that takes them away again.
    """
    undo = ExitStack()
    for name, ours in _MODULES.items():
        if not has_module(name):
            undo.callback(provide_module(name, importlib.import_module(ours)))
    return undo.close

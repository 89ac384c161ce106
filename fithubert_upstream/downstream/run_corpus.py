"""What a downstream run remembers of the corpus that it was begun with, in its checkpoints."""

import argparse
from collections.abc import Mapping
from typing import Any

from ..corpora.state import changed, corpus_state
from ..errors import FitHubertError
from .asr import symbols
from .past_run import read_run


def compare_corpus(args: argparse.Namespace, config: Mapping[str, Any]) -> None:
    """Record the corpus of a new training run; compare it when the run is resumed, and compare a model's symbols.

    Resuming on another corpus prints a notice. Evaluation accepts any corpus, but speech recognition must use the
    dictionary of the training run. Checkpoints of older versions, which recorded neither, are accepted.

    Raises
    ------
    FitHubertError
        `char.dict` numbers the symbols otherwise than when the model was trained.
    """
    begun = args.begun if hasattr(args, "begun") else {}
    if args.mode == "train" and (now := corpus_state(args.downstream, config)):
        if what := changed(begun.setdefault("corpus", now), now):
            print(f"[Runner] - {what}; training continues on the current corpus")
    if args.downstream == "asr":
        dictionary = config["downstream_expert"]["datarc"]["dict_path"]
        if args.mode != "train" and args.past_exp is None and args.init_ckpt is not None:
            begun = getattr(read_run("-i", args.init_ckpt)["Args"], "begun", {})
        now = symbols(dictionary)
        if begun.setdefault("symbols", now) != now:
            raise FitHubertError(
                f"{dictionary}: expected its symbols in the order that the model was trained with "
                f"({' '.join(begun['symbols'])}), found {' '.join(now)}: the corpus has changed since, and `fithubert "
                "prepare` has run; train again, or give the old file with -o config.downstream_expert.datarc.dict_path="
            )

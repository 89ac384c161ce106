"""What a downstream run remembers of the corpus that it was begun with, in its checkpoints."""

import argparse
from collections.abc import Mapping
from typing import Any

from fithubert_upstream.corpora.state import changed, corpus_state
from fithubert_upstream.downstream.asr import symbols
from fithubert_upstream.downstream.past_run import read_run
from fithubert_upstream.errors import FitHubertError


def compare_corpus(args: argparse.Namespace, config: Mapping[str, Any]) -> None:
    """Note the corpus of a training that begins; compare that of one that goes on, and the symbols of a trained model.

    A training that goes on on another corpus says so in a line. An evaluation computes its numbers anew on whatever
    corpus there is; only speech recognition's dictionary must be the one of the training. Checkpoints of a version
    that noted neither are taken as they are.

    Raises
    ------
    FitHubertError
        `char.dict` numbers the symbols otherwise than when the model was trained.
    """
    begun = args.begun if hasattr(args, "begun") else {}
    if args.mode == "train" and (now := corpus_state(args.downstream, config)):
        if what := changed(begun.setdefault("corpus", now), now):
            print(f"[Runner] - {what}; the training goes on with it as it is now")
    if args.downstream == "asr":
        dictionary = config["downstream_expert"]["datarc"]["dict_path"]
        if args.mode != "train" and args.past_exp is None and args.init_ckpt is not None:
            begun = getattr(read_run("-i", args.init_ckpt)["Args"], "begun", {})
        now = symbols(dictionary)
        if begun.setdefault("symbols", now) != now:
            raise FitHubertError(
                f"{dictionary}: expected its symbols in the order that the model was trained with "
                f"({' '.join(begun['symbols'])}), found {' '.join(now)}: the corpus has changed since, and `fithubert "
                "prepare` has run; train anew, or give the old file with -o config.downstream_expert.datarc.dict_path="
            )

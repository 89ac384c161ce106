"""What a downstream run remembers of the corpus that it was begun with, in its checkpoints."""

import argparse
from collections.abc import Mapping
from itertools import zip_longest
from typing import Any

from ..corpora.layouts.fluent_commands import slot_values, table_of
from ..corpora.state import changed, corpus_state
from ..errors import FitHubertError
from .asr import symbols
from .ctc import snips
from .past_run import read_run
from .tasks import corpus_name


def compare_corpus(args: argparse.Namespace, config: Mapping[str, Any]) -> None:
    """Record the corpus of a new training run; compare it when the run is resumed, and compare what numbers outputs.

    Resuming on another corpus prints a notice. Evaluation accepts any corpus, but speech recognition must use the
    dictionary of the training run, intent classification its actions, objects and locations, and slot filling its
    characters and slots. Checkpoints of older
    versions, which recorded neither, are accepted.

    Raises
    ------
    FitHubertError
        `char.dict`, the table to train on, or the files of characters and slots number the outputs otherwise than when
        the model was trained.
    """
    begun = args.begun if hasattr(args, "begun") else {}
    if args.mode == "train" and (now := corpus_state(args.downstream, config)):
        if what := changed(begun.setdefault("corpus", now), now):
            print(f"[Runner] - {what}; training continues on the current corpus")
    data = config["downstream_expert"].get("datarc", {})
    if args.downstream == "asr":
        now = symbols(data["dict_path"])
        if (then := _numbered(args, begun, now)) != now:
            raise FitHubertError(
                f"{data['dict_path']}: expected its symbols in the order that the model was trained with "
                f"({' '.join(then)}), found {' '.join(now)}: the corpus has changed since, and `fithubert "
                "prepare` has run; train again, or give the old file with -o config.downstream_expert.datarc.dict_path="
            )
    elif args.downstream == "fluent_commands":
        now = slot_values(data["file_path"])
        if (then := _numbered(args, begun, now)) != now:
            was, found = next(pair for pair in zip_longest(then, now, fillvalue="nothing") if len(set(pair)) > 1)
            raise FitHubertError(
                f"{table_of(data['file_path'], 'train')}: expected actions, objects and locations in the order that "
                f"the model was trained with, found {found} in the place of {was}: the corpus has changed since; train "
                "again, or give the old one with -o config.downstream_expert.datarc.file_path="
            )
    elif args.downstream == "ctc" and corpus_name(config) == "snips":
        text = config["downstream_expert"]["text"]
        now = snips.symbols(text)
        if (then := _numbered(args, begun, now)) != now:
            was, found = next(pair for pair in zip_longest(then, now, fillvalue="nothing") if len(set(pair)) > 1)
            raise FitHubertError(
                f"{text['vocab_file']} and {text['slots_file']}: expected characters and slots in the order that the "
                f"model was trained with, found {found!r} in the place of {was!r}; train again, or give the old files "
                "with -o config.downstream_expert.text.slots_file="
            )


def _numbered(args: argparse.Namespace, begun: dict[str, Any], now: list[str]) -> list[str]:
    """What numbered the model's outputs when it was trained; where nothing is remembered, what does now."""
    if args.mode != "train" and args.past_exp is None and args.init_ckpt is not None:
        begun = getattr(read_run("-i", args.init_ckpt)["Args"], "begun", {})
    return begun.setdefault("symbols", now)

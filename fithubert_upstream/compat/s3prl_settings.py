"""What s3prl reads in a run's config, key by key: values of another kind and keys that nothing reads are errors.

s3prl looks up what it knows and passes over the rest, so that a mistyped key is a run with the default. The keys of
optimizers, schedules, SpecAugment and heads are those of the functions and classes that take them.
"""

import inspect
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch

from ..errors import FitHubertError
from ..settings.rules import (
    Rule,
    Section,
    above_zero,
    anything,
    choice,
    list_of,
    one_or_list_of,
    optional,
    pair_of,
    read_block,
    up_to_one,
    within,
)
from ..settings.values import boolean, real, text, whole
from . import s3prl as s3prl_compat

_SPLIT = re.compile(r"(train|dev|valid|test)([-\d].*)?")  # what splits are called


def read_settings(task: str, config: dict, accepted: Iterable[str] = (), splits: Iterable[str] = ()) -> dict:
    """A run's config with its numbers as numbers.

    Parameters
    ----------
    task : str
        s3prl's -d, or "pretrain" for a runner config of `fithubert pretrain`. Of tasks other than SUPERB's four, what
        the task itself reads is not known, and left as it is.
    config : dict
        As s3prl has it.
    accepted : iterable of str
        Dotted keys that pass though nothing reads them: those of a checkpoint, with which the run was trained.
    splits : iterable of str
        Names that the flags and the config use for splits, beside train, dev, valid and test.

    Raises
    ------
    FitHubertError
        A value is of the wrong kind, or a key is not read; names the key and the nearest one.
    """
    config, unknown = read_block(_sections(task, config, splits), config, "config")
    for key, hint in unknown.items():
        if key not in accepted:
            raise FitHubertError(f"{key}: unknown key {key.rpartition('.')[2]!r}, nothing reads it; {hint}")
    return config


def unknown_keys(task: str, config: dict, splits: Iterable[str] = ()) -> set[str]:
    """Dotted keys of a config that nothing reads."""
    return set(read_block(_sections(task, config, splits), config, "config")[1])


COUNT, NATURAL = within(whole, 1), within(whole, 0)
AMOUNT, SHARE = within(real, 0), within(real, 0, 1)
PART = up_to_one(AMOUNT)
_RULES: dict[str, Any] = {
    "adaptive_number_ratio": PART,
    "adaptive_size_ratio": PART,
    "activation": choice(name for name in dir(torch.nn) if name[0].isupper()),
    "agg_dim": COUNT,
    "batch_norm": boolean,
    "betas": pair_of(SHARE),
    "bidirection": boolean,
    "dim": list_of(COUNT),
    "dropout": list_of(SHARE),
    "dropout_p": SHARE,
    "eps": AMOUNT,
    "hiddens": optional(list_of(COUNT)),
    "freq_mask_width_range": one_or_list_of(NATURAL),
    "last_epoch": whole,
    "layer_norm": list_of(boolean),
    "lr": AMOUNT,
    "m": AMOUNT,
    "max_n_time_masks": NATURAL,
    "module": text,
    "momentum": AMOUNT,
    "num_freq_mask": NATURAL,
    "num_time_mask": NATURAL,
    "num_warmup_steps": NATURAL,
    "pooling": choice(("MeanPooling", "AttentivePooling")),
    "proj": list_of(boolean),
    "s": above_zero,
    "sample_rate": list_of(COUNT),
    "sample_style": choice(("drop", "concat")),
    "time_mask_width_range": one_or_list_of(NATURAL),
    "time_warp_window": COUNT,
    "total_rate": whole,
    "warmup_proportion": SHARE,
    "weight_decay": AMOUNT,
}


def _keywords(function: Callable, *given: str) -> Section:
    """The keywords of a function or class, of the kinds of their defaults; without those that s3prl itself gives."""
    parameters = inspect.signature(function).parameters.values()
    named = [p for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY) and p.name not in given]
    return {p.name: _rule(p) for p in named}


def _rule(p: inspect.Parameter) -> Rule:
    if p.name == "eps" and isinstance(p.default, tuple):  # Adafactor's two
        return anything
    return _RULES.get(p.name) or _like(p.default)


def _like(default: Any) -> Rule:
    for kinds, rule in ((bool, boolean), ((int, float), real), (str, text), ((list, tuple), one_or_list_of(real))):
        if isinstance(default, kinds):
            return rule
    return anything


def _require(function: Callable, block: Any, where: str, *given: str) -> None:
    """Raise FitHubertError when a function's keyword without a default is not in a block."""
    for name, p in inspect.signature(function).parameters.items():
        if p.default is p.empty and p.kind is p.POSITIONAL_OR_KEYWORD and name not in given and name not in block:
            raise FitHubertError(f"{where}: expected {name} beside name {block['name']}, found none")


def _sections(task: str, config: dict, splits: Iterable[str]) -> Section:
    """The keys that a task's run reads."""
    s3prl_compat.apply()
    config = config if isinstance(config, Mapping) else {}
    sections = {"optimizer": _optimizer(config.get("optimizer"))}
    for name, section in (("scheduler", _scheduler), ("specaug", _specaug)):
        sections[name] = section(config[name]) if config.get(name) else anything
    if task == "pretrain":
        del sections["specaug"]
        steps = {name: COUNT for name in ("gradient_accumulate_steps", "log_step", "save_step", "max_keep")}
        runner = {**steps, "n_epochs": whole, "total_steps": whole}
        expert = {"datarc": anything}  # `DataConfig` reads it
        return {**sections, "runner": {**runner, **_CLIPPING}, "pretrain_expert": expert}
    steps = ("total_steps", "gradient_accumulate_steps", "log_step", "eval_step", "save_step", "max_keep")
    runner = {name: COUNT for name in steps} | {
        **_CLIPPING,
        "eval_dataloaders": list_of(text),
        "train_dataloader": text,
        "evaluate_ratio": up_to_one(above_zero),
    }
    if task not in _EXPERTS:  # keys of its own in whatever place
        others = {key: anything for key in (config.get("runner") or {}) if key not in runner}
        return {key: anything for key in config} | sections | {"runner": others | runner}
    block = config.get("downstream_expert")
    expert = _EXPERTS[task](block if isinstance(block, Mapping) else {}, set(splits))
    return {**sections, "runner": runner, "downstream_expert": expert}


_CLIPPING = {"gradient_clipping": above_zero, "fp16": boolean}


def _optimizer(block: Any) -> Section:
    from s3prl import optimizers

    names = _getters(optimizers, "get_optimizer", "get_grouped_parameters")
    section = {"name": choice(names)}
    block = block if isinstance(block, Mapping) else {}
    if "name" not in block:
        raise FitHubertError(f"config.optimizer: expected name, one of {', '.join(names)}, found none")
    if (name := block["name"]) not in names:
        return section
    getter = names[name]
    section |= _keywords(getter, "model_params", "total_steps", "torch_optim_name")
    if name == "TorchOptim":
        kinds = {key: kind for key, kind in vars(torch.optim).items() if inspect.isclass(kind) and key != "Optimizer"}
        section["torch_optim_name"] = choice(kinds)
        if (chosen := block.get("torch_optim_name")) in kinds:
            section |= _keywords(kinds[chosen], "params")
    elif name in ("Adam", "AdamW", "BertAdam_with_schedule"):
        section["torch_optim_name"] = text  # left over where -o changes the name alone
    elif name in ("AdamW_with_schedule", "Lamb_with_schedule"):  # its parameter groups bring their weight_decay
        given = ("params", "lr", "warmup", "t_total", "weight_decay", "adam", "correct_bias")
        section |= _keywords(optimizers.Lamb, *given)
        section["schedule"] = choice(str(key) for key in optimizers.SCHEDULES if key)
    _require(getter, block, "config.optimizer", "model_params")
    return section


def _scheduler(block: Any) -> Section:
    from s3prl import schedulers

    names = _getters(schedulers, "get_scheduler")
    section = {"name": choice(names)}
    if not isinstance(block, Mapping) or block.get("name") not in names:
        return section
    given = ("optimizer", "num_training_steps")
    _require(names[block["name"]], block, "config.scheduler", *given)
    return section | _keywords(names[block["name"]], *given)


def _getters(module: Any, *others: str) -> dict[str, Callable]:
    """What s3prl finds under a name with `get_` before it."""
    return {name[4:]: f for name, f in vars(module).items() if name.startswith("get_") and name not in others}


def _specaug(block: Any) -> Section:
    from s3prl.downstream.specaug import SpecAug

    return _keywords(SpecAug)


def _heads(*more: str) -> Section:
    """The heads that `select` may name, each with a section of its own."""
    from s3prl.downstream import model
    from s3prl.downstream.asr import model as recurrent

    heads = {name: getattr(model, name) for name in ("FrameLevel", "UtteranceLevel")}
    heads |= {name: getattr(recurrent, name) for name in more}
    given = ("input_dim", "input_size", "output_dim", "output_size", "upstream_rate")
    return {"select": choice(heads), **{name: _keywords(head, *given) for name, head in heads.items()}}


def _ctc(block: Mapping, splits: set[str]) -> Section:
    corpus = block.get("corpus") or {}
    libriphone = {
        "name": text,
        "path": text,
        "bucketing": boolean,
        "batch_size": COUNT,
        "num_workers": NATURAL,
        "lexicon": one_or_list_of(text),
        "skip_oov": boolean,
        **_split_keys(corpus, splits),
    }
    others = isinstance(corpus, Mapping) and str(corpus.get("name")).lower() in _CORPORA
    return {
        "corpus": {key: libriphone.get(key, anything) for key in corpus} if others else libriphone,
        "text": {"mode": text, "vocab_file": text, "slots_file": text},
        "model": {"project_dim": COUNT, "zero_infinity": boolean, **_heads("RNNs", "Wav2Letter")},
        "save_best_on": one_or_list_of(text),
        "metric": list_of(choice(_METRICS)),
        "metric_higher_better": boolean,
    }


_METRICS = "per wer cer slot_type_f1 slot_value_cer slot_value_wer slot_edit_f1_full slot_edit_f1_part".split()
_CORPORA = ("librispeech", "snips", "common_voice", "sbcsae")  # of a clone of s3prl, with keys of their own


def _split_keys(block: Any, splits: set[str]) -> Section:
    keys = block if isinstance(block, Mapping) else ()
    return {key: one_or_list_of(text) for key in {*map(str, keys), "train"} if key in splits or _SPLIT.fullmatch(key)}


def _asr(block: Mapping, splits: set[str]) -> Section:
    numbers = ("beam_threshold", "lm_weight", "word_score", "sil_weight")
    decoder = {
        "decoder_type": optional(text),
        "nbest": COUNT,
        "beam": COUNT,
        "lexicon": anything,
        "kenlm_model": anything,
        "unit_lm": anything,
        "criterion": anything,
        "unk_weight": anything,  # s3prl evaluates a text such as -math.inf
        **{name: real for name in numbers},
    }
    data = {
        "libri_root": text,
        "bucket_file": text,
        "dict_path": text,
        "batch_size": COUNT,
        "eval_batch_size": COUNT,
        "num_workers": NATURAL,
        "zero_infinity": boolean,
        "decoder_args": decoder,
        **_split_keys(block.get("datarc"), splits),
    }
    recurrent = ("RNNs", "Wav2Letter")
    return {"datarc": data, "modelrc": {"project_dim": COUNT, **_heads(*recurrent), "select": choice(recurrent)}}


def _speech_commands(block: Mapping, splits: set[str]) -> Section:
    roots = {"speech_commands_root": text, "speech_commands_test_root": text}
    return {
        "datarc": {**roots, "num_workers": NATURAL, "batch_size": COUNT},
        "modelrc": {"projector_dim": COUNT, **_heads()},
    }


def _sv_voxceleb1(block: Mapping, splits: set[str]) -> Section:
    from s3prl.downstream.sv_voxceleb1 import model

    modules = ("XVector", "Identity")
    losses = ("AMSoftmaxLoss", "AAMSoftmaxLoss", "SoftmaxLoss")
    data = {
        "file_path": text,
        "train_meta_data": optional(text),
        "dev_meta_data": text,
        "test_meta_data": text,
        "max_timestep": optional(COUNT),
        "vad_config": {"min_sec": AMOUNT},
        "num_workers": NATURAL,
        "train_batch_size": COUNT,
        "eval_batch_size": COUNT,
    }
    head = {
        "input_dim": COUNT,
        "module": choice(modules),
        "agg_module": choice(("MP", "AP", "ASP", "SP")),
        "utter_module": choice(("UtteranceExtractor", "UtteranceIdentity")),
        "ObjectiveLoss": choice(losses),
        "LossConfig": {name: _keywords(getattr(model, name), "hidden_dim", "speaker_num") for name in losses},
        "module_config": {name: {"agg_dim": COUNT} | _keywords(getattr(model, name), "input_dim") for name in modules},
    }
    return {"datarc": data, "modelrc": head}


def _joint_ks_sv(block: Mapping, splits: set[str]) -> Section:
    return {key: anything for key in block}  # `JointConfig` reads it


_EXPERTS: dict[str, Callable[[Mapping, set[str]], Section]] = {
    "ctc": _ctc,
    "asr": _asr,
    "speech_commands": _speech_commands,
    "sv_voxceleb1": _sv_voxceleb1,
    "joint_ks_sv": _joint_ks_sv,
}

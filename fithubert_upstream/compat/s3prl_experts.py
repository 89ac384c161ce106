"""What s3prl's experts of SUPERB's tasks, and ours, read in `downstream_expert`, key by key."""

import re
from collections.abc import Callable, Mapping
from typing import Any

from ..settings.rules import Section, anything, choice, list_of, one_or_list_of, optional, within
from ..settings.values import boolean, real, text, whole
from .s3prl_keywords import AMOUNT, COUNT, NATURAL, SHARE, keywords

_SPLIT = re.compile(r"(train|dev|valid|test)([-\d].*)?")  # what splits are called


def _heads(*more: str) -> Section:
    """The heads that `select` may name, each with a section of its own."""
    from s3prl.downstream import model
    from s3prl.downstream.asr import model as recurrent

    heads = {name: getattr(model, name) for name in ("FrameLevel", "UtteranceLevel")}
    heads |= {name: getattr(recurrent, name) for name in more}
    given = ("input_dim", "input_size", "output_dim", "output_size", "upstream_rate")
    return {"select": choice(heads), **{name: keywords(head, *given) for name, head in heads.items()}}


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
    name = str(corpus.get("name")).lower() if isinstance(corpus, Mapping) else ""
    section: Section = libriphone
    if name == "snips":
        section = {key: rule for key, rule in libriphone.items() if key not in ("lexicon", "skip_oov")}
        section |= dict.fromkeys(_speakers(corpus, splits), optional(list_of(text)))
    elif name in _CORPORA:
        section = {key: libriphone.get(key, anything) for key in corpus}
    return {
        "corpus": section,
        "text": {"mode": text, "vocab_file": text, "slots_file": text},
        "model": {"project_dim": COUNT, "zero_infinity": boolean, **_heads("RNNs", "Wav2Letter")},
        "save_best_on": one_or_list_of(text),
        "metric": list_of(choice(_METRICS)),
        "metric_higher_better": boolean,
    }


_METRICS = "per wer cer slot_type_f1 slot_value_cer slot_value_wer slot_edit_f1_full slot_edit_f1_part".split()
_CORPORA = ("librispeech", "common_voice", "sbcsae")  # of a clone of s3prl, with keys of their own


def _speakers(corpus: Mapping, splits: set[str]) -> list[str]:
    """The keys that name speakers, one for each folder of a split."""
    entries = [corpus.get(key) for key in _split_keys(corpus, splits)]
    folders = [entry if isinstance(entry, list) else [entry] for entry in entries]
    return [f"{name}_speakers" for names in folders for name in names]


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
    return _classification({**roots, "num_workers": NATURAL, "batch_size": COUNT})


def _fluent_commands(block: Mapping, splits: set[str]) -> Section:
    return _classification({"file_path": text, **_LOADERS})


def _voxceleb1(block: Mapping, splits: set[str]) -> Section:
    return _classification({"file_path": text, "meta_data": text, "max_timestep": optional(COUNT), **_LOADERS})


def _emotion(block: Mapping, splits: set[str]) -> Section:
    corpus = {"root": text, "meta_data": text, "test_fold": optional(choice(f"fold{n}" for n in range(1, 6)))}
    return _classification({**corpus, "pre_load": boolean, "valid_ratio": SHARE, **_LOADERS})


_LOADERS = {"num_workers": NATURAL, "train_batch_size": COUNT, "eval_batch_size": COUNT}


def _classification(data: Section) -> Section:
    """A task of one label for each utterance."""
    return {"datarc": data, "modelrc": {"projector_dim": COUNT, **_heads()}}


def _quesst14_dtw(block: Mapping, splits: set[str]) -> Section:
    data = {"dataset_root": text, "num_workers": NATURAL, "batch_size": COUNT}
    alignment = {"dist_method": text, "minmax_norm": boolean, "step_pattern": text, "subsequence": boolean}
    return {
        "two_stages": choice((False,)),  # of s3prl's own config; its expert does not read it
        "max_workers": optional(COUNT),
        "feature_normalization": boolean,
        "silence_frame": optional(NATURAL),
        "datarc": data,
        "dtwrc": alignment,
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
        "LossConfig": {name: keywords(getattr(model, name), "hidden_dim", "speaker_num") for name in losses},
        "module_config": {name: {"agg_dim": COUNT} | keywords(getattr(model, name), "input_dim") for name in modules},
    }
    return {"datarc": data, "modelrc": head}


def _diarization(block: Mapping, splits: set[str]) -> Section:
    """Of frames, `rate` is s3prl's for 16 kHz alone; where `frame_shift` is not given, it is the upstream's."""
    data = {
        "chunk_size": COUNT,
        "frame_shift": optional(COUNT),
        "subsampling": COUNT,
        "use_last_samples": boolean,
        "label_delay": NATURAL,
        "num_speakers": COUNT,
        "rate": within(whole, 16_000, 16_001),
    }
    batches = {"num_workers": NATURAL, "train_batchsize": COUNT, "eval_batchsize": COUNT}
    return {
        "datarc": data,
        "loaderrc": {**batches, **{f"{split}_dir": text for split in ("train", "dev", "test")}},
        "scorerc": {"save_predictions": boolean},
        "modelrc": {"rnn_layers": NATURAL, "hidden_size": COUNT},
    }


def _joint_ks_sv(block: Mapping, splits: set[str]) -> Section:
    return {key: anything for key in block}  # `JointConfig` reads it


EXPERTS: dict[str, Callable[[Mapping, set[str]], Section]] = {
    "ctc": _ctc,
    "asr": _asr,
    "speech_commands": _speech_commands,
    "sv_voxceleb1": _sv_voxceleb1,
    "fluent_commands": _fluent_commands,
    "voxceleb1": _voxceleb1,
    "emotion": _emotion,
    "diarization": _diarization,
    "quesst14_dtw": _quesst14_dtw,
    "joint_ks_sv": _joint_ks_sv,
}
UNTRAINED = ("quesst14_dtw",)  # tasks whose experts are only evaluated

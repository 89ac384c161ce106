"""What can be wrong with a downstream run, told in one line before a model is built.

`complete` and the `check_*` functions work on s3prl's arguments and config as read from flags and YAML.
"""

import argparse
import os
from pathlib import Path

from ..audio.scan import count_samples_16k
from ..audio.walk import audio_in
from ..compat.modules import has_module
from ..compat.s3prl_experts import UNTRAINED
from ..corpora.layouts.fluent_commands import check_fluent_commands
from ..corpora.layouts.iemocap import check_iemocap, check_metadata
from ..corpora.layouts.librispeech import librispeech_report, read_splits, split_folder
from ..corpora.layouts.speech_commands import BACKGROUND, check_speech_commands
from ..corpora.layouts.voxceleb1 import check_identification, check_voxceleb1
from ..corpora.problems import require
from ..errors import FitHubertError
from ..settings.files import MODEL_CONFIGS
from .asr import check_prepared, check_tables
from .ctc.libriphone import forget, phone_transcripts
from .ctc.snips import check_slots
from .joint_ks_sv.config import JointConfig
from .overrides import split_overrides
from .query_by_example.checks import check_queries
from .scoring.diarization import check_conversations
from .sv import check_lengths
from .tasks import corpus_name, downstream_names

# What a task's code, s3prl's or this module, looks up in its config; one of another task lacks some.
_KEYS = {
    "ctc": ("corpus.name", "corpus.path", "text", "model"),
    "asr": ("datarc.libri_root", "datarc.bucket_file", "modelrc"),
    "speech_commands": (
        "datarc.speech_commands_root",
        "datarc.speech_commands_test_root",
        "datarc.batch_size",
        "modelrc",
    ),
    "sv_voxceleb1": (
        "datarc.file_path",
        "datarc.dev_meta_data",
        "datarc.test_meta_data",
        "datarc.vad_config.min_sec",
        "modelrc",
    ),
    "fluent_commands": ("datarc.file_path", "datarc.train_batch_size", "modelrc"),
    "voxceleb1": ("datarc.file_path", "datarc.meta_data", "datarc.max_timestep", "modelrc"),
    "emotion": ("datarc.root", "datarc.meta_data", "datarc.pre_load", "datarc.valid_ratio", "modelrc"),
    "diarization": (
        *(f"loaderrc.{name}" for name in ("train_dir", "dev_dir", "test_dir", "train_batchsize", "eval_batchsize")),
        *("datarc.chunk_size", "datarc.num_speakers", "scorerc.save_predictions", "modelrc"),
    ),
    "quesst14_dtw": (
        *("max_workers", "feature_normalization", "silence_frame"),
        *(f"datarc.{key}" for key in ("dataset_root", "num_workers", "batch_size")),
        *(f"dtwrc.{key}" for key in ("dist_method", "minmax_norm", "step_pattern", "subsequence")),
    ),
    "joint_ks_sv": ("tasks",),
}
_SNIPS_KEYS = ("corpus.train", "text.vocab_file", "text.slots_file", "metric")  # beside those of "ctc"
# Keys of what may lie in the folder that another key names.
_INSIDE = (
    ("bucket_file", "libri_root"),
    *((key, "file_path") for key in ("dev_meta_data", "test_meta_data", "meta_data")),
    ("meta_data", "root"),
)


def check_override(override: str | None) -> None:
    """Raise FitHubertError unless -o is KEY=VALUE,,KEY=VALUE with keys that begin with args. or config."""
    if override is not None and override.lower() != "none":
        split_overrides(override)


def complete(config: dict) -> None:
    """Fill in what a config may leave out, packaged files and char.dict, and follow a corpus that has moved.

    A checkpoint holds the paths that were true for its training: where a table, dictionary or trial list is no
    longer there, the file of that name in the current corpus is used.
    """
    expert = config.get("downstream_expert", {})
    text, corpus, data = (expert.get(key, {}) for key in ("text", "corpus", "datarc"))
    if "vocab_file" in text:
        text["vocab_file"] = _resolved(text["vocab_file"])
        if not Path(text["vocab_file"]).is_file():
            raise FitHubertError(
                f"vocabulary {text['vocab_file']}: expected a file of that name, found none; "
                "packaged are phoneme.txt (phone recognition) and character.txt (slot filling)"
            )
    if "lexicon" in corpus:
        corpus["lexicon"] = [_resolved(source) for source in corpus["lexicon"]]
    if "slots_file" in text and "path" in corpus:
        text["slots_file"] = _found_in(corpus["path"], text["slots_file"])
    for key, root in _INSIDE:
        if key in data and root in data:
            data[key] = _found_in(data[root], data[key])
    if "bucket_file" in data:
        data.setdefault("dict_path", str(Path(data["bucket_file"], "char.dict")))
        data["dict_path"] = _found_in(data["bucket_file"], data["dict_path"])


def _resolved(name: str) -> str:
    # By the last part of the name: a checkpoint from elsewhere holds the path that was true there.
    for folder in MODEL_CONFIGS:
        packaged = folder / Path(name).name
        if not Path(name).is_file() and packaged.is_file():
            return str(packaged)
    return name


def _found_in(root: str, path: str) -> str:
    inside = Path(root, Path(path).name)
    return str(inside) if inside.exists() and not Path(path).exists() else path


def check_corpus(args: argparse.Namespace, config: dict) -> None:
    """Raise FitHubertError unless task and config agree and the corpus is complete: every file that the run reads.

    Of tasks other than SUPERB's here and `joint_ks_sv`, the corpus is left to s3prl.
    """
    check_task(args, config)
    expert = config["downstream_expert"]
    corpus, data = expert.get("corpus", {}), expert.get("datarc", {})
    if args.mode == "inference":
        _check_inference(args, data)
    elif args.downstream == "ctc" and corpus_name(config) in ("librispeech", "libriphone"):
        where = "config.downstream_expert.corpus"
        _check_librispeech(corpus["path"], f"{where}.path", _folders(args, config["runner"], corpus))
    elif args.downstream == "ctc" and corpus_name(config) == "snips":
        check_slots(corpus, expert["text"], _folders(args, config["runner"], corpus))
    elif args.downstream == "asr":
        where = "config.downstream_expert.datarc"
        folders = _folders(args, config["runner"], data)
        _check_librispeech(data["libri_root"], f"{where}.libri_root", folders, data)
    elif args.downstream == "speech_commands":
        _check_speech_commands(data, _splits(args, config["runner"], ["train", "dev", "test"]))
    elif args.downstream == "sv_voxceleb1":
        _check_voxceleb1(data, _splits(args, config["runner"], ["train", "dev", "test"]))
    elif args.downstream == "fluent_commands":
        _splits(args, config["runner"], ["train", "dev", "test"])
        require(check_fluent_commands(data["file_path"]))
    elif args.downstream == "voxceleb1":
        _splits(args, config["runner"], ["train", "dev", "test"])
        require(check_identification(data["file_path"], data["meta_data"]))
    elif args.downstream == "emotion":
        _check_emotions(args, data, _splits(args, config["runner"], ["train", "dev", "test"]))
    elif args.downstream == "diarization":
        check_conversations(expert, _splits(args, config["runner"], ["train", "dev", "test"]))
    elif args.downstream == "quesst14_dtw":
        _splits(args, config["runner"], ["dev", "test"])
        check_queries(expert)
    elif args.downstream == "joint_ks_sv":
        _check_joint(args, config)


def check_words(args: argparse.Namespace, config: dict) -> None:
    """Raise FitHubertError for words of phone recognition's transcripts that its lexicon lacks."""
    corpus = config["downstream_expert"].get("corpus", {})
    if args.mode == "inference" or args.downstream != "ctc" or corpus_name(config) != "libriphone":
        return
    forget()
    for split in _splits(args, config["runner"], list(corpus)):
        phone_transcripts(
            str(corpus["path"]), tuple(corpus[split]), tuple(corpus["lexicon"]), bool(corpus.get("skip_oov"))
        )


def check_task(args: argparse.Namespace, config: dict) -> None:
    """Raise FitHubertError unless the task is there, the config is one of it, and -i is a checkpoint."""
    known = ", ".join([*downstream_names(), "joint_ks_sv"])
    if args.downstream is None:
        raise FitHubertError(f"-d: expected a task, found none; give one of {known}")
    if not has_module(f"s3prl.downstream.{args.downstream}.expert"):
        raise FitHubertError(f"-d {args.downstream}: no such task in s3prl; SUPERB's and ours: {known}")
    names = _KEYS.get(args.downstream, ())
    if args.downstream == "ctc" and corpus_name(config) == "snips":
        names += _SNIPS_KEYS
    keys = [f"downstream_expert.{key}" for key in names]
    trained = ("runner.total_steps", "runner.eval_dataloaders", "optimizer")
    shared = ("runner",) if args.downstream in UNTRAINED else trained
    for key in (*shared, "downstream_expert", *keys):
        value = config
        for name in key.split("."):
            if not isinstance(value, dict) or name not in value:
                found = ", ".join(map(str, value)) if isinstance(value, dict) and value else "none"
                raise FitHubertError(
                    f"-d {args.downstream}: expected {key} in its config, found no {name} beside {found}; "
                    "give the config of this task with -c"
                )
            value = value[name]
    init_ckpt = getattr(args, "init_ckpt", None)
    if init_ckpt is not None and not Path(init_ckpt).is_file():
        raise FitHubertError(f"-i {init_ckpt}: expected a checkpoint, found no such file; correct the path")


def _check_inference(args: argparse.Namespace, data: dict) -> None:
    """-t is an audio file; of SUPERB's tasks, s3prl has inference for `asr` alone."""
    if args.downstream == "asr":
        check_prepared(data["bucket_file"], data["dict_path"], data["libri_root"], [])
        count_samples_16k(Path(args.evaluate_split))
    elif args.downstream in _KEYS:
        raise FitHubertError(f"-m inference: s3prl supports it for -d asr only, not -d {args.downstream}")


def _check_librispeech(root: str, where: str, folders: list[str], prepared: dict | None = None) -> None:
    try:
        for folder in folders:
            split_folder(str(root), folder)
    except FitHubertError as error:
        raise FitHubertError(
            f"{error}; give -o {where}=..., or correct the splits in {where.rpartition('.')[0]}"
        ) from None
    if prepared is not None:
        check_prepared(prepared["bucket_file"], prepared["dict_path"], root, folders)
    utterances, problems = read_splits(root, folders)
    require(librispeech_report(root, utterances, problems))
    if prepared is not None:
        check_tables(prepared["bucket_file"], root, utterances)


def _check_speech_commands(data: dict, splits: list[str]) -> None:
    root = data["speech_commands_root"]
    report = check_speech_commands(root, data["speech_commands_test_root"])
    require(report)
    # s3prl draws from the background noise too, leaves out an incomplete batch, and without any goes on for ever
    clips = report.counts["train clips"] + len(audio_in(Path(root, BACKGROUND)))
    if "train" in splits and clips < data["batch_size"]:
        raise FitHubertError(
            f"{root}: expected clips for a batch of {data['batch_size']}, found {clips}; "
            f"give -o config.downstream_expert.datarc.batch_size={clips}"
        )


def _check_voxceleb1(data: dict, splits: list[str]) -> None:
    trials = {split: Path(data[f"{split}_meta_data"]) for split in ("dev", "test")}
    for split in splits:
        if trials.get(split) == Path(os.devnull):
            raise FitHubertError(
                f"split {split}: expected a list of trials, found {os.devnull}; "
                f"give -o config.downstream_expert.datarc.{split}_meta_data=..., or another split"
            )
    require(check_voxceleb1(data["file_path"], trials["dev"], trials["test"]))
    scored = {split: path for split, path in trials.items() if split in splits}
    check_lengths(Path(data["file_path"]), scored, data["vad_config"]["min_sec"] if "train" in splits else None)


def _check_emotions(args: argparse.Namespace, data: dict, splits: list[str]) -> None:
    given, key = getattr(args, "downstream_variant", None), "config.downstream_expert.datarc"
    fold = data.get("test_fold") or given or "fold1"
    if given not in (None, fold):  # s3prl takes the config's
        raise FitHubertError(
            f"-v {given}: expected none, since {key}.test_fold is {fold}; give -o {key}.test_fold={given} instead"
        )
    require(check_iemocap(data["root"]))
    count, _ = check_metadata(data["root"], data["meta_data"], fold)
    trained = int((1 - data["valid_ratio"]) * count)  # as s3prl cuts it
    for split, size in (("train", trained), ("dev", count - trained)):
        if split in splits and not size:
            raise FitHubertError(
                f"{key}.valid_ratio: expected a share that leaves utterances for {split}, found {data['valid_ratio']} "
                f"of {count}"
            )


def _check_joint(args: argparse.Namespace, config: dict) -> None:
    from .joint_ks_sv.clips import read_corpora

    joint = JointConfig.from_dict(config["downstream_expert"], "config.downstream_expert")
    accumulated = config["runner"].get("gradient_accumulate_steps", 1)
    if accumulated != 1 and len(joint.tasks) > 1:
        raise FitHubertError(
            f"config.runner.gradient_accumulate_steps: expected 1, an update of each task in turn, found "
            f"{accumulated}; give larger batch_size instead"
        )
    _splits(args, config["runner"], ["train", "dev", "test"])
    read_corpora(joint)


def _splits(args: argparse.Namespace, runner: dict, there: list[str]) -> list[str]:
    """The splits that the run reads; each must be one of those `there`."""
    if args.mode == "evaluate":
        splits = [args.evaluate_split]
    else:
        splits = [runner.get("train_dataloader", "train"), *runner["eval_dataloaders"]]
    for split in splits:
        if split not in there:
            raise FitHubertError(f"split {split}: not in the config; available: {', '.join(there)}")
    return splits


def _folders(args: argparse.Namespace, runner: dict, entries: dict) -> list[str]:
    """The folders of the splits that the run reads."""
    lists = [key for key, entry in entries.items() if isinstance(entry, list) and not _no_split(key)]
    splits = _splits(args, runner, lists)
    return list(dict.fromkeys(folder for split in splits for folder in entries[split]))


def _no_split(key: str) -> bool:
    return key == "lexicon" or key.endswith("_speakers")

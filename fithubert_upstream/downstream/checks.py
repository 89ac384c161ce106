"""What can be wrong with a downstream run, told in one line before a model is built.

`complete` and the `check_*` functions work on s3prl's arguments and config as read from flags and YAML.
"""

import argparse
import difflib
from pathlib import Path

from fithubert_upstream.config import MODEL_CONFIGS
from fithubert_upstream.corpus_checks import check_librispeech, check_speech_commands, check_voxceleb1, require
from fithubert_upstream.downstream.libriphone import split_folder
from fithubert_upstream.errors import FitHubertError
from fithubert_upstream.prepare import check_prepared


def check_past_exp(past_exp: str) -> None:
    """Raise FitHubertError unless -e names a checkpoint, or a folder with states-*.ckpt."""
    path = Path(past_exp)
    if not path.exists():
        raise FitHubertError(f"-e {past_exp}: expected a checkpoint or its folder, found nothing; correct the path")
    if path.is_dir() and not list(path.glob("states-*.ckpt")):
        found = ", ".join(sorted(file.name for file in path.glob("*.ckpt"))) or "no checkpoint at all"
        raise FitHubertError(
            f"-e {past_exp}: expected a folder with states-*.ckpt, found {found}; name the checkpoint file"
        )


def check_upstream(args: argparse.Namespace, hub) -> None:
    """Raise FitHubertError unless -u is on s3prl's hub, and -k is there if it is a file."""
    if args.hub != "torch":  # -u is then a repository's name
        return
    if args.upstream is None:
        raise FitHubertError("-u: expected the name of an upstream, found none; give for example -u fithubert")
    if not callable(getattr(hub, args.upstream, None)):
        near = difflib.get_close_matches(args.upstream, hub.options(), n=3, cutoff=0.4)
        raise FitHubertError(
            f"-u {args.upstream}: expected an upstream of s3prl.hub, found none of that name; "
            f"nearest: {', '.join(near) or 'none'}"
        )
    ckpt = args.upstream_ckpt
    # Some upstreams take a model's name on the Hugging Face Hub, or a Google Drive id.
    by_name = args.upstream.startswith("hf_") or args.upstream.endswith("_gdriveid")
    if ckpt is not None and "://" not in str(ckpt) and not by_name and not Path(ckpt).exists():
        raise FitHubertError(f"-k {ckpt}: expected a file or a URL, found no such file; correct the path")


def complete(config: dict) -> None:
    """Fill in what a config may leave out: packaged vocabulary and lexicons, and where char.dict lies."""
    expert = config.get("downstream_expert", {})
    text, corpus, data = (expert.get(key, {}) for key in ("text", "corpus", "datarc"))
    if "vocab_file" in text:
        text["vocab_file"] = _resolved(text["vocab_file"])
        if not Path(text["vocab_file"]).is_file():
            raise FitHubertError(
                f"vocabulary {text['vocab_file']}: expected a file of that name, found none; "
                "phone recognition's is packaged as phoneme.txt"
            )
    if "lexicon" in corpus:
        corpus["lexicon"] = [_resolved(source) for source in corpus["lexicon"]]
    if "bucket_file" in data:
        data.setdefault("dict_path", str(Path(data["bucket_file"], "char.dict")))


def _resolved(name: str) -> str:
    # By the last part of the name: a checkpoint from elsewhere holds the path that was true there.
    for folder in MODEL_CONFIGS:
        packaged = folder / Path(name).name
        if not Path(name).is_file() and packaged.is_file():
            return str(packaged)
    return name


def check_corpus(args: argparse.Namespace, config: dict) -> None:
    """Raise FitHubertError unless the corpus of a SUPERB task is complete: every file that the run reads.

    Tasks other than `ctc`, `asr`, `speech_commands` and `sv_voxceleb1` are left to s3prl.
    """
    expert = config.get("downstream_expert", {})
    corpus, data = expert.get("corpus", {}), expert.get("datarc", {})
    if args.mode == "inference":
        return
    if args.downstream == "ctc" and str(corpus.get("name")).lower() in ("librispeech", "libriphone"):
        folders = _folders(args, config["runner"], corpus, "config.downstream_expert.corpus")
        _check_librispeech(corpus["path"], folders)
    elif args.downstream == "asr":
        folders = _folders(args, config["runner"], data, "config.downstream_expert.datarc")
        for folder in folders:
            split_folder(str(data["libri_root"]), folder)
        check_prepared(data["bucket_file"], data["dict_path"], data["libri_root"], folders)
        _check_librispeech(data["libri_root"], folders)
    elif args.downstream == "speech_commands":
        require(check_speech_commands(data["speech_commands_root"], data["speech_commands_test_root"]))
    elif args.downstream == "sv_voxceleb1":
        require(check_voxceleb1(data["file_path"], Path(data["dev_meta_data"]), Path(data["test_meta_data"])))


def _check_librispeech(root: str, folders: list[str]) -> None:
    for folder in folders:
        split_folder(str(root), folder)
    require(check_librispeech(root, folders))


def _folders(args: argparse.Namespace, runner: dict, entries: dict, where: str) -> list[str]:
    """The folders of the splits that the run reads."""
    if args.mode == "evaluate":
        splits = [args.evaluate_split]
    else:
        splits = [runner.get("train_dataloader", "train"), *runner["eval_dataloaders"]]
    lists = [key for key, entry in entries.items() if isinstance(entry, list) and key != "lexicon"]
    for split in splits:
        if split not in lists:
            raise FitHubertError(
                f"split {split}: expected a list of folders at {where}.{split}, "
                f"found {entries.get(split, 'none')}; splits there: {', '.join(lists)}"
            )
    return list(dict.fromkeys(folder for split in splits for folder in entries[split]))

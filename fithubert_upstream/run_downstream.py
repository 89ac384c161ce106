"""s3prl's `run_downstream.py`, with our upstreams, on today's PyTorch: the same flags and the same code.

What is added: `-c` finds the packaged configs, `${VARIABLES}` in configs are filled in, phone
recognition has its corpus module and phone set, `--skip-oov`, `--device` is the CPU where there is no
GPU, mistakes are told before a model is built, and checkpoints are written whole or not at all.
"""

import argparse
import difflib
import sys
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import torch

from fithubert_upstream import s3prl_compat
from fithubert_upstream.config import expand_variables
from fithubert_upstream.errors import FitHubertError

_PACKAGE = Path(__file__).parent
# Installed, the configs lie inside the package; in a checkout, at its top.
_CONFIG_FOLDERS = (_PACKAGE / "downstream_configs", _PACKAGE.parent / "downstream_configs")
_LIBRIPHONE = "s3prl.downstream.ctc.corpus.libriphone"


def main(argv: list[str]) -> dict[str, float]:
    """Run a downstream task as s3prl's `run_downstream.py` does.

    Parameters
    ----------
    argv
        The flags of s3prl's `run_downstream.py`; also `--skip-oov`: leave out utterances with words that
        the lexicon lacks (phone recognition).

    Returns
    -------
    dict[str, float]
        The last value of everything that was logged, such as {"ctc-libriphone/test-per": 0.133}.

    Raises
    ------
    FitHubertError
        A config, checkpoint, corpus, split or upstream is not there.
    """
    ours, argv = _own_flags(argv)
    if ours.config is not None:
        argv = [*argv, "-c", str(find_config(ours.config))]
    elif _needs_config(ours):
        raise FitHubertError(f"-c: expected a config, found none; give one of {', '.join(available_configs())}")
    if ours.past_exp is not None:
        check_past_exp(ours.past_exp)
    device = ours.device or ("cuda" if torch.cuda.is_available() else "cpu")
    argv = [*argv, "--device", device]

    s3prl_compat.apply()
    from s3prl import hub, run_downstream

    import fithubert_upstream
    from fithubert_upstream.downstream import libriphone

    fithubert_upstream.register()
    with ExitStack() as stack:
        if not s3prl_compat.has_module(_LIBRIPHONE):
            stack.callback(s3prl_compat.provide_module(_LIBRIPHONE, libriphone))
        get_args = _checked(run_downstream.get_downstream_args, ours.skip_oov, hub)
        stack.enter_context(s3prl_compat.replaced(run_downstream, "get_downstream_args", get_args))
        stack.enter_context(s3prl_compat.replaced(sys, "argv", ["fithubert downstream", *argv]))
        if device == "cpu":
            stack.enter_context(s3prl_compat.without_cuda())
        stack.enter_context(s3prl_compat.atomic_torch_save())
        scalars = stack.enter_context(s3prl_compat.recorded_scalars())
        run_downstream.main()
    return scalars


def _own_flags(argv: list[str]) -> tuple[argparse.Namespace, list[str]]:
    """Take out the flags that are ours or that we complete; -e, -a and so on stay for s3prl too."""
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument("-c", "--config")
    parser.add_argument("--device")
    parser.add_argument("--skip-oov", action="store_true")
    ours, rest = parser.parse_known_args(argv)
    seen = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    seen.add_argument("-e", "--past_exp")
    seen.add_argument("-a", "--auto_resume", action="store_true")
    seen.add_argument("-d", "--downstream")
    seen.add_argument("-n", "--expname")
    seen.add_argument("-p", "--expdir")
    seen.add_argument("-h", "--help", action="store_true")
    seen.parse_known_args(rest, namespace=ours)
    return ours, rest


def _needs_config(ours: argparse.Namespace) -> bool:
    """Whether s3prl would look for its default config, which its wheel does not have."""
    if ours.past_exp or ours.help:
        return False
    expdir = Path(ours.expdir or f"result/downstream/{ours.expname}")
    resumes = ours.auto_resume and any(expdir.glob("states-*.ckpt"))
    return not resumes and not Path("downstream", str(ours.downstream), "config.yaml").is_file()


def find_config(name: str) -> Path:
    """Find a config: a file of that path, else one of the packaged ones, such as `mini/pr.yaml`.

    Raises
    ------
    FitHubertError
        There is no such config; lists those that are there.
    """
    inside = name.removeprefix("./").removeprefix("downstream_configs/")
    for path in (Path(name), *(folder / inside for folder in _CONFIG_FOLDERS)):
        if path.is_file():
            return path
    raise FitHubertError(
        f"-c {name}: expected a file or a packaged config, found neither; packaged: "
        f"{', '.join(available_configs()) or 'none'}"
    )


def available_configs() -> list[str]:
    """Names of the packaged configs, as `find_config` takes them."""
    return sorted(
        {path.relative_to(folder).as_posix() for folder in _CONFIG_FOLDERS for path in folder.rglob("*.yaml")}
    )


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


def _checked(get_downstream_args: Callable, skip_oov: bool, hub) -> Callable:
    """s3prl's reading of flags and config, completed and checked."""

    def get_args():
        args, config, backup_files = get_downstream_args()
        check_upstream(args, hub)
        config = expand_variables(config)
        resolve_packaged_files(config)
        if skip_oov:
            corpus = config.get("downstream_expert", {}).get("corpus")
            if corpus is None:
                raise FitHubertError("--skip-oov: expected a config with a corpus, found none; it is for -d ctc")
            corpus["skip_oov"] = True
        check_corpus(args, config)
        return args, config, backup_files

    return get_args


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


def resolve_packaged_files(config: dict) -> None:
    """Let the vocabulary and lexicons, where there is no such file, be the packaged ones of that name."""
    expert = config.get("downstream_expert", {})
    text, corpus = expert.get("text", {}), expert.get("corpus", {})
    if "vocab_file" in text:
        text["vocab_file"] = _resolved(text["vocab_file"])
        if not Path(text["vocab_file"]).is_file():
            raise FitHubertError(
                f"vocabulary {text['vocab_file']}: expected a file of that name, found none; "
                "phone recognition's is packaged as phoneme.txt"
            )
    if "lexicon" in corpus:
        corpus["lexicon"] = [_resolved(source) for source in corpus["lexicon"]]


def _resolved(name: str) -> str:
    # By the last part of the name: a checkpoint from elsewhere holds the path that was true there.
    packaged = _PACKAGE / "configs" / Path(name).name
    return str(packaged) if not Path(name).is_file() and packaged.is_file() else name


def check_corpus(args: argparse.Namespace, config: dict) -> None:
    """Raise FitHubertError unless the splits that the run reads are there (LibriSpeech-like corpora)."""
    from fithubert_upstream.downstream.libriphone import split_folder

    corpus = config.get("downstream_expert", {}).get("corpus", {})
    if str(corpus.get("name")).lower() not in ("librispeech", "libriphone") or args.mode == "inference":
        return
    runner = config["runner"]
    if args.mode == "evaluate":
        splits = [args.evaluate_split]
    else:
        splits = [runner.get("train_dataloader", "train"), *runner["eval_dataloaders"]]
    known = [key for key, entry in corpus.items() if key in ("train", "dev", "test") or key in splits]
    for split in splits:
        if not isinstance(corpus.get(split), list):
            raise FitHubertError(
                f"split {split}: expected a list of folders at config.downstream_expert.corpus.{split}, "
                f"found {corpus.get(split, 'none')}; splits there: {', '.join(known)}"
            )
        for folder in corpus[split]:
            split_folder(str(corpus["path"]), folder)

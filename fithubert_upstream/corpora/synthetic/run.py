"""`fithubert synth`: synthetic speech in the layouts of the real corpora, for where those cannot be had."""

import argparse
from collections.abc import Callable
from pathlib import Path

from ...runs.outputs import check_output_folder
from .corpus import DESCRIPTION, Corpus, is_complete, write_corpus
from .fluent_commands import plan_fluent_commands
from .iemocap import plan_iemocap
from .librimix import plan_librimix
from .librispeech import plan_librispeech
from .quesst14 import plan_quesst14
from .snips import plan_snips
from .speech_commands import plan_speech_commands
from .voxceleb1 import plan_voxceleb1

PLANS: dict[str, Callable[[dict[str, float], int], Corpus]] = {
    "librispeech": plan_librispeech,
    "speech_commands": plan_speech_commands,
    "voxceleb1": plan_voxceleb1,
    "fluent_commands": plan_fluent_commands,
    "iemocap": plan_iemocap,
    "snips": plan_snips,
    "librimix": plan_librimix,
    "quesst14": plan_quesst14,
}


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="fithubert synth",
        description="Write synthetic speech (eSpeak NG) in the layouts of LibriSpeech, Speech Commands, VoxCeleb1, "
        "Fluent Speech Commands, IEMOCAP, Audio SNIPS, LibriMix and QUESST 2014. The same seed gives the same files; a "
        "complete corpus is not rewritten.",
        epilog="example: fithubert synth data --minutes 20",
    )
    parser.add_argument("dir", metavar="DIR", help="folder for LibriSpeech/, VoxCeleb1/ and so on")
    parser.add_argument(
        "--minutes",
        type=float,
        required=True,
        metavar="M",
        help="minutes of training speech in each layout; adds a tenth as dev set (at least 1 min) of LibriSpeech, "
        "Fluent Speech Commands, SNIPS and LibriMix, and a fifth as each test set (at least 1.5 min); IEMOCAP has M in "
        "all, QUESST 2014 documents of a fifth",
    )
    parser.add_argument("--seed", type=int, default=0, help="(default: %(default)s)")
    parser.add_argument("--jobs", type=int, metavar="N", help="processes (default: one for each core)")
    return parser


def main(argv: list[str]) -> Path:
    """Write the corpora and say where they are."""
    args = build_parser().parse_args(argv)
    root = synthesise_all(args.dir, args.minutes, args.seed, args.jobs)
    names = ", ".join(path.name for path in sorted(root.iterdir()) if (path / DESCRIPTION).is_file())
    print(f"{root}: {names}; {args.minutes:g} min of training speech each")
    return root


def synthesise(
    layout: str,
    root: str | Path,
    minutes: dict[str, float],
    seed: int = 0,
    jobs: int | None = None,
    progress: bool = True,
) -> Path:
    """Write synthetic speech in the layout of one corpus, which the function in PLANS describes.

    `root/corpus.json` tells the parameters and the voices. The corpus appears at `root` when it is complete;
    what an interrupted call left is written anew. A complete one with the same parameters is kept as it is.
    The files do not depend on `jobs`.

    Parameters
    ----------
    layout : str
        One of PLANS.
    root : path
        A folder that does not exist, is empty, or holds such a corpus.
    minutes : dict
        Minutes of audio of each split, e.g. `{"train": 20, "dev": 2, "test": 4}`; each layout has its own splits.
    seed : int
    jobs : int, optional
        Processes; by default one for each core.
    progress : bool
        Show a bar.

    Raises
    ------
    FitHubertError
        `root` holds something else; `minutes` has other splits or is not positive.
    """
    return write_corpus(root, PLANS[layout](minutes, seed), jobs, progress)


def synthesise_all(
    root: str | Path, minutes: float, seed: int = 0, jobs: int | None = None, progress: bool = True
) -> Path:
    """Write `LibriSpeech`, `speech_commands`, `VoxCeleb1`, and so on, all layouts below `root`.

    Parameters
    ----------
    root : path
    minutes : float
        Of training speech in each: M gives `{"train": M, "dev": max(1, M / 10), "test": max(1.5, M / 5)}` of
        LibriSpeech, LibriMix and (with valid for dev) of Fluent Speech Commands and Audio SNIPS, `{"train": M, "test":
        max(1.5, M / 5)}` of Speech Commands, `{"dev": M, "test": max(1.5, M / 5)}` of VoxCeleb1, `{"all": M}` of
        IEMOCAP and `{"documents": max(1.5, M / 5)}` of QUESST 2014.
    seed : int
    jobs : int, optional
        Processes; by default one for each core.
    progress : bool
        Show a bar for each corpus.

    Raises
    ------
    FitHubertError
        One of the folders holds something else; `minutes`, `seed` or `jobs` make no sense. Nothing is written then.
    """
    check_output_folder(root, "DIR")
    root = Path(root)
    dev, test = max(1.0, minutes / 10), max(1.5, minutes / 5)
    corpora = {
        root / "LibriSpeech": plan_librispeech({"train": minutes, "dev": dev, "test": test}, seed),
        root / "speech_commands": plan_speech_commands({"train": minutes, "test": test}, seed),
        root / "VoxCeleb1": plan_voxceleb1({"dev": minutes, "test": test}, seed),
        root / "fluent_commands": plan_fluent_commands({"train": minutes, "valid": dev, "test": test}, seed),
        root / "IEMOCAP": plan_iemocap({"all": minutes}, seed),
        root / "SNIPS": plan_snips({"train": minutes, "valid": dev, "test": test}, seed),
        root / "LibriMix": plan_librimix({"train": minutes, "dev": dev, "test": test}, seed),
        root / "quesst14": plan_quesst14({"documents": test}, seed),
    }
    for folder, corpus in corpora.items():  # a mistake is told before anything is written
        is_complete(folder, corpus.parameters)
    for folder, corpus in corpora.items():
        write_corpus(folder, corpus, jobs, progress)
    return root

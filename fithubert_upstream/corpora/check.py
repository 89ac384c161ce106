"""`fithubert check`: whether a corpus is complete and its audio whole, before hours are spent on it.

All problems are collected, one line each; every file is decoded once and remembered (`audio.scan`).
"""

import argparse
from pathlib import Path

from ..errors import FitHubertError
from .layouts.fluent_commands import check_fluent_commands
from .layouts.iemocap import check_iemocap
from .layouts.librimix import check_librimix
from .layouts.librispeech import check_librispeech
from .layouts.quesst14 import check_quesst14
from .layouts.snips_check import check_snips
from .layouts.speech_commands import check_speech_commands
from .layouts.voxceleb1 import IDENTIFICATION, check_identification, check_voxceleb1
from .problems import SHOWN_PROBLEMS, Report

# Of the official corpora, where a primary source or a count says so.
OFFICIAL_COUNTS = {
    "train-clean-100 utterances": 28_539,
    "test trials": 37_720,
    "identification speakers": 1_251,  # s3prl's number of classes
}
CORPORA = {
    "librispeech": "holds train-clean-100 and so on",
    "speech_commands": "holds train and test, or speech_commands_v0.01 and speech_commands_test_set_v0.01",
    "voxceleb1": f"holds dev/wav and test/wav, and for speaker identification {IDENTIFICATION}",
    "fluent_commands": "holds wavs and data/{train,valid,test}_data.csv",
    "iemocap": "holds Session1 to Session5",
    "snips": "holds all.iob.snips.txt, slots.txt, train, valid and test",
    "librimix": "holds train, dev and test with wav.scp, segments, utt2spk and reco2dur",
    "quesst14": "holds scoring, and the recordings that its lists name",
}


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="fithubert check",
        description="Check that a corpus is complete and that all its audio can be decoded.",
        epilog="example: fithubert check librispeech /data/LibriSpeech",
    )
    parser.add_argument("corpus", choices=list(CORPORA))
    parser.add_argument("folder", metavar="DIR", help="; ".join(f"{name}: {what}" for name, what in CORPORA.items()))
    parser.add_argument(
        "--test", metavar="DIR", help="speech_commands: where the test set is; the first DIR then is the training set"
    )
    return parser


def main(argv: list[str]) -> None:
    """`fithubert check CORPUS DIR`: print what is there and every problem.

    Raises
    ------
    FitHubertError
        There are problems.
    """
    args = build_parser().parse_args(argv)
    if args.test is not None and args.corpus != "speech_commands":
        raise FitHubertError(f"--test: expected it with speech_commands only, found it with {args.corpus}")
    if args.corpus == "speech_commands":
        report = check_speech_commands(*_speech_commands_roots(Path(args.folder), args.test))
    else:
        checks = {
            "librispeech": check_librispeech,
            "voxceleb1": _check_voxceleb1,
            "fluent_commands": check_fluent_commands,
            "iemocap": check_iemocap,
            "snips": check_snips,
            "librimix": check_librimix,
            "quesst14": check_quesst14,
        }
        report = checks[args.corpus](args.folder)
    print(_table(report))
    for problem in report.problems[:SHOWN_PROBLEMS]:
        print(problem)
    if len(report.problems) > SHOWN_PROBLEMS:
        print(f"... and {len(report.problems) - SHOWN_PROBLEMS:,} more")
    if report.problems:
        raise FitHubertError(f"{len(report.problems):,} problem{'s'[: len(report.problems) > 1]} in {args.folder}")
    print("no problems found")


def _check_voxceleb1(folder: str) -> Report:
    """Both of its tasks: verification, and identification where the corpus has the list for it."""
    report, listed = check_voxceleb1(folder), Path(folder, IDENTIFICATION)
    if not listed.is_file():
        return report
    more = check_identification(folder, listed)
    return Report(report.corpus, report.counts | more.counts, list(dict.fromkeys([*report.problems, *more.problems])))


def _speech_commands_roots(folder: Path, test: str | None) -> tuple[Path, Path]:
    if test is not None:
        return folder, Path(test)
    names = [("train", "test"), ("speech_commands_v0.01", "speech_commands_test_set_v0.01")]
    for pair in names:
        if any((folder / name).is_dir() for name in pair):
            return folder / pair[0], folder / pair[1]
    expected = ", or ".join(" and ".join(pair) for pair in names)
    raise FitHubertError(f"{folder}: expected folders {expected}, found neither; name the test set with --test DIR")


def _table(report: Report) -> str:
    """The counts of a report, the official ones beside them where they are known."""
    official = {name: f"{OFFICIAL_COUNTS[name]:,}" for name in report.counts if name in OFFICIAL_COUNTS}
    rows = [("", "found", "official" if official else "")]
    for name, count in report.counts.items():
        rows.append((name, f"{count:,}" if isinstance(count, int) else f"{count:,.2f}", official.get(name, "")))
    wide = max(len(name) for name, _, _ in rows)
    lines = [f"  {name:<{wide}} {found:>9} {count:>9}".rstrip() for name, found, count in rows]
    return "\n".join([report.corpus, *lines] if report.counts else [report.corpus])

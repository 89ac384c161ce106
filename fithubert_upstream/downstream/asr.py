"""`fithubert prepare`: the tables that s3prl's tasks read and its wheel lacks.

Those of emotion recognition are in `corpora.layouts.iemocap`, those of slot filling in `corpora.layouts.snips`.
"""

import argparse
import csv
import io
from collections import Counter
from pathlib import Path

from ..corpora.layouts.iemocap import METADATA, prepare_iemocap
from ..corpora.layouts.librispeech import Utterance, librispeech_report, read_splits, transcript_name
from ..corpora.layouts.snips import SLOTS, prepare_snips
from ..corpora.problems import require
from ..errors import FitHubertError
from ..files import atomic_path
from ..runs.outputs import check_output_folder

WORD_END = "|"
LETTERS = "'ABCDEFGHIJKLMNOPQRSTUVWXYZ"
DICTIONARY = "char.dict"
FOLDER = "len_for_bucket"  # the name in s3prl's configs
COLUMNS = ["file_path", "length"]


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="fithubert prepare",
        description="Write the files that s3prl's tasks need: librispeech, a table of lengths for each split and "
        "char.dict for speech recognition; iemocap, the utterances of each fold for emotion recognition; snips, the "
        "slots file of slot filling where the corpus came without.",
        epilog="example: fithubert prepare librispeech /data/LibriSpeech --splits train-clean-100 dev-clean test-clean",
    )
    parser.add_argument("corpus", choices=["librispeech", "iemocap", "snips"])
    parser.add_argument(
        "folder", metavar="DIR", help="holds train-clean-100 and so on; iemocap: Session1 to Session5; snips: the table"
    )
    parser.add_argument(
        "-o",
        "--output",
        metavar="OUT",
        help=f"where to write (DIR/{FOLDER}; of iemocap DIR/{METADATA}, of snips DIR/{SLOTS})",
    )
    parser.add_argument(
        "--splits", nargs="+", metavar="SPLIT", help="librispeech: folders below DIR (all that hold transcripts)"
    )
    return parser


def main(argv: list[str]) -> None:
    """`fithubert prepare CORPUS DIR`: see `prepare_librispeech`, `prepare_iemocap` and `prepare_snips`."""
    args = build_parser().parse_args(argv)
    if args.corpus == "librispeech":
        prepare_librispeech(args.folder, args.output, args.splits)
    elif args.splits is not None:
        raise FitHubertError(f"--splits: expected it with librispeech only, found it with {args.corpus}")
    else:
        {"iemocap": prepare_iemocap, "snips": prepare_snips}[args.corpus](args.folder, args.output)


def prepare_librispeech(
    root: str | Path, output: str | Path | None = None, splits: list[str] | None = None, progress: bool = True
) -> Path:
    """Check splits, then write `<split>.csv` for each, and `char.dict`; files that are up to date stay as they are.

    A table has the columns that s3prl's `SequenceDataset` reads: `file_path` below `root`, and `length` in samples:
    s3prl halves a batch whose longest utterance is over 2000, and says in superb_asr.py that with this every
    batch of 32 is one of 16. `char.dict` is a dictionary of fairseq: a line `SYMBOL COUNT` for each of `|` (the end
    of a word), `'` and A to Z, most frequent first. Its order numbers a model's outputs.

    Parameters
    ----------
    root : path
        A corpus in LibriSpeech's layout.
    output : path, optional
        By default `root/len_for_bucket`.
    splits : list of str, optional
        By default every sub-folder that holds transcripts. The counts of `char.dict` are over all of them.
    progress : bool
        Show bars, and say what was written.

    Returns
    -------
    Path
        `output`, for `bucket_file` in s3prl's config; `char.dict` in it is for `dict_path`.

    Raises
    ------
    FitHubertError
        The corpus has problems, a transcript holds another character, or `output` cannot be written.
    """
    root = Path(root)
    if root.is_dir():
        check_output_folder(root / FOLDER if output is None else output)
    output = root / FOLDER if output is None else Path(output)
    utterances, problems = read_splits(root, splits, progress)
    require(librispeech_report(root, utterances, problems))
    texts = {f"{split}.csv": _table(root, members) for split, members in utterances.items()}
    texts[DICTIONARY] = _dictionary([utterance for members in utterances.values() for utterance in members])
    changed = [name for name, text in texts.items() if _read(output / name) != text]
    renumbered = DICTIONARY in changed and _symbols(_read(output / DICTIONARY)) not in ([], _symbols(texts[DICTIONARY]))
    for name in changed:
        with atomic_path(output / name) as temporary:
            temporary.write_bytes(texts[name].encode())
    if progress:
        print(f"{output}: wrote {', '.join(changed)}" if changed else f"{output}: up to date")
        if renumbered:
            print(f"{output / DICTIONARY}: the symbols have new numbers; retrain the models that used the old file")
    return output


def check_prepared(bucket_file: str | Path, dict_path: str | Path, root: str | Path, splits: list[str]) -> None:
    """See that s3prl's speech recognition will find its tables, its dictionary and the audio that they name.

    Parameters
    ----------
    bucket_file : path
        The folder of the tables.
    dict_path : path
        `char.dict`.
    root : path
        The corpus.
    splits : list of str

    Raises
    ------
    FitHubertError
        One of them is missing, empty or in another form.
    """
    advice = f"run `fithubert prepare librispeech {root}`"
    if not _symbols(_read(Path(dict_path))):
        found = "an empty file" if Path(dict_path).is_file() else "no such file"
        raise FitHubertError(f"{dict_path}: expected a dictionary of characters, found {found}; {advice}")
    for split in splits:
        table = Path(bucket_file, f"{split}.csv")
        text = _read(table)
        if text is None:
            raise FitHubertError(f"{table}: expected a table of lengths, found no such file; {advice}")
        rows = csv.DictReader(io.StringIO(text))
        if not set(COLUMNS) <= set(rows.fieldnames or []):
            found = ", ".join(rows.fieldnames or []) or "an empty file"
            raise FitHubertError(f"{table}: expected the columns {' and '.join(COLUMNS)}, found {found}; {advice}")
        files = [row["file_path"] or "" for row in rows]
        if not files:
            raise FitHubertError(f"{table}: expected utterances, found none; {advice}")
        missing = [file for file in files if not Path(root, file).is_file()]
        if missing:
            raise FitHubertError(
                f"{table}: expected {missing[0]} in {root}, found no such file ({len(missing)} of {len(files)} "
                f"are missing); {advice}"
            )


def check_tables(bucket_file: str | Path, root: str | Path, utterances: dict[str, list[Utterance]]) -> None:
    """Raise FitHubertError for a table of another corpus than the one of now: its files and their lengths.

    Parameters
    ----------
    bucket_file : path
        The folder of the tables, which `check_prepared` has looked at.
    root : path
        The corpus.
    utterances : dict
        Of each split, as `librispeech.read_splits` gives them.
    """
    for split, members in utterances.items():
        table = Path(bucket_file, f"{split}.csv")
        there = {row["file_path"]: row["length"] for row in csv.DictReader(io.StringIO(_read(table)))}
        now = {u.audio.relative_to(root).as_posix(): str(u.samples) for u in members}
        counts = {
            "not in it": len(now.keys() - there.keys()),
            "no longer there": len(there.keys() - now.keys()),
            "of another length": sum(there[name] != length for name, length in now.items() if name in there),
        }
        if any(counts.values()):
            found = ", ".join(f"{count} {what}" for what, count in counts.items() if count)
            raise FitHubertError(
                f"{table}: expected the utterances of {Path(root, split)}, found that the corpus has changed since it "
                f"was written: {found}; run `fithubert prepare librispeech {root}`"
            )


def symbols(dictionary: str | Path) -> list[str]:
    """The symbols of a dictionary in their order, which numbers them; none where there is no such file."""
    return _symbols(_read(Path(dictionary)))


def _table(root: Path, utterances: list[Utterance]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    for utterance in utterances:
        writer.writerow([utterance.audio.relative_to(root).as_posix(), utterance.samples])
    return text.getvalue()


def _dictionary(utterances: list[Utterance]) -> str:
    counts = Counter(dict.fromkeys(WORD_END + LETTERS, 0))
    for utterance in utterances:
        text = "".join(utterance.words)
        for character in text:
            # s3prl would add it to the dictionary, behind the outputs that the model has.
            if character not in LETTERS:
                transcript = utterance.audio.with_name(transcript_name(utterance.audio.parent))
                raise FitHubertError(
                    f"{transcript}: expected A to Z and ' only, found {character!r} at {utterance.audio.stem}; "
                    "spell it out"
                )
        counts.update(text)
        counts[WORD_END] += len(utterance.words)
    ordered = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    return "".join(f"{symbol} {count}\n" for symbol, count in ordered)


def _symbols(dictionary: str | None) -> list[str]:
    """The first field of each line of a dictionary; none where there is no such file."""
    return [line.split()[0] for line in (dictionary or "").splitlines() if line.strip()]


def _read(path: Path) -> str | None:
    try:
        return path.read_bytes().decode()
    except (OSError, UnicodeError):
        return None

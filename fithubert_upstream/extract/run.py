"""Features of folders of audio. What is done is kept: run the same command again to go on."""

import argparse
import contextlib
import itertools
import time
from collections import Counter, deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
from tqdm import tqdm

from ..audio import SAMPLE_RATE
from ..audio.decode import read_speech
from ..audio.walk import printable
from ..errors import FitHubertError
from ..runs.launcher import find_launch
from ..runs.outputs import check_output_folder
from ..runs.parser import Parser
from ..runs.stop_signal import StopSignal
from ..runs.workers import available_cores
from ..superb.names import UPSTREAM
from .dataset import extract_dataset, is_dataset
from .encoders import Encoder, encode_each, identify, open_encoder
from .formats import FORMATS, Writer, finish_dataset, open_writer
from .journal import BAD, INDEX, Entry, Journal
from .recordings import Recording, find_recordings, groups, parse_shard, singles
from .selection import ALL, Selection, name_upstream

LAST = Selection()
SHOWN = 5  # bad files that are named at the end


class Outcome(NamedTuple):
    """What became of a recording: features, or what is wrong with it."""

    recording: Recording
    features: np.ndarray | None = None
    frames: int = 0
    samples: int = 0  # at 16 kHz
    rate: int = SAMPLE_RATE  # of the file
    problem: str = ""


def build_parser() -> argparse.ArgumentParser:
    parser = Parser(
        prog="fithubert extract",
        description="Write an upstream's features of audio files: any format that libsndfile decodes, any rate, any "
        "channels. Run the same command again to go on after an interruption.",
        epilog="example: fithubert extract data/LibriSpeech/dev -u fithubert_mini -o result/features",
    )
    parser.add_argument("audio", nargs="+", metavar="AUDIO", help="audio files, or folders of them")
    parser.add_argument(
        "-u", "--upstream", required=True, metavar=UPSTREAM, help="an upstream on s3prl's hub, or a checkpoint's path"
    )
    parser.add_argument("-o", "--output", required=True, metavar="OUT", help="output folder")
    layers = parser.add_mutually_exclusive_group()
    layers.add_argument(
        "--layer", type=int, metavar="N", help="entry N of hidden_states, from 0 (default: last_hidden_state)"
    )
    layers.add_argument("--layers", choices=[ALL], help="all of hidden_states, (N, L, D) for each recording")
    parser.add_argument("--pool", choices=["mean"], help="one vector for each recording: the mean over its frames")
    parser.add_argument("--format", choices=list(FORMATS), default="npy", help="default: %(default)s")
    parser.add_argument("--shard", metavar="i/n", default="0/1", help="do the i-th of n shares, from 0")
    parser.add_argument("--device", help="default: cuda where there is a GPU")
    parser.add_argument(
        "--workers",
        type=int,
        metavar="N",
        help="threads (default: one for each core)",
    )
    return parser


def main(argv: list[str]) -> None:
    """`fithubert extract AUDIO... -u UPSTREAM -o OUT`."""
    args = build_parser().parse_args(argv)
    shard = parse_shard(args.shard)
    launch = find_launch()
    if launch.processes > 1 and shard[1] == 1:
        raise FitHubertError(
            f"expected --shard i/n in each of {launch.processes} processes ({launch.name}), found none; for example "
            "srun bash -c 'fithubert extract ... --shard $SLURM_PROCID/$SLURM_NTASKS'"
        )
    selection = Selection(ALL if args.layers else args.layer, args.pool)
    if len(args.audio) == 1 and is_dataset(args.audio[0]):
        if args.format != "hf" or shard[1] > 1:
            raise FitHubertError(f"{args.audio[0]}: a dataset goes out as one, in one process; give --format hf alone")
        extract_dataset(args.audio[0], args.upstream, args.output, selection, args.device, args.workers)
        return
    extract(
        args.audio,
        args.upstream,
        args.output,
        selection,
        kind=args.format,
        shard=shard,
        device=args.device,
        workers=args.workers,
    )


def extract(
    audio: Sequence[str | Path],
    upstream: str,
    out: str | Path,
    selection: Selection = LAST,
    kind: str = "npy",
    shard: tuple[int, int] = (0, 1),
    device: str | None = None,
    workers: int | None = None,
) -> list[Entry]:
    """Write the features that `out` does not hold yet.

    Parameters
    ----------
    audio
        Files and folders.
    upstream
        As `-u` takes it.
    out
        Gets the features, index.tsv, and bad.tsv where recordings could not be read.
    selection
        Which features.
    kind
        One of `FORMATS`.
    shard
        Number and count of the shares of the work.
    device
        Default: cuda where there is a GPU.
    workers
        Threads; default: one for each core.

    Returns
    -------
    list of Entry
        All that `out` holds.

    Raises
    ------
    FitHubertError
        There is no audio, the upstream cannot be built, `out` holds features with other settings, the disk is full,
        or recordings could not be read: then the others are done.
    """
    check_output_folder(out)
    if workers is not None and workers < 1:
        raise FitHubertError(f"--workers {workers}: expected at least 1")
    recordings = find_recordings(audio)[shard[0] :: shard[1]]
    named = name_upstream(upstream)
    encoder = open_encoder(named, selection, device)
    journal = Journal(out, identify(named, selection) | {"format": kind}, shard)
    bad: list[tuple[str, str]] = []
    stop = StopSignal()
    try:
        writer = open_writer(kind, journal)
        left = journal.left(recordings)
        with stop, encoder.running():
            outcomes = encode_all(encoder, left, workers or available_cores())
            try:
                rates = _write(outcomes, writer, len(recordings), len(recordings) - len(left), bad, stop)
            finally:
                outcomes.close()
                writer.flush()
    except BaseException:
        with contextlib.suppress(FitHubertError, OSError):  # a full disk; what is done is noted all the same
            journal.close(bad)
        raise
    entries = journal.close(bad)
    if kind == "hf":
        finish_dataset(Path(out), entries)
    if stop.number:
        raise KeyboardInterrupt if stop.number == 2 else SystemExit(128 + stop.number)
    _summarise(entries, rates, Path(out))
    if bad:
        raise FitHubertError(
            f"{len(bad):,} of {len(recordings):,} recordings could not be read ({Path(out) / BAD}); the others are done"
        )
    return entries


def encode_all(encoder: Encoder, recordings: Sequence[Recording], workers: int) -> Iterator[Outcome]:
    """Decode and encode in threads; the outcomes in an order that depends on the recordings alone."""
    pending: deque[Future[list[Outcome]]] = deque()
    tasks = groups(recordings) if encoder.batches else singles(recordings)
    with ThreadPoolExecutor(workers) as pool:
        try:
            submit = partial(pool.submit, _work, encoder)
            pending.extend(map(submit, itertools.islice(tasks, 2 * workers)))
            while pending:
                yield from pending.popleft().result()
                pending.extend(map(submit, itertools.islice(tasks, 1)))
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def _work(encoder: Encoder, group: Sequence[Recording]) -> list[Outcome]:
    outcomes, waveforms = [], []
    for recording in group:
        try:
            samples, rate = read_speech(recording.path)
        except Exception as error:  # whatever it raises, the others are done
            outcomes.append(Outcome(recording, problem=_reason(error, recording)))
            continue
        outcomes.append(Outcome(recording, samples=len(samples), rate=rate))
        waveforms.append(samples)
    features = iter(encode_each(encoder, waveforms))
    return [outcome if outcome.problem else _with(outcome, next(features)) for outcome in outcomes]


def _with(outcome: Outcome, result: tuple[np.ndarray, int] | Exception) -> Outcome:
    if isinstance(result, Exception):
        return outcome._replace(problem=_reason(result, outcome.recording))
    return outcome._replace(features=result[0], frames=result[1])


def _reason(error: Exception, recording: Recording) -> str:
    message = str(error) if isinstance(error, FitHubertError) else f"{type(error).__name__}: {error}"
    return " ".join(message.removeprefix(f"{printable(recording.path)}: ").split())[:300]


def _write(
    outcomes: Iterable[Outcome], writer: Writer, total: int, done: int, bad: list[tuple[str, str]], stop: StopSignal
) -> Counter[int]:
    """Hand the features to the writer, to the end or to a signal. What cannot be read goes to `bad`; files by rate."""
    rates: Counter[int] = Counter()
    seconds, started = 0.0, time.perf_counter()
    with tqdm(total=total, initial=done, unit="file", desc="extract", dynamic_ncols=True) as bar:
        for outcome in outcomes:
            path = printable(outcome.recording.path)
            if outcome.features is None:
                bad.append((outcome.recording.path, outcome.problem))
                if len(bad) <= SHOWN:
                    bar.write(f"{path}: {outcome.problem}")
            else:
                if outcome.rate < SAMPLE_RATE and not rates[outcome.rate]:
                    bar.write(
                        f"{path}: {outcome.rate:,} Hz, resampled; there is nothing above {outcome.rate // 2:,} Hz"
                    )
                rates[outcome.rate] += 1
                seconds += outcome.samples / SAMPLE_RATE
                entry = Entry(*outcome.recording, "", outcome.frames, outcome.samples / SAMPLE_RATE)
                writer.add(entry, outcome.features)
            bar.update()
            bar.set_postfix_str(f"{seconds / (time.perf_counter() - started):,.0f} h/h", refresh=False)
            if stop.number:
                break
    return rates


def _summarise(entries: Sequence[Entry], rates: Counter[int], out: Path) -> None:
    resampled = [f"{count:,} from {rate:,} Hz" for rate, count in sorted(rates.items()) if rate != SAMPLE_RATE]
    if resampled:
        print(f"resampled to {SAMPLE_RATE:,} Hz: {', '.join(resampled)}")
    hours = sum(entry.seconds for entry in entries) / 3600
    print(f"{out}: {len(entries):,} recordings, {hours:.2f} hours; {INDEX} lists them")

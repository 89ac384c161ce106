"""Whether `fithubert extract` keeps the model busy: its speed beside that of forward passes alone, in one run.

`python benchmarks/extract.py AUDIO --minutes 5 --rounds 5`: of the first minutes of a folder, in turn and in
alternating order, (a) forward passes on waveforms that are in memory, one utterance after another, (b) the same by
as many threads as extract has, with one core each, and (c) `extract`, from the files on the disk to the features on
the disk. Printed are the medians of the speeds, of c's ratio to a and to b in the same round, and the same of the
seconds that the processor was at work, which say more where other programs run beside this one. Where the cores are
taken, (a) with several threads takes many times as long: OMP_NUM_THREADS=1 gives it one.
"""

import argparse
import contextlib
import io
import os
import statistics
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import torch

from fithubert_upstream.audio import SAMPLE_RATE
from fithubert_upstream.audio.decode import read_speech
from fithubert_upstream.extract import run
from fithubert_upstream.extract.encoders import open_encoder
from fithubert_upstream.extract.recordings import find_recordings
from fithubert_upstream.extract.selection import Selection, name_upstream
from fithubert_upstream.runs.provenance import hardware
from fithubert_upstream.runs.workers import available_cores


def main(args: argparse.Namespace) -> None:
    files, waveforms, seconds = [], [], 0.0
    for recording in find_recordings([args.audio]):
        if seconds >= 60 * args.minutes:
            break
        waveforms.append(read_speech(recording.path)[0])
        files.append(recording.path)
        seconds += len(waveforms[-1]) / SAMPLE_RATE
    encoder = open_encoder(name_upstream(args.upstream), Selection())
    cores = available_cores()
    run.open_encoder = lambda *_: encoder  # building it takes the same time for a minute and for a year of audio

    def alone() -> None:
        for waveform in waveforms:
            encoder([waveform])

    def threads() -> None:
        with encoder.running(), ThreadPoolExecutor(cores) as pool:
            list(pool.map(lambda waveform: encoder([waveform]), waveforms))

    def extract() -> None:
        with tempfile.TemporaryDirectory(dir=args.output) as out:
            quiet = io.StringIO()
            with contextlib.redirect_stdout(quiet), contextlib.redirect_stderr(quiet):
                run.extract(files, args.upstream, Path(out, "features"), kind=args.format)

    ways = {"forward alone": alone, "forward, threads": threads, "extract": extract}
    if args.without_alone:
        del ways["forward alone"]
    speeds: dict[str, list[float]] = {name: [] for name in ways}
    works: dict[str, list[float]] = {name: [] for name in ways}
    for number in range(args.rounds + 1):
        for name in list(ways) if number % 2 else list(ways)[::-1]:
            started, work = time.perf_counter(), time.process_time()
            ways[name]()
            if number:  # the first round warms up
                speeds[name].append(seconds / (time.perf_counter() - started))
                works[name].append(time.process_time() - work)
    print(f"{args.upstream}, {args.format}: {len(files)} files, {seconds:.0f} s; {hardware()}", end="; ")
    print(f"{torch.get_num_threads()} threads alone, load {os.getloadavg()[0]:.1f}, {args.rounds} rounds")
    for name, values in speeds.items():
        ratios = [mine / other for mine, other in zip(speeds["extract"], values, strict=True)]
        busy = statistics.median(mine / other for mine, other in zip(works["extract"], works[name], strict=True))
        print(
            f"{name:<17} {statistics.median(values):7.1f} hours an hour; extract/{name} "
            f"{statistics.median(ratios):.3f} ({min(ratios):.3f} to {max(ratios):.3f}), processor {busy:.3f}"
        )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("audio")
    parser.add_argument("-u", "--upstream", default="fithubert_mini")
    parser.add_argument("--minutes", type=float, default=5.0)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--format", default="npy")
    parser.add_argument("--without-alone", action="store_true", help="leave (a) out")
    parser.add_argument("-o", "--output", help="where the features lie for a moment (default: the system's place)")
    main(parser.parse_args())

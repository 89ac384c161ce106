"""`fithubert listen`: what is said in a recording or a stream, and whether it is the enrolled speaker."""

import sys
from typing import Any

import numpy as np

from ..assets import JOINT
from ..audio import SAMPLE_RATE
from ..audio.decode import read_speech
from ..audio.pcm import TRY, read_pcm
from ..errors import FitHubertError
from ..runs.parser import Parser
from .onnx_model import load_listener, same_voice
from .spotting import FEWEST, THRESHOLD, Spotter

STREAM = "-"
SHORT = 4  # seconds of an enrolled voice below which the model is often wrong


def build_parser() -> Parser:
    parser = Parser(
        prog="fithubert listen",
        description="Recognise the keyword in each recording and, with --enroll, check whether it is the enrolled "
        "speaker, in one forward pass. With -, do so for each keyword in a stream on standard input, as it is heard.",
        epilog="examples: fithubert listen yes.wav no.wav --enroll my_voice.wav; "
        "arecord -f S16_LE -r 16000 | fithubert listen -",
    )
    parser.add_argument(
        "files",
        nargs="+",
        metavar="FILE",
        help=f"a recording, at any rate and with any channels; or {STREAM} for 16-bit little-endian mono samples, or a "
        "WAV of 16-bit samples, on standard input until it ends or Ctrl-C",
    )
    parser.add_argument(
        "-m",
        "--model",
        default=JOINT,
        help="a .safetensors or an .onnx of `fithubert export-joint`, of which the .onnx needs no torch; by default "
        "the embedded %(default)s, which knows yes, no, up, down, left, right, on, off, stop and go",
    )
    parser.add_argument("--enroll", metavar="FILE", help="a recording of the speaker to recognise")
    parser.add_argument(
        "--rate", type=int, help=f"Hz of the samples in a stream, {SAMPLE_RATE} by default; 8000 for telephone audio"
    )
    parser.add_argument(
        "--threshold",
        type=float,
        help=f"in a stream, how sure to be before a keyword is printed, {THRESHOLD} by default: more gives fewer false "
        "alarms and more misses",
    )
    return parser


def main(argv: list[str]) -> None:
    """`fithubert listen FILE ... [--enroll FILE] [-m MODEL]`, or `fithubert listen - [--rate HZ] [--threshold P]`."""
    args = build_parser().parse_args(argv)
    streams = args.files.count(STREAM)
    if streams and len(args.files) > 1:
        raise FitHubertError(f"{STREAM}: expected no file beside standard input, found {len(args.files) - 1} more")
    for flag in ("rate", "threshold"):
        if getattr(args, flag) is not None and not streams:
            raise FitHubertError(f"--{flag}: expected {STREAM} for standard input, found files, which do not need it")
    if streams and (sys.stdin is None or sys.stdin.isatty()):
        raise FitHubertError(f"{STREAM}: expected samples on standard input, found a terminal or nothing; {TRY}")

    model = load_listener(args.model)
    if args.enroll is None and "ks" not in model.tasks:
        raise FitHubertError(f"{args.model}: knows speakers but no keywords; give --enroll a recording of the speaker")
    enrolled = None
    if args.enroll is not None:
        if "sv" not in model.tasks:
            raise FitHubertError(f"--enroll: expected a model that knows speakers, found only keywords in {args.model}")
        voice = read_speech(args.enroll)[0]
        if len(voice) < SHORT * SAMPLE_RATE:
            tell(f"--enroll: {len(voice) / SAMPLE_RATE:.1f} s are little to know a voice by; better {SHORT} s or more")
        enrolled = model.scores(voice).embedding
    if streams:
        spotter = Spotter(model, THRESHOLD if args.threshold is None else args.threshold, enrolled is not None)
        listen_to(sys.stdin.buffer, spotter, SAMPLE_RATE if args.rate is None else args.rate, enrolled)
        return
    for file in args.files:
        classes, embedding = model.scores(read_speech(file)[0])
        print(file)
        if classes is not None:
            best = int(classes.argmax())
            print(f"  keyword: {model.classes[best]} ({100 * classes[best]:.0f} % sure)")
        if enrolled is not None:
            what = "similarity to the speaker" if model.threshold is None else "same speaker as"
            print(f"  {what} in {args.enroll}: {same_voice(model, float(embedding @ enrolled))}")


def listen_to(stream: Any, spotter: Spotter, rate: int, enrolled: np.ndarray | None) -> None:
    """Print each keyword in a stream as it is heard, until the stream ends or Ctrl-C. Raises as `read_pcm`."""
    words = [name for name, told in zip(spotter.model.classes, spotter.told, strict=True) if told]
    count = 0
    try:
        for samples in read_pcm(stream, rate, tell):
            if not spotter.seconds:
                tell(f"listening for {', '.join(words)}; Ctrl-C ends it")
            count += report(spotter.push(samples), spotter.model, enrolled)
        count += report(spotter.finish(), spotter.model, enrolled)
    except KeyboardInterrupt:
        tell("")  # behind the ^C that the terminal shows
    tell(f"{spotter.seconds:.1f} s heard, {count} keyword{'s' * (count != 1)}")


def report(heard: list, model: Any, enrolled: np.ndarray | None) -> int:
    """Print keywords, each a line at once; give their number."""
    for at, word, confidence, voices, embedding in heard:
        minutes, seconds = divmod(at, 60)
        line = f"{int(minutes):02d}:{seconds:05.2f}  {word} ({100 * confidence:.0f} % sure)"
        if embedding is not None:
            line += f", speaker of the last {voices} words: {same_voice(model, float(embedding @ enrolled))}"
        elif enrolled is not None:
            line += f", speaker: not known by {voices} word{'s' * (voices > 1)}, from {FEWEST} on"
        print(line, flush=True)
    return len(heard)


def tell(line: str) -> None:
    """A line for the user, beside the keywords."""
    print(line, file=sys.stderr, flush=True)

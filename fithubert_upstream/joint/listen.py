"""`fithubert listen`: what is said in a recording, and whether it is the enrolled speaker."""

import argparse

from ..assets import JOINT
from ..audio.waveforms import load_any_waveform
from ..errors import FitHubertError
from .model import load_joint


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="fithubert listen",
        description="Recognise the keyword in each recording and, with --enroll, check whether it is the enrolled "
        "speaker, in one forward pass.",
        epilog="example: fithubert listen yes.wav no.wav --enroll my_voice.wav",
    )
    parser.add_argument("files", nargs="+", metavar="FILE", help="a recording, at any rate and with any channels")
    parser.add_argument(
        "-m",
        "--model",
        default=JOINT,
        help="a .safetensors of `fithubert export-joint`; by default the embedded %(default)s, which knows yes, no, "
        "up, down, left, right, on, off, stop and go",
    )
    parser.add_argument("--enroll", metavar="FILE", help="a recording of the speaker to recognise")
    return parser


def main(argv: list[str]) -> None:
    """`fithubert listen FILE ... [--enroll FILE] [-m MODEL]`."""
    args = build_parser().parse_args(argv)

    model = load_joint(args.model)
    tasks, threshold = model.config.tasks, model.config.threshold
    if args.enroll is None and "ks" not in tasks:
        raise FitHubertError(f"{args.model}: knows speakers but no keywords; give --enroll a recording of the speaker")
    enrolled = None
    if args.enroll is not None:
        if "sv" not in tasks:
            raise FitHubertError(f"--enroll: expected a model that knows speakers, found only keywords in {args.model}")
        enrolled = model(load_any_waveform(args.enroll))["embedding"]

    for file in args.files:
        answer = model(load_any_waveform(file))
        print(file)
        if "keyword" in answer:
            print(f"  keyword: {answer['keyword']} ({100 * answer['confidence']:.0f} % sure)")
        if enrolled is not None:
            cosine = float(answer["embedding"] @ enrolled)
            if threshold is None:
                print(f"  similarity to the speaker in {args.enroll}: {cosine:.3f} (this model has no threshold)")
            else:
                verdict = "yes" if cosine >= threshold else "no"
                print(
                    f"  same speaker as in {args.enroll}: {verdict} (cosine {cosine:.3f}, yes from {threshold:.3f} on)"
                )

"""`fithubert benchmark ...`: how fast the work is done, on this machine."""

import argparse

from . import benchmark_inference, benchmark_train

BENCHMARKS = {
    "train": (benchmark_train, "the distillation step, beside a straightforward loop as the authors had it"),
    "inference": (benchmark_inference, "a forward pass: size, operations, time and memory beside HuBERT Base"),
}


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="fithubert benchmark",
        description="Measure speed on this machine; table, picture and JSON.",
        epilog="examples: fithubert benchmark train -o result/benchmark; fithubert benchmark inference --short",
    )
    kinds = parser.add_subparsers(dest="kind", required=True, metavar="|".join(BENCHMARKS))
    for name, (job, text) in BENCHMARKS.items():
        job.add_flags(kinds.add_parser(name, help=text, description=f"Measure {text}."))
    return parser


def main(argv: list[str]) -> dict:
    """Measure, print the table, and write it with the picture; the results as the JSON file has them."""
    args = build_parser().parse_args(argv)
    return BENCHMARKS[args.kind][0].run(args)

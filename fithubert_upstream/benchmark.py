"""`fithubert benchmark ...`: how fast the work is done, on this machine."""

import argparse

from .benchmark_train import add_flags, run

BENCHMARKS = {"train": (add_flags, run, "the distillation step, beside a straightforward loop as the authors had it")}


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="fithubert benchmark",
        description="Measure speed on this machine; table, picture and JSON.",
        epilog="example: fithubert benchmark train -o result/benchmark",
    )
    kinds = parser.add_subparsers(dest="kind", required=True, metavar="|".join(BENCHMARKS))
    for name, (flags, _, text) in BENCHMARKS.items():
        flags(kinds.add_parser(name, help=text, description=f"Measure {text}."))
    return parser


def main(argv: list[str]) -> dict:
    """Measure, print the table, and write it with the picture; the results as the JSON file has them."""
    args = build_parser().parse_args(argv)
    return BENCHMARKS[args.kind][1](args)

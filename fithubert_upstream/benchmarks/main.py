"""`fithubert benchmark ...`: how fast the work is done, on this machine."""

import argparse
import importlib
from types import ModuleType

from ..runs.outputs import check_output_folder

# Name -> (module, what it measures); one may need packages that the other does not.
BENCHMARKS = {
    "train": ("train", "one distillation step, against a plain version of the authors' loop"),
    "inference": ("inference", "a forward pass: size, operations, time and memory beside HuBERT Base"),
}


def build_parser(chosen: str) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="fithubert benchmark",
        description="Measure speed on this machine; table, picture and JSON.",
        epilog="examples: fithubert benchmark train -o result/benchmark; fithubert benchmark inference --short",
    )
    kinds = parser.add_subparsers(dest="kind", required=True, metavar="|".join(BENCHMARKS))
    for name, (module, text) in BENCHMARKS.items():
        flags = kinds.add_parser(name, help=text, description=f"Measure {text}.")
        if name == chosen:
            _module(module).add_flags(flags)
    return parser


def main(argv: list[str]) -> dict:
    """Measure, print the table, and write it with the picture; the results as the JSON file has them."""
    args = build_parser(argv[0] if argv else "").parse_args(argv)
    check_output_folder(args.output)
    return _module(BENCHMARKS[args.kind][0]).run(args)


def _module(name: str) -> ModuleType:
    return importlib.import_module(f".{name}", __package__)

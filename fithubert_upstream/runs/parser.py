"""Flags of a job: a mistake in them is told like any other, in one line."""

import argparse
import difflib
from pathlib import Path

from ..errors import FitHubertError
from .outputs import check_output_folder


class Parser(argparse.ArgumentParser):
    """Tells a mistake as a FitHubertError, and for a flag that is not there the nearest."""

    def parse_args(self, args=None, namespace=None):
        found, rest = self.parse_known_args(args, namespace)
        if rest:
            flag = rest[0].partition("=")[0]
            near = difflib.get_close_matches(flag, self._option_string_actions, n=1, cutoff=0.6)
            hint = f"did you mean {near[0]}?" if near else f"`{self.prog} --help` lists the flags"
            what = "flag" if flag.startswith("-") else "word"
            raise FitHubertError(f"{flag}: unknown {what}; {hint}")
        return found

    def error(self, message):
        raise FitHubertError(f"{message}; `{self.prog} --help` lists the flags")


def add_run_flags(parser: argparse.ArgumentParser, job: str, entries: str) -> None:
    """Where a run of this job is saved, and words that override `entries` of its config."""
    parser.add_argument("-n", "--name", help=f"save in result/{job}/NAME")
    parser.add_argument("-p", "--folder", help="save in FOLDER")
    # torch.distributed.launch passes what torchrun puts into the environment
    parser.add_argument("--local-rank", "--local_rank", help=argparse.SUPPRESS)
    parser.add_argument("overrides", nargs="*", metavar="KEY=VALUE", help=f"override entries of {entries}")


def run_folder(args: argparse.Namespace, job: str) -> Path:
    """The folder that -n or -p names, which files can be written to. Raises FitHubertError."""
    if (args.name is None) == (args.folder is None):
        raise FitHubertError("expected -n NAME or -p FOLDER for the results, found neither or both")
    if args.name == "":
        raise FitHubertError("-n: expected a name, found none")
    folder = Path(f"result/{job}/{args.name}" if args.folder is None else args.folder)
    check_output_folder(args.folder if args.name is None else folder, "-p" if args.name is None else "-n")
    return folder

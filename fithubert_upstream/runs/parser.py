"""Flags of a job: a mistake in them is told like any other, in one line."""

import argparse
import difflib

from ..errors import FitHubertError


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

"""Errors for invalid input, told in one line, and for missing packages."""

import difflib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any


class FitHubertError(ValueError):
    """Invalid input, described in one line: what was expected, what was found, what to do.

    The command line prints the message without a traceback and exits with 2. Anything else that
    is raised is a bug of ours and keeps its traceback. Bytes of file names that are no text are escaped.
    """

    def __str__(self) -> str:
        return super().__str__().encode("utf-8", "backslashreplace").decode()


class MissingPackage(FitHubertError, ImportError):
    """A package that an extra of ours brings is not installed."""


@contextmanager
def from_extra(extra: str, what: str) -> Iterator[None]:
    """Around imports of packages that only an extra brings.

    Parameters
    ----------
    extra : what to install, such as "onnx".
    what : what needs it, such as "fithubert export".

    Raises
    ------
    MissingPackage
        Replaces the ImportError of a package that is missing or broken.
    """
    try:
        yield
    except ImportError as error:
        name = (error.name or "").partition(".")[0]
        needs = name if isinstance(error, ModuleNotFoundError) and name else f"a working {name or extra} ({error})"
        raise MissingPackage(f"{what} needs {needs}; pip install 'fithubert-upstream[{extra}]'") from error


def refuse_unknown(where: str, given: Iterable[str], known: Iterable[str]) -> None:
    """Raise FitHubertError for the first of the `given` names that is not `known`; the nearest is told."""
    known = list(known)
    for name in given:
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
            hint = f"did you mean {near[0]}?" if near else f"it takes {', '.join(known) or 'none'}"
            raise FitHubertError(f"{where}: unknown option {name}; {hint}")


def expect(ok: bool, what: str, found: Any) -> None:
    """Raise FitHubertError, `expected WHAT, found FOUND`, unless `ok`."""
    if not ok:
        raise FitHubertError(f"expected {what}, found {found}")
